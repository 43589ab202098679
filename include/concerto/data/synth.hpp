// Synthetic data of realistic shape: a planted low-rank model, Zipf popularity, log-normal user activity, noise.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "concerto/base/thread_pool.hpp"

namespace concerto {

struct SynthOptions {
  std::uint64_t users = 20000;
  std::uint64_t items = 8000;
  std::uint64_t entries = 2000000;  ///< training and held-out entries together, distinct pairs
  std::uint32_t rank = 16;
  double zipf_exponent = 0.9;   ///< popularity of the k-th item ~ (k + 10)^-exponent
  double activity_sigma = 1.0;  ///< spread of log activity over users
  double mean = 3.5;
  double signal_stddev = 0.8;  ///< of planted scores x.y + b_u + b_i
  double noise_stddev = 0.6;
  double test_share = 0.1;   ///< of the entries, each by itself; a user's first entry is never held out
  bool is_implicit = false;  ///< clicks: popular and well-liked items are more likely to be seen; no values
  std::uint64_t seed = 1;
};

/// What was generated, and what the true model scores on the held-out part.
struct SynthSummary {
  std::uint64_t train_entries = 0;
  std::uint64_t test_entries = 0;
  double true_rmse = 0.0;  ///< explicit only
  double noise_stddev = 0.0;
};

/// Bytes that synthesize() holds at its peak, at most.
[[nodiscard]] std::uint64_t synth_bytes(const SynthOptions& options) noexcept;

/// Writes train.txt and test.txt (`user item value` or `user item`), the true factors user_factors.npy and
/// item_factors.npy (float32, a row for each id), user_biases.npy and item_biases.npy, and truth.json (options, counts,
/// true score) into `directory`, atomically.
///
/// Ids count from 0; item 0 is the most popular one. The number of entries is exact, pairs are distinct, and where
/// entries >= users every user has at least one. A user's items are drawn one after another without replacement, with
/// probability proportional to popularity; implicit: to popularity * exp(x.y), where x.y counts at most 2.5
/// signal_stddev, so that x.y + b_i (b_i the log of the popularity) is the best possible ranking. Explicit ratings are
/// mean + b_u + b_i + x.y + noise, rounded to half stars and clipped to [0.5, 5]; biases have 30 % of the signal's
/// variance.
///
/// Entries stream to disk: memory is O((users + items) * rank), 100 million entries fit easily. The same bytes for any
/// number of threads. `progress(done, total)` is called now and then, from the calling thread. Error{kBadInput} naming
/// the option that cannot be served.
SynthSummary synthesize(const SynthOptions& options, const std::filesystem::path& directory, ThreadPool& pool,
                        const std::function<void(std::uint64_t, std::uint64_t)>& progress);

}  // namespace concerto
