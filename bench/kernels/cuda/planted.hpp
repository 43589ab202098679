// Ratings with a planted low-rank model in the shape of a real data set, made in memory in seconds on a few cores.
//
// Like `concerto synth` in spirit, but without its files, its distinct draws in random order and its exact counts: it
// is for measuring the time to a given quality at a size at which text would take longer than training. A pure function
// of its options; pow, log and cos are the C library's, so that another machine may differ in a few entries.
#pragma once

#include <cstdint>

#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"

namespace concerto::bench {

struct PlantedOptions {
  RowIndex users = 480189;
  RowIndex items = 17770;
  EntryIndex draws = 107000000;  ///< a user's repeated items count once: about 99 million entries are left
  std::uint32_t rank = 16;
  double user_exponent = 0.7;  ///< a user's draws ~ (place + user_shift)^-exponent
  double user_shift = 2000.0;
  double item_exponent = 0.8;
  double item_shift = 50.0;
  double mean = 3.5;
  double signal_stddev = 0.8;  ///< of x.y
  double noise_stddev = 0.6;   ///< before rounding to 1, 2, 3, 4, 5
  double test_share = 0.014;
  std::uint64_t seed = 1;

  /// The same with about `scale` of the rows on each side and scale^2 of the entries: as dense.
  [[nodiscard]] PlantedOptions scaled(double scale) const;
};

struct PlantedData {
  CompressedMatrix by_user;  ///< training entries; items ascend and are distinct within a user
  HeldOut test;              ///< in the rows of the training data; none unknown
  double true_rmse = 0.0;    ///< of mean + x.y on the test entries
};

[[nodiscard]] PlantedData make_planted(const PlantedOptions& options, ThreadPool& pool);

}  // namespace concerto::bench
