// Reading what sum_large_rows left, inside kernels: the total of a part of a row's sums.
#pragma once

#include "large_rows.hpp"
#include "row_system.cuh"

namespace concerto::cuda {

/// The pieces whose partial sums a row's own block has to add.
__device__ inline std::uint32_t pieces_to_add(const LargeRow& row) {
  return row.pieces > kDirectPieces ? 1 : row.pieces;
}

/// Component c of part number `part` (of `parts` in all), summed over the row's pieces.
__device__ inline float total_at(const LargeRows& a, const LargeRow& row, unsigned parts, unsigned part,
                                 std::uint64_t c) {
  const float* at = a.partials + (std::uint64_t{row.first_piece} * parts + part) * a.stride + c;
  float sum = *at;
  for (std::uint32_t piece = 1; piece < pieces_to_add(row); ++piece) sum += at[piece * parts * a.stride];
  return sum;
}

/// q of a row; the same for all threads of the block.
__device__ inline float residual_total(const LargeRows& a, const LargeRow& row, float* scratch) {
  float sum = 0.0F;
  for (std::uint32_t piece = threadIdx.x; piece < row.pieces; piece += blockDim.x) {
    sum += a.piece_residuals[row.first_piece + piece];
  }
  return block_sum(sum, scratch);
}

/// The 16 bytes of a row's elements as floats.
template <class Value>
__device__ __forceinline__ void widen(const uint4& bits, float (&values)[16 / sizeof(Value)]) {
  if constexpr (sizeof(Value) == 2) {
    values[0] = bf16_low(bits.x);
    values[1] = bf16_high(bits.x);
    values[2] = bf16_low(bits.y);
    values[3] = bf16_high(bits.y);
    values[4] = bf16_low(bits.z);
    values[5] = bf16_high(bits.z);
    values[6] = bf16_low(bits.w);
    values[7] = bf16_high(bits.w);
  } else {
    values[0] = __uint_as_float(bits.x);
    values[1] = __uint_as_float(bits.y);
    values[2] = __uint_as_float(bits.z);
    values[3] = __uint_as_float(bits.w);
  }
}

}  // namespace concerto::cuda
