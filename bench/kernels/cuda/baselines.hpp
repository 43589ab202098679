// What the kernels of the cuda backend are measured against where the libraries themselves cannot be installed: our own
// implementations of two published methods, written from their descriptions. They are the methods, not the programs;
// say so wherever a number of theirs stands.
//
// implicit (github.com/benfred/implicit), ALS on the GPU: one thread block a row, one thread a factor; the row's system
// is never formed: each conjugate gradient step gathers all rows of the row's entries again, in fp32, with a reduction
// over the block for each entry.
// cuMF_SGD (Xie, Tan, Fong and Liang, HPDC 2017), batch-Hogwild: one warp an update at k = 128, four factors a lane,
// fp16 storage and fp32 arithmetic, no locks; a warp takes runs of 128 consecutive ratings of a shuffled list from
// random places.
#pragma once

#include <cstdint>

#include "device_ratings.hpp"

namespace concerto::bench {

/// One half-sweep of implicit's method on the alpha form with confidence alpha |r|. `target` and `fixed` are rows x
/// rank of fp32, `gram` is rank x rank: fixed^T fixed + regularization I. The rank is a multiple of 32, at most 1,024.
struct MatrixFreeStep {
  const cuda::RatingsBuffer* ratings = nullptr;
  const float* fixed = nullptr;
  const float* gram = nullptr;
  float* target = nullptr;
  std::uint32_t rank = 0;
  std::uint32_t cg_steps = 3;
  float alpha = 1.0F;
  unsigned multiprocessors = 1;
};
void solve_matrix_free(const cuda::Stream& stream, const MatrixFreeStep& step);
/// gram += regularization I.
void add_to_diagonal(const cuda::Stream& stream, float* gram, std::uint32_t rank, float regularization);

inline constexpr unsigned kHogwildRank = 128;
inline constexpr unsigned kHogwildRun = 128;  ///< consecutive ratings that a warp takes

/// One pass of `ratings` updates. `users` and `items` are rows x 128 of fp16 bits.
struct HogwildStep {
  const Rating* ratings = nullptr;
  EntryIndex entries = 0;
  std::uint16_t* users = nullptr;
  std::uint16_t* items = nullptr;
  float rate = 0.01F;
  float regularization = 0.05F;
  std::uint64_t seed = 1;
  unsigned warps = 1;
};
void hogwild_epoch(const cuda::Stream& stream, const HogwildStep& step);
/// Random fp16 values in (0, scale).
void fill_random_half(const cuda::Stream& stream, std::uint16_t* values, std::uint64_t size, std::uint64_t seed,
                      float scale);
/// Sum of squared errors over the ratings; `sum` is one double on the device.
void squared_error(const cuda::Stream& stream, const HogwildStep& step, double* sum);

}  // namespace concerto::bench
