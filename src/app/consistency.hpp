// The consistency index of an asynchronous run: how far the ranks' replicas are from the owners' states at a moment, by
// a sample of rows. Arithmetic and memory alone; who copies when is the driver's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/replication/version.hpp"

namespace concerto {

/// Rows of a table that a sample has at most.
inline constexpr std::uint32_t kSampledRows = 1024;

struct SampledRow {
  BlockId block = 0;
  RowIndex row = 0;  ///< of the table
};

/// `count` different rows below `rows`, or all if they are fewer, ascending: a pure function of its arguments.
[[nodiscard]] std::vector<RowIndex> draw_rows(RowIndex rows, std::uint32_t count, std::uint64_t seed,
                                              std::uint64_t stream);

/// d = 1 - min(1, ||Y - Y*|| / ||Y*||), in Frobenius norms; 1 where both are zero, 0 where a number is not finite.
[[nodiscard]] double agreement(std::span<const float> replica, std::span<const float> owners);

/// C = sum of w_i d_i; the weights' sum is 1.
[[nodiscard]] double consistency_index(std::span<const double> weights, std::span<const double> agreements);

struct ConsistencySample {
  std::uint64_t number = 0;    ///< the same on all ranks
  double seconds = 0.0;        ///< since training began, where its marker was sent
  std::int64_t sent_us = 0;    ///< there: since 1970, by its clock
  std::int64_t copied_us = 0;  ///< since 1970, by this rank's clock
  std::vector<float> values;   ///< of the sampled rows, one after another
};

/// How many samples of so many bytes a run keeps: 256, or what fits into 64 MiB, at least 4.
[[nodiscard]] std::size_t most_samples(std::size_t bytes_of_one) noexcept;

/// The samples of a run, in bounded memory. Their numbers are multiples of the interval; when there are too many, every
/// second is dropped and the interval doubles from there on. Ranks that are given the same numbers keep the same.
class ConsistencySamples {
 public:
  explicit ConsistencySamples(std::size_t most) : most_(most) {}

  /// The number of the sample that is due after `elapsed` intervals; nothing: none.
  [[nodiscard]] std::optional<std::uint64_t> due(std::uint64_t elapsed);
  /// Whether a sample may have this number: they rise.
  [[nodiscard]] bool may_follow(std::uint64_t number) const noexcept { return number > last_; }
  /// A place for the sample of this number; null: it is not kept. Valid until the next call.
  [[nodiscard]] ConsistencySample* add(std::uint64_t number);

  [[nodiscard]] std::vector<ConsistencySample> take() noexcept { return std::move(samples_); }

 private:
  void make_room();

  std::size_t most_;
  std::uint64_t stride_ = 1;
  std::uint64_t last_ = 0;
  std::vector<ConsistencySample> samples_;
};

}  // namespace concerto
