// What a score is, given a product: the candidate's bias added, or both norms divided out. Used by both ways to rank.
#pragma once

#include <cstdint>

#include "device/simt.cuh"
#include "top_k.hpp"

namespace concerto::cuda {

enum class Terms : std::uint8_t { kNone, kShifts, kScales };

inline Terms terms_of(const RankBatch& batch) noexcept {
  if (batch.scales != nullptr) return Terms::kScales;
  return batch.shifts != nullptr ? Terms::kShifts : Terms::kNone;
}

/// `term` is the candidate's shift or scale. What is not a number (factors beyond fp32's range) ranks as -infinity, so
/// that NaN is never a score.
template <Terms kTerms>
__device__ __forceinline__ float score_of(float product, float term, float query_scale) {
  float score = product;
  if constexpr (kTerms == Terms::kShifts) score += term;
  if constexpr (kTerms == Terms::kScales) score = score * query_scale * term;
  return score == score ? score : __uint_as_float(0xff800000U);
}

}  // namespace concerto::cuda
