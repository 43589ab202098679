// Gathers what ranks have measured (see promise_exchange.hpp).
#include "promise_exchange.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

constexpr std::uint64_t kStream = 0x73616d70;  // of the draw of rows
constexpr std::array<std::string_view, 6> kKinds{"put", "delta", "status", "fence", "fetch", "state"};

/// Of one rank, as it travels; lags and samples follow.
struct Measured {
  double blocked_seconds = 0.0;
  double compute_seconds = 0.0;
  std::array<std::uint64_t, kKinds.size()> bytes{};
  std::uint64_t lags = 0;
  std::uint64_t samples = 0;
  DurationHistogram visibility;
};

struct SampleHead {
  std::uint64_t number = 0;
  double seconds = 0.0;
  std::int64_t sent_us = 0;
  std::int64_t copied_us = 0;
};

/// By rank, what each has given; `counts` by rank.
template <typename T>
std::vector<std::vector<T>> gather_all(RankSteps& steps, const std::vector<T>& mine,
                                       const std::vector<std::size_t>& counts) {
  static_assert(std::is_trivially_copyable_v<T>);
  CONCERTO_CHECK(mine.size() == counts[steps.rank()], "as many as all have been told");
  std::vector<GatherBlock> blocks;
  std::size_t all = 0;
  for (Rank r = 0; r < steps.ranks(); ++r) {
    blocks.push_back({r, all * sizeof(T), counts[r] * sizeof(T)});
    all += counts[r];
  }
  std::vector<T> values(all);
  std::ranges::copy(mine, values.begin() + static_cast<std::ptrdiff_t>(blocks[steps.rank()].offset / sizeof(T)));
  if (all > 0) steps.all_gather(std::as_writable_bytes(std::span(values)), blocks);
  std::vector<std::vector<T>> by_rank;
  auto next = values.begin();
  for (const std::size_t count : counts) {
    by_rank.emplace_back(next, next + static_cast<std::ptrdiff_t>(count));
    next += static_cast<std::ptrdiff_t>(count);
  }
  return by_rank;
}

/// The numbers of the samples that every rank has, ascending.
std::vector<std::uint64_t> common_numbers(const std::vector<std::vector<SampleHead>>& heads) {
  std::vector<std::uint64_t> numbers;
  for (const SampleHead& head : heads[0]) {
    const bool is_everywhere = std::ranges::all_of(heads, [&](const std::vector<SampleHead>& of_rank) {
      return std::ranges::find(of_rank, head.number, &SampleHead::number) != of_rank.end();
    });
    if (is_everywhere) numbers.push_back(head.number);
  }
  return numbers;
}

/// Which rank's copy of which part of a sample is the owner's.
std::vector<GatherBlock> owners_parts(const AsynchronousRun& run, std::size_t row_bytes) {
  std::vector<GatherBlock> parts;
  std::size_t offset = 0;
  for (const SampledRow& row : run.sampling.rows) {
    const Rank owner = run.record.places[row.block].owner;
    if (parts.empty() || parts.back().owner != owner) parts.push_back({owner, offset, 0});
    parts.back().bytes += row_bytes;
    offset += row_bytes;
  }
  return parts;
}

void gather_consistency(RankSteps& steps, const AsynchronousOutcome& outcome, const AsynchronousRun& run,
                        const std::vector<double>& shares, const std::vector<std::vector<SampleHead>>& heads,
                        PromisesReport& report) {
  const std::vector<std::uint64_t> numbers = common_numbers(heads);
  if (numbers.empty()) return;
  std::vector<double> agreements;
  for (const std::uint64_t number : numbers) {
    const auto sample = std::ranges::find(outcome.samples, number, &ConsistencySample::number);
    std::vector<float> owners = sample->values;
    const auto bytes = std::as_writable_bytes(std::span(owners));
    steps.all_gather(bytes, owners_parts(run, bytes.size() / run.sampling.rows.size()));
    agreements.push_back(agreement(sample->values, owners));
  }
  const auto by_rank = gather_all(steps, agreements, std::vector<std::size_t>(steps.ranks(), numbers.size()));
  std::int64_t skew_us = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::vector<double> of_sample;
    const auto head = std::ranges::find(heads[0], numbers[i], &SampleHead::number);
    for (Rank r = 0; r < steps.ranks(); ++r) {
      of_sample.push_back(by_rank[r][i]);
      const auto theirs = std::ranges::find(heads[r], numbers[i], &SampleHead::number);
      skew_us = std::max(skew_us, theirs->copied_us - head->sent_us);
    }
    report.consistency_index.emplace_back(head->seconds, consistency_index(shares, of_sample));
  }
  report.consistency_skew_ms = static_cast<double>(skew_us) / 1000.0;
}

void add_up(const Measured& one, std::span<const std::uint64_t> lags, DurationHistogram& visibility,
            PromisesReport& report) {
  report.blocked_seconds.push_back(one.blocked_seconds);
  report.compute_seconds.push_back(one.compute_seconds);
  report.lags.resize(std::max(report.lags.size(), lags.size()));
  for (std::size_t lag = 0; lag < lags.size(); ++lag) report.lags[lag] += lags[lag];
  for (std::size_t k = 0; k < kKinds.size(); ++k) report.bytes_by_kind[k].second += one.bytes[k];
  visibility.add(one.visibility);
}

}  // namespace

std::vector<SampledRow> sampled_rows(const BlockPlan& plan, std::uint64_t seed) {
  std::vector<SampledRow> rows;
  for (const Side side : {Side::kItems, Side::kUsers}) {
    RowIndex end = 0;
    for (BlockId b = 0; b < plan.rows.size(); ++b) {
      if (plan.blocks[b].table == side && plan.blocks[b].is_read_by_all) end = std::max(end, plan.rows[b].end);
    }
    const std::vector<RowIndex> drawn = draw_rows(end, kSampledRows, seed, kStream + static_cast<std::uint64_t>(side));
    auto next = drawn.begin();
    for (BlockId b = 0; b < plan.rows.size(); ++b) {
      if (plan.blocks[b].table != side) continue;
      for (; next != drawn.end() && *next < plan.rows[b].end; ++next) rows.push_back({b, *next});
    }
  }
  return rows;
}

std::vector<double> shares_of_entries(const RowLengths& by_user, const RowLengths& by_item, const BlockPlan& plan,
                                      const Membership& record, bool is_adding) {
  std::vector<double> shares(record.members.size());
  const double all = static_cast<double>(by_user.entries()) * (is_adding ? 1.0 : 2.0);
  for (BlockId b = 0; b < plan.rows.size(); ++b) {
    const Side side = plan.blocks[b].table;
    if (is_adding && side == Side::kItems) continue;
    const auto offsets = (side == Side::kUsers ? by_user : by_item).offsets;
    const auto entries = static_cast<double>(offsets[plan.rows[b].end] - offsets[plan.rows[b].begin]);
    shares[record.places[b].owner] += entries / all;
  }
  return shares;
}

PromisesReport gather_promises(RankSteps& steps, const AsynchronousOutcome& outcome, const AsynchronousRun& run,
                               const std::vector<double>& shares) {
  Measured mine{outcome.blocked_seconds, outcome.compute_seconds, outcome.bytes_sent,
                outcome.lags.size(),     outcome.samples.size(),  outcome.visibility};
  const auto measured = gather_all(steps, std::vector{mine}, std::vector<std::size_t>(steps.ranks(), 1));
  std::vector<std::size_t> lag_counts;
  std::vector<std::size_t> sample_counts;
  for (const std::vector<Measured>& of_rank : measured) {
    lag_counts.push_back(of_rank[0].lags);
    sample_counts.push_back(of_rank[0].samples);
  }
  const auto lags = gather_all(steps, outcome.lags, lag_counts);
  std::vector<SampleHead> my_heads;
  for (const ConsistencySample& s : outcome.samples) my_heads.push_back({s.number, s.seconds, s.sent_us, s.copied_us});
  const auto heads = gather_all(steps, my_heads, sample_counts);

  PromisesReport report;
  for (const std::string_view kind : kKinds) report.bytes_by_kind.emplace_back(kind, 0);
  DurationHistogram visibility;
  for (Rank r = 0; r < steps.ranks(); ++r) add_up(measured[r][0], lags[r], visibility, report);
  report.visibility_samples = visibility.samples();
  report.visibility_p50_ms = visibility.quantile_ms(0.5);
  report.visibility_p99_ms = visibility.quantile_ms(0.99);
  gather_consistency(steps, outcome, run, shares, heads, report);
  return report;
}

}  // namespace concerto
