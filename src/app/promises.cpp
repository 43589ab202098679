// Shares of lags, quantiles of durations, and visibility.
#include "promises.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace concerto {

std::vector<double> shares_at_most(std::span<const std::uint64_t> counts) {
  const auto all = std::max<std::uint64_t>(1, std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  std::vector<double> shares;
  std::uint64_t so_far = 0;
  for (const std::uint64_t count : counts) {
    so_far += count;
    shares.push_back(static_cast<double>(so_far) / static_cast<double>(all));
  }
  return shares;
}

void DurationHistogram::add(std::chrono::nanoseconds duration) noexcept {
  const double microseconds = std::max(1.0, static_cast<double>(duration.count()) / 1000.0);
  const auto bucket = static_cast<std::size_t>(std::log2(microseconds) * kBucketsADoubling);
  ++counts_[std::min(bucket, counts_.size() - 1)];
}

void DurationHistogram::add(const DurationHistogram& other) noexcept {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

std::uint64_t DurationHistogram::samples() const noexcept {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

std::optional<double> DurationHistogram::quantile_ms(double share) const noexcept {
  const std::uint64_t all = samples();
  if (all == 0) return std::nullopt;
  const auto wanted =
      std::clamp<std::uint64_t>(static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(all))), 1, all);
  std::size_t bucket = 0;
  for (std::uint64_t so_far = counts_[0]; so_far < wanted; so_far += counts_[bucket]) ++bucket;
  return std::exp2(static_cast<double>(bucket + 1) / kBucketsADoubling) / 1000.0;
}

Visibility::Visibility(std::size_t blocks, Rank ranks) : ranks_(ranks), pending_(blocks * ranks) {}

void Visibility::published(BlockId block, Rank holder, const Version& version, std::chrono::nanoseconds now) {
  Pending& pending = at(block, holder);
  if (!pending.waiting) pending.waiting = Publication{version, now};
}

void Visibility::sent(BlockId block, Rank holder) {
  Pending& pending = at(block, holder);
  const auto waiting = std::exchange(pending.waiting, std::nullopt);
  // What an earlier put carried that was lost with its connection is older.
  if (!pending.sent) pending.sent = waiting;
}

void Visibility::acknowledged(BlockId block, Rank holder, const Version& version, std::chrono::nanoseconds now) {
  if (holder >= ranks_ || block >= pending_.size() / ranks_) return;
  Pending& pending = at(block, holder);
  for (std::optional<Publication>* const one : {&pending.sent, &pending.waiting}) {
    if (!*one || (*one)->version > version) continue;
    // In a later term the holder has it from another owner, whose clock is not this one's.
    if ((*one)->version.term == version.term) durations_.add(now - (*one)->at);
    one->reset();
  }
}

}  // namespace concerto
