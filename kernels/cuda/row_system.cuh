// The linear system of one row in shared memory, as ALS and subspace share it: where its parts lie, what is added to
// the sums over entries, and how its solution is written.
//
//   A = scale G + base Y^T Y + penalty I - s s^T / d        right = sum_k h_k y_k - s q / d
// where G = sum_k g_k y_k y_k^T (or the plain sum and one scale, where all weights are equal), s = sum_k y_k,
// q = sum_k h_k, d = n + the row's bias penalty; the terms in s only with biases, whose solution is (q - s.x) / d. A
// slice of a subspace step is the same system over a part of the columns, with h_k less what the present factors give
// and a right side less the present penalty and dense part; its solution is a change (kernels/reference/row_system.hpp
// derives both).
//
// A is stored as its lower triangle, packed by rows: element (r, c) at r (r + 1) / 2 + c. Triangular numbers modulo 32
// are a permutation of 0..31, so 32 threads that read down a column or each along its row meet 32 banks. One row more,
// (width, c), holds the right side: it is what a Cholesky factorization turns into the forward solution on its way.
#pragma once

#include <cstdint>

#include "concerto/base/ids.hpp"
#include "concerto/model/objective.hpp"

#include "bf16.cuh"

namespace concerto::cuda {

/// What a kernel that builds row systems needs to know. Pointers are to device memory; null where a part is absent.
struct SystemArguments {
  // The entries.
  const RowIndex* columns = nullptr;
  const float* values = nullptr;         ///< null: every value is 1
  const float* column_biases = nullptr;  ///< of the fixed side
  const float* scores = nullptr;         ///< slices: x.y_k of entry k, at k - first_entry
  EntryIndex first_entry = 0;
  Objective objective;
  float scale = 1.0F;  ///< of the plain sum, where all weights are equal

  // The fixed side: rows of `fixed_stride` elements, of which columns [column_begin, column_begin + width) are used.
  const void* fixed = nullptr;
  std::uint64_t fixed_stride = 0;
  std::uint32_t column_begin = 0;
  std::uint32_t width = 0;

  // The dense part and the penalties.
  const float* gram = nullptr;  ///< Y^T Y, gram_stride a row
  std::uint64_t gram_stride = 0;
  float base = 0.0F;
  const float* dense_product = nullptr;  ///< slices: (Y^T Y x) of the slice, width a row, from first_row on
  const float* penalties = nullptr;
  const float* bias_divisors = nullptr;
  const float* bias_penalties = nullptr;

  // What is written.
  float* target = nullptr;
  std::uint16_t* target_shadow = nullptr;
  float* target_biases = nullptr;
  std::uint64_t target_stride = 0;
  float* changes = nullptr;  ///< slices: what was added, width a row, from first_row on
  RowIndex first_row = 0;
  bool is_slice = false;

  bool by_cholesky = false;
  std::uint32_t* failed_row = nullptr;  ///< FailedRow::device(), of exact systems; null: nobody asks
  std::uint32_t cg_steps = 0;
  float momentum = 0.0F;
};

/// Floats of a packed triangle of `width` rows.
__host__ __device__ constexpr std::uint64_t packed_floats(std::uint64_t width) {
  return width * (width + 1) / 2;
}
/// Floats of the sums of a segment of a giant row: packed G, right side, s, q.
__host__ __device__ constexpr std::uint64_t partial_floats(std::uint64_t width) {
  return packed_floats(width) + 2 * width + 1;
}

/// A row's system in shared memory.
struct RowSystemView {
  float* matrix;  ///< packed, `width` rows and the row of the right side
  float* right;   ///< width
  float* sum;     ///< s; width
  float* first;   ///< vectors for solvers; width each
  float* second;
  float* third;
  float* scalars;  ///< 64: q at [0], the rest for reductions
};

/// The sum of `value` over the block, the same for all threads. `scratch` holds a float a warp.
__device__ inline float block_sum(float value, float* scratch) {
  for (unsigned step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffU, value, step);
  const unsigned warps = blockDim.x / 32;
  if (warps == 1) return value;
  __syncthreads();  // whoever still reads the last sum
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0F;
  for (unsigned w = 0; w < warps; ++w) sum += scratch[w];
  return sum;
}

/// Is a value that a solver made a number that can be worked with?
__device__ inline bool is_finite(float value) {
  constexpr float kLargest = 3.402823466e38F;
  return fabsf(value) <= kLargest;
}

/// Notes that the exact system of a row has no finite solution.
__device__ inline void note_failed_row(std::uint32_t* failed_row, RowIndex row) {
  atomicMax(failed_row, ~row);
}

/// Adds to the sums over entries what does not depend on them. All of `system` must be written; it is when this
/// returns.
__device__ inline void finish_system(const SystemArguments& a, RowIndex row, const RowSystemView& system) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned warps = blockDim.x / 32;
  const float penalty = a.penalties[row];
  const float inverse = a.bias_divisors != nullptr ? 1.0F / a.bias_divisors[row] : 0.0F;
  const float* dense = a.gram != nullptr ? a.gram + a.column_begin * (a.gram_stride + 1) : nullptr;
  for (unsigned r = threadIdx.x / 32; r < a.width; r += warps) {
    float* matrix_row = system.matrix + packed_floats(r);
    const float share = a.bias_divisors != nullptr ? system.sum[r] * inverse : 0.0F;
    for (unsigned c = lane; c <= r; c += 32) {
      float value = matrix_row[c];
      if (a.base != 0.0F) value += a.base * dense[r * a.gram_stride + c];
      if (a.bias_divisors != nullptr) value -= share * system.sum[c];
      if (c == r) value += penalty;
      matrix_row[c] = value;
    }
  }
  for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) {
    float value = system.right[c];
    if (a.bias_divisors != nullptr) value -= system.sum[c] * system.scalars[0] * inverse;
    if (a.is_slice) {
      value -= penalty * a.target[row * a.target_stride + a.column_begin + c];
      if (a.base != 0.0F) value -= a.base * a.dense_product[std::uint64_t{row - a.first_row} * a.width + c];
    }
    system.right[c] = value;
  }
  __syncthreads();
}

/// Writes a solution (ALS: the row and its bias, with momentum; slices: adds the change). `x` is in shared memory;
/// `sum_product` is s.x, used only with biases.
__device__ inline void write_row(const SystemArguments& a, RowIndex row, const float* x, float residual_sum,
                                 float sum_product) {
  float* target = a.target + row * a.target_stride + a.column_begin;
  for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) {
    float value = x[c];
    if (a.is_slice) {
      a.changes[std::uint64_t{row - a.first_row} * a.width + c] = value;
      value += target[c];
    } else if (a.momentum != 0.0F) {
      value += a.momentum * (value - target[c]);
    }
    target[c] = value;
    if (a.failed_row != nullptr && !is_finite(value)) note_failed_row(a.failed_row, row);
    if (a.target_shadow != nullptr) a.target_shadow[row * a.target_stride + a.column_begin + c] = bf16_bits(value);
  }
  if (threadIdx.x == 0 && a.bias_divisors != nullptr && !a.is_slice) {
    const float bias = (residual_sum - sum_product) / a.bias_divisors[row];
    a.target_biases[row] = bias + a.momentum * (bias - a.target_biases[row]);
  }
}

}  // namespace concerto::cuda
