// One tile of 64 x 64 of one row's Gram matrix sum_k g_k y_k y_k^T, by a thread block of 128.
//
// Entries go through two buffers in shared memory, 32 at a time, by asynchronous copies of the two bands of columns
// that the tile joins. bf16 rows are multiplied by tensor cores with fp32 sums, fp32 rows by multiply-adds. It knows
// nothing of penalties or dense parts: who calls it adds them.
#pragma once

#include <algorithm>

#include "large_rows.hpp"
#include "row_system.cuh"

namespace concerto::cuda::large_tiles {

inline constexpr unsigned kTile = 64;
inline constexpr unsigned kBlock = 128;
inline constexpr unsigned kStage = 32;  ///< entries
inline constexpr unsigned kPitch = 68;  ///< of a tile in shared memory: rows aligned to 16 bytes

/// A stage of entries in shared memory: their columns' parts of the two bands of the tile.
template <class Value>
struct GramStage {
  static constexpr unsigned kRowBytes = kTile * sizeof(Value) + 16;
  std::byte bands[2][kStage * kRowBytes];
};
struct StageWeights {
  RowIndex columns[kStage];
  float gram[kStage];
};

/// The two bands of columns that a tile of the triangle joins, tiles counted along its rows.
struct TilePlace {
  unsigned row = 0;
  unsigned column = 0;
};
__device__ inline TilePlace tile_at(unsigned number) {
  unsigned row = 0;
  while ((row + 1) * (row + 2) / 2 <= number) ++row;
  return {row, number - row * (row + 1) / 2};
}

/// Makes one tile of one row's Gram matrix.
template <class Value, bool kSigned>
class GramTile {
 public:
  static constexpr std::size_t kStages = 2;
  static constexpr std::size_t kRingBytes = kStages * sizeof(GramStage<Value>);
  static constexpr std::size_t kSharedBytes =
      std::max(kRingBytes, kTile* kPitch * sizeof(float)) + kStages * sizeof(StageWeights);

  __device__ GramTile(const LargeRows& a, TilePlace place, EntryIndex begin, EntryIndex end)
      : a_(a),
        place_(place),
        begin_(begin),
        end_(end),
        ring_(reinterpret_cast<GramStage<Value>*>(dynamic_shared())),
        weights_(reinterpret_cast<StageWeights*>(dynamic_shared() + kSharedBytes - kStages * sizeof(StageWeights))) {}

  /// The tile, row-major with kPitch floats a row, at the start of shared memory. Returns synchronized.
  __device__ const float* run() {
    const EntryIndex stages = (end_ - begin_ + kStage - 1) / kStage;
    load_weights(0);
    __syncthreads();
    copy(0, stages);
    for (EntryIndex stage = 0; stage < stages; ++stage) {
      load_weights(stage + 1);
      __syncthreads();
      copy(stage + 1, stages);
      copy_async_wait<1>();
      __syncthreads();  // everybody's copies of this stage are there
      if constexpr (sizeof(Value) == 2) {
        multiply_by_tensor(stage);
      } else {
        multiply_by_fma(stage);
      }
      __syncthreads();  // everybody has left this stage's buffers
    }
    copy_async_wait<0>();
    __syncthreads();
    auto* tile = reinterpret_cast<float*>(dynamic_shared());
    store(tile);
    __syncthreads();
    return tile;
  }

 private:
  __device__ void load_weights(EntryIndex stage) {
    if (threadIdx.x >= kStage) return;
    const EntryIndex entry = begin_ + stage * kStage + threadIdx.x;
    RowIndex column = 0;
    float gram = 0.0F;
    if (entry < end_) {
      column = a_.columns[entry];
      gram = kSigned ? a_.objective.entry_weights(a_.values != nullptr ? a_.values[entry] : 1.0F, 0.0F).gram : 1.0F;
    }
    weights_[stage % kStages].columns[threadIdx.x] = column;
    weights_[stage % kStages].gram[threadIdx.x] = gram;
  }

  /// Starts the copies of a stage; what lies behind the last entry or the last column becomes zero.
  __device__ void copy(EntryIndex stage, EntryIndex stages) {
    if (stage < stages) {
      constexpr unsigned kPer = 16 / sizeof(Value);
      constexpr unsigned kCopies = kTile / kPer;
      const auto* fixed = static_cast<const Value*>(a_.fixed.data);
      GramStage<Value>& to = ring_[stage % kStages];
      const StageWeights& weights = weights_[stage % kStages];
      const EntryIndex left = end_ - begin_ - stage * kStage;
      const unsigned bands = place_.row == place_.column ? 1 : 2;
      for (unsigned at = threadIdx.x; at < bands * kStage * kCopies; at += kBlock) {
        const unsigned band = at / (kStage * kCopies);
        const unsigned entry = at / kCopies % kStage;
        const unsigned inside = at % kCopies * kPer;
        const unsigned column = (band == 0 ? place_.row : place_.column) * kTile + inside;
        const bool is_there = entry < left && column < a_.stride;
        const Value* from = is_there ? fixed + weights.columns[entry] * a_.stride + column : fixed;
        copy_async<16>(to.bands[band] + entry * GramStage<Value>::kRowBytes + inside * sizeof(Value), from,
                       is_there ? 16U : 0U);
      }
    }
    copy_async_commit();
  }

  [[nodiscard]] __device__ const std::byte* band(EntryIndex stage, unsigned which) const {
    return ring_[stage % kStages].bands[place_.row == place_.column ? 0 : which];
  }

  /// The fragment of 16 entries x 16 columns, columns as rows of the left operand; as the right operand its halves are
  /// registers (0, 2) and (1, 3).
  __device__ static void load_block(std::uint32_t (&fragment)[4], const std::byte* rows, unsigned block) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned entry = lane % 8 + lane / 16 * 8;
    const unsigned column = block * 16 + lane / 8 % 2 * 8;
    load_matrices_transposed(fragment, rows + entry * GramStage<Value>::kRowBytes + column * 2);
  }

  /// A warp has 32 x 32 of the tile, as 2 x 2 blocks of 16.
  __device__ void multiply_by_tensor(EntryIndex stage) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned warp = threadIdx.x / 32;
    const unsigned t = lane % 4;
#pragma unroll
    for (unsigned first = 0; first < kStage; first += 16) {
      const std::byte* rows = band(stage, 0) + first * GramStage<Value>::kRowBytes;
      const std::byte* columns = band(stage, 1) + first * GramStage<Value>::kRowBytes;
      std::uint32_t left[2][4];
      std::uint32_t right[2][4];
#pragma unroll
      for (unsigned i = 0; i < 2; ++i) {
        load_block(left[i], rows, warp / 2 * 2 + i);
        load_block(right[i], columns, warp % 2 * 2 + i);
      }
      if constexpr (kSigned) {
        const float* gram = weights_[stage % kStages].gram + first + 2 * t;
        const float4 weights = {gram[0], gram[1], gram[8], gram[9]};
#pragma unroll
        for (unsigned i = 0; i < 2; ++i) {
          std::uint32_t rest[4];
          weigh(left[i], rest, weights);
          multiply_row(sums_[i], rest, right);
        }
      }
#pragma unroll
      for (unsigned i = 0; i < 2; ++i) multiply_row(sums_[i], left[i], right);
    }
  }

  /// Replaces a fragment by the bf16 of its product with the entries' signed weights, and writes the bf16 of what that
  /// leaves out to `rest`: weights are not rounded.
  __device__ static void weigh(std::uint32_t (&fragment)[4], std::uint32_t (&rest)[4], const float4& weights) {
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) {
      const float first = bf16_low(fragment[r]) * (r < 2 ? weights.x : weights.z);
      const float second = bf16_high(fragment[r]) * (r < 2 ? weights.y : weights.w);
      fragment[r] = bf16_pair(first, second);
      rest[r] = bf16_pair(first - bf16_low(fragment[r]), second - bf16_high(fragment[r]));
    }
  }

  __device__ static void multiply_row(float (&sums)[2][2][4], const std::uint32_t (&left)[4],
                                      const std::uint32_t (&right)[2][4]) {
#pragma unroll
    for (unsigned j = 0; j < 2; ++j) {
      multiply_bf16(sums[j][0], left, right[j][0], right[j][2]);
      multiply_bf16(sums[j][1], left, right[j][1], right[j][3]);
    }
  }

  /// A thread has 8 x 4 of the tile, in the same registers.
  __device__ void multiply_by_fma(EntryIndex stage) {
    const unsigned row = threadIdx.x / 16 * 8;
    const unsigned column = threadIdx.x % 16 * 4;
    const EntryIndex left_over = end_ - begin_ - stage * kStage;
    const unsigned count = left_over < kStage ? static_cast<unsigned>(left_over) : kStage;
    for (unsigned entry = 0; entry < count; ++entry) {
      const auto* rows = reinterpret_cast<const float*>(band(stage, 0) + entry * GramStage<Value>::kRowBytes) + row;
      const float4 right = *reinterpret_cast<const float4*>(
          reinterpret_cast<const float*>(band(stage, 1) + entry * GramStage<Value>::kRowBytes) + column);
      const float weight = kSigned ? weights_[stage % kStages].gram[entry] : 1.0F;
#pragma unroll
      for (unsigned i = 0; i < 8; ++i) {
        const float left = weight * rows[i];
        float(&sum)[4] = sums_[i / 4][i / 2 % 2][i % 2];
        sum[0] += left * right.x;
        sum[1] += left * right.y;
        sum[2] += left * right.z;
        sum[3] += left * right.w;
      }
    }
  }

  __device__ void store(float* tile) const {
    const unsigned lane = threadIdx.x % 32;
    const unsigned warp = threadIdx.x / 32;
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
#pragma unroll
      for (unsigned j = 0; j < 2; ++j) {
#pragma unroll
        for (unsigned n = 0; n < 2; ++n) {
#pragma unroll
          for (unsigned e = 0; e < 4; ++e) {
            unsigned r = threadIdx.x / 16 * 8 + i * 4 + j * 2 + n;
            unsigned c = threadIdx.x % 16 * 4 + e;
            if constexpr (sizeof(Value) == 2) {
              r = warp / 2 * 32 + i * 16 + e / 2 * 8 + lane / 4;
              c = warp % 2 * 32 + j * 16 + n * 8 + lane % 4 * 2 + e % 2;
            }
            tile[r * kPitch + c] = sums_[i][j][n][e];
          }
        }
      }
    }
  }

  const LargeRows& a_;
  TilePlace place_;
  EntryIndex begin_;
  EntryIndex end_;
  GramStage<Value>* ring_;
  StageWeights* weights_;
  float sums_[2][2][2][4] = {};
};

}  // namespace concerto::cuda::large_tiles
