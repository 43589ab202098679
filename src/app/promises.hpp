// Measured promises of an asynchronous run, as arithmetic: how far steps read behind, and how long a version takes
// until a replica is known to hold it. No clock: the caller says when something happened.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "concerto/replication/version.hpp"

namespace concerto {

/// Of `counts[lag]` reads, the share that lagged by at most 0, 1, 2, ...; the last is 1 where there was a read, else 0.
[[nodiscard]] std::vector<double> shares_at_most(std::span<const std::uint64_t> counts);

/// Durations on a logarithmic scale, 16 buckets to a doubling, from 1 us (and less) to 12 days (and more). A plain
/// value of 5 KiB that may travel as its bytes.
class DurationHistogram {
 public:
  void add(std::chrono::nanoseconds duration) noexcept;
  void add(const DurationHistogram& other) noexcept;
  [[nodiscard]] std::uint64_t samples() const noexcept;
  /// The least duration, in ms, that at least `share` of the samples (above 0, at most 1) do not exceed, rounded up to
  /// its bucket's end: at most 4.5% more, never less. Nothing without samples.
  [[nodiscard]] std::optional<double> quantile_ms(double share) const noexcept;

 private:
  static constexpr std::size_t kBucketsADoubling = 16;
  std::array<std::uint64_t, 40 * kBucketsADoubling> counts_{};
};

/// Visibility of the blocks that a rank owns: from the publication of a version to the first word of a holder that it
/// has this version or a newer one, on the owner's clock, and so an upper bound. At most one put of a block is under
/// way to a holder, so that two moments each are enough: of the oldest version that the put carries, and of the oldest
/// that was published since and waits. A sample is taken of these, the longest of those that one put makes visible.
class Visibility {
 public:
  Visibility(std::size_t blocks, Rank ranks);

  /// The block's state has become `version` here, at its owner; `holder` is to have it.
  void published(BlockId block, Rank holder, const Version& version, std::chrono::nanoseconds now);
  /// The block as it is now was sent.
  void sent(BlockId block, Rank holder);
  /// `holder` says which version it has. Of a block or a rank that does not exist: nothing.
  void acknowledged(BlockId block, Rank holder, const Version& version, std::chrono::nanoseconds now);

  [[nodiscard]] const DurationHistogram& durations() const noexcept { return durations_; }

 private:
  struct Publication {
    Version version;
    std::chrono::nanoseconds at{0};
  };
  struct Pending {
    std::optional<Publication> sent;
    std::optional<Publication> waiting;
  };
  [[nodiscard]] Pending& at(BlockId block, Rank holder) { return pending_[std::size_t{block} * ranks_ + holder]; }

  Rank ranks_;
  std::vector<Pending> pending_;  ///< by block, rank
  DurationHistogram durations_;
};

}  // namespace concerto
