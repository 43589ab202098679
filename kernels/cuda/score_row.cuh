// How a warp scores entries of one user, and what is measured of a score: shared by sums over an orientation and over
// the grid of SGD (loss.cu).
//
// 32 entries at a time: eight lanes share an item's row, 16 bytes each at a time, so that four items are read at once,
// and each lane keeps a partial product for the eight items that its group reads. The partial products are then added
// across the group in such a way that each lane ends with the score of one entry, whose loss it computes. The user's
// row stays in registers; above rank 256, 128 columns at a time. Products are fp32 sums within a lane; all else is
// double.
#pragma once

#include <cstdint>

#include "concerto/base/ids.hpp"
#include "concerto/model/objective.hpp"

#include "device/simt.cuh"

namespace concerto::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffU;
/// Lanes that share an item's row, and entries that a lane forms partial products of.
inline constexpr unsigned kGroup = 8;
/// Floats of a row that a group reads at a time: four a lane.
inline constexpr unsigned kGroupFloats = 4 * kGroup;

/// Both sides' fp32 masters, and what a score is beside their product.
struct ScoreTables {
  const float* users = nullptr;
  const float* items = nullptr;
  const float* user_biases = nullptr;  ///< null without biases
  const float* item_biases = nullptr;
  std::uint64_t stride = 0;
  double mean = 0.0;
};

struct ScoredEntry {
  RowIndex item;
  float value;
};

/// The loss of an entry.
struct LossMeasure {
  static constexpr unsigned kSums = 1;
  Objective objective;
  __device__ void add(float value, double score, double (&sums)[kSums]) const {
    sums[0] += objective.entry_loss(value, score);
  }
};

/// The squared and the absolute error of a clamped prediction.
struct ErrorMeasure {
  static constexpr unsigned kSums = 2;
  double low = 0.0;
  double high = 0.0;
  __device__ void add(float value, double score, double (&sums)[kSums]) const {
    const double clamped = score < low ? low : (score > high ? high : score);
    const double error = value - clamped;
    sums[0] += error * error;
    sums[1] += error < 0.0 ? -error : error;
  }
};

/// The sum over the warp, the same for all lanes.
__device__ inline double warp_sum(double value) {
  for (unsigned step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

/// Four floats of a row from column `c` on; zeros beyond its end.
__device__ inline float4 four_floats(const float* row, std::uint64_t c, std::uint64_t stride) {
  if (c < stride) return *reinterpret_cast<const float4*>(row + c);
  return float4{0.0F, 0.0F, 0.0F, 0.0F};
}

template <unsigned kParts>
__device__ __forceinline__ void load_user(const ScoreTables& a, RowIndex user, std::uint64_t column,
                                          float4 (&x)[kParts]) {
  const float* row = a.users + user * a.stride;
#pragma unroll
  for (unsigned v = 0; v < kParts; ++v) x[v] = four_floats(row, column + v * kGroupFloats, a.stride);
}

/// Adds x.y over the lane's columns for the group's eight entries, entry e * 4 + group of the 32. `count` of the 32
/// exist; with kAll all do.
template <unsigned kParts, bool kAll>
__device__ __forceinline__ void add_products(const ScoreTables& a, const float4 (&x)[kParts], RowIndex own_item,
                                             unsigned count, std::uint64_t column, float (&partial)[kGroup]) {
  const unsigned group_lane = threadIdx.x % 32 / kGroup * kGroup;
#pragma unroll
  for (unsigned e = 0; e < kGroup; ++e) {
    if (!kAll && e * (32 / kGroup) >= count) continue;  // the same for all lanes
    const float* row = a.items + __shfl_sync(kWholeWarp, own_item, group_lane + e) * a.stride;
#pragma unroll
    for (unsigned v = 0; v < kParts; ++v) {
      const float4 y = four_floats(row, column + v * kGroupFloats, a.stride);
      partial[e] += x[v].x * y.x + x[v].y * y.y + (x[v].z * y.z + x[v].w * y.w);
    }
  }
}

/// The sum over the group of its lanes' partial products for the entry of this lane's number in the group. Each step
/// halves the entries that a lane answers for, and doubles the lanes that a sum covers.
__device__ __forceinline__ double own_product(const float (&partial)[kGroup]) {
  const unsigned member = threadIdx.x % kGroup;
  double four[4];
#pragma unroll
  for (unsigned e = 0; e < 4; ++e) {
    const bool upper = (member & 4U) != 0;
    const float sent = upper ? partial[e] : partial[e + 4];
    const float kept = upper ? partial[e + 4] : partial[e];
    four[e] = static_cast<double>(kept) + static_cast<double>(__shfl_xor_sync(kWholeWarp, sent, 4));
  }
  double two[2];
#pragma unroll
  for (unsigned e = 0; e < 2; ++e) {
    const bool upper = (member & 2U) != 0;
    const double sent = upper ? four[e] : four[e + 2];
    two[e] = (upper ? four[e + 2] : four[e]) + __shfl_xor_sync(kWholeWarp, sent, 2);
  }
  const bool upper = (member & 1U) != 0;
  const double sent = upper ? two[0] : two[1];
  return (upper ? two[1] : two[0]) + __shfl_xor_sync(kWholeWarp, sent, 1);
}

/// Measures entries [k, row_end) of a user's row, 32 at a time. With kWide the row is longer than the registers hold.
/// `entries.at(k)` reads entry k. Where rows are mostly shorter than 32 entries, the registers for as many are saved.
template <unsigned kParts, bool kWide, class Entries, class Measure>
__device__ __forceinline__ void measure_row(const ScoreTables& a, const Entries& entries, const Measure& measure,
                                            RowIndex user, EntryIndex k, EntryIndex row_end,
                                            double (&sums)[Measure::kSums]) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned own = lane % kGroup * (32 / kGroup) + lane / kGroup;
  const std::uint64_t first_column = 4 * (lane % kGroup);
  const double offset = a.mean + (a.user_biases != nullptr ? a.user_biases[user] : 0.0F);
  float4 x[kParts];
  if (!kWide) load_user(a, user, first_column, x);
  for (; k < row_end; k += 32) {
    const auto count = static_cast<unsigned>(row_end - k < 32 ? row_end - k : 32);
    const ScoredEntry entry = entries.at(k + (own < count ? own : count - 1));
    const float item_bias = a.item_biases != nullptr ? a.item_biases[entry.item] : 0.0F;
    float partial[kGroup] = {};
    for (std::uint64_t column = first_column; column < a.stride + first_column; column += kParts * kGroupFloats) {
      if (kWide) load_user(a, user, column, x);
      if (!kWide && Entries::kHasLongRows && count == 32) {
        add_products<kParts, true>(a, x, entry.item, count, column, partial);
      } else {
        add_products<kParts, false>(a, x, entry.item, count, column, partial);
      }
      if (!kWide) break;
    }
    const double score = own_product(partial) + offset + item_bias;
    if (own < count) measure.add(entry.value, score, sums);
  }
}

}  // namespace concerto::cuda
