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
  double test_share = 0.1;
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

/// Writes train.txt and test.txt (`user item value` or `user item`), the true factors user_factors.npy,
/// item_factors.npy (and biases), and truth.json (options, noise, true scores) into `directory`, atomically. Entries
/// stream to disk: memory is O(users + items + one user's items), 100 million entries fit easily. Deterministic in the
/// options for any number of threads. `progress(done, total)` is called now and then, from one thread.
SynthSummary synthesize(const SynthOptions& options, const std::filesystem::path& directory, ThreadPool& pool,
                        const std::function<void(std::uint64_t, std::uint64_t)>& progress);

}  // namespace concerto
