// Ranking metrics over ranked lists (see ranking.hpp). Definitions: the comment of metrics.hpp.
#include "ranking.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

/// 1 / log2(position + 1), places counted from 0 and positions from 1.
double discount(std::size_t place) {
  return 1.0 / std::log2(static_cast<double>(place) + 2.0);
}

}  // namespace

std::vector<std::uint32_t> unknown_items_by_user(const HeldOut& held_out) {
  std::vector<std::uint32_t> counts;
  for (const UnknownEntry& entry : held_out.unknown) {
    if (entry.user == kNoRow) continue;
    if (counts.empty()) counts.resize(held_out.known.rows);
    ++counts[entry.user];
  }
  return counts;
}

std::vector<RowIndex> users_to_rank(const HeldOut& held_out, std::span<const std::uint32_t> unknown_items) {
  std::vector<RowIndex> users;
  const CompressedRows known = held_out.known.view();
  for (RowIndex user = 0; user < known.rows; ++user) {
    if (known.count(user) > 0 || (!unknown_items.empty() && unknown_items[user] > 0)) users.push_back(user);
  }
  return users;
}

RankingSums::RankingSums(const std::vector<Metric>& metrics, RowIndex items) : items_(items) {
  for (const Metric& metric : metrics) {
    if (!metric.is_ranking()) continue;
    longest_ = std::max(longest_, metric.k);
    One one{metric, 0.0, {}};
    if (metric.kind == MetricKind::kCoverage) one.seen.resize(items);
    metrics_.push_back(std::move(one));
  }
  // A list is never longer than the catalogue, so a huge K costs no more than that.
  longest_ = std::min(longest_, items);
  hits_.resize(longest_ + 1);
  gains_.resize(longest_ + 1);
}

double RankingSums::ideal_gain(std::uint64_t places) {
  while (ideal_.size() <= places) ideal_.push_back(ideal_.back() + discount(ideal_.size() - 1));
  return ideal_[places];
}

double RankingSums::value_for(const Metric& metric, std::uint64_t held_out) {
  const std::uint32_t depth = std::min(metric.k, longest_);
  const double hits = hits_[depth];
  const auto relevant = static_cast<double>(held_out);
  const double best = std::min<double>(relevant, metric.k);
  switch (metric.kind) {
    case MetricKind::kRecall:
      return hits / relevant;
    case MetricKind::kRecallCapped:
      return hits / best;
    case MetricKind::kPrecision:
      return hits / metric.k;
    case MetricKind::kNdcg:
      return gains_[depth] / ideal_gain(std::min<std::uint64_t>(held_out, metric.k));
    case MetricKind::kHitRate:
      return hits > 0 ? 1.0 : 0.0;
    case MetricKind::kCoverage:
    case MetricKind::kRmse:
    case MetricKind::kMae:
      break;
  }
  return 0.0;
}

void RankingSums::add(std::span<const RowIndex> ranked, std::span<const RowIndex> relevant, std::uint64_t misses) {
  ++users_;
  for (std::uint32_t place = 0; place < longest_; ++place) {
    const RowIndex item = place < ranked.size() ? ranked[place] : kNoRow;
    const bool hit = item != kNoRow && std::binary_search(relevant.begin(), relevant.end(), item);
    hits_[place + 1] = hits_[place] + (hit ? 1 : 0);
    gains_[place + 1] = gains_[place] + (hit ? discount(place) : 0.0);
  }
  std::uint64_t held_out = misses;  // distinct items: where duplicates are kept, one may be there twice
  for (std::size_t i = 0; i < relevant.size(); ++i) held_out += i == 0 || relevant[i] != relevant[i - 1] ? 1 : 0;
  for (One& one : metrics_) {
    if (one.metric.kind != MetricKind::kCoverage) {
      one.sum += value_for(one.metric, held_out);
      continue;
    }
    const std::size_t depth = std::min<std::size_t>(one.metric.k, ranked.size());
    for (std::size_t place = 0; place < depth && ranked[place] != kNoRow; ++place) one.seen[ranked[place]] = true;
  }
}

std::size_t RankingSums::bytes() const noexcept {
  std::size_t bytes = sizeof users_;
  for (const One& one : metrics_) {
    bytes += one.metric.kind == MetricKind::kCoverage ? (one.seen.size() + 7) / 8 : sizeof one.sum;
  }
  return bytes;
}

void RankingSums::write(std::span<std::byte> out) const {
  std::memcpy(out.data(), &users_, sizeof users_);
  out = out.subspan(sizeof users_);
  for (const One& one : metrics_) {
    if (one.metric.kind != MetricKind::kCoverage) {
      std::memcpy(out.data(), &one.sum, sizeof one.sum);
      out = out.subspan(sizeof one.sum);
      continue;
    }
    const std::size_t bytes = (one.seen.size() + 7) / 8;
    std::ranges::fill(out.first(bytes), std::byte{0});
    for (std::size_t item = 0; item < one.seen.size(); ++item) {
      if (one.seen[item]) out[item / 8] |= std::byte{1} << (item % 8);
    }
    out = out.subspan(bytes);
  }
}

void RankingSums::add(std::span<const std::byte> sums) {
  std::uint64_t users = 0;
  std::memcpy(&users, sums.data(), sizeof users);
  users_ += users;
  sums = sums.subspan(sizeof users);
  for (One& one : metrics_) {
    if (one.metric.kind != MetricKind::kCoverage) {
      double sum = 0.0;
      std::memcpy(&sum, sums.data(), sizeof sum);
      one.sum += sum;
      sums = sums.subspan(sizeof sum);
      continue;
    }
    for (std::size_t item = 0; item < one.seen.size(); ++item) {
      if ((sums[item / 8] >> (item % 8) & std::byte{1}) != std::byte{0}) one.seen[item] = true;
    }
    sums = sums.subspan((one.seen.size() + 7) / 8);
  }
}

std::vector<double> RankingSums::means() const {
  std::vector<double> values;
  for (const One& one : metrics_) {
    if (one.metric.kind == MetricKind::kCoverage) {
      const auto seen = static_cast<double>(std::count(one.seen.begin(), one.seen.end(), true));
      values.push_back(items_ == 0 ? 0.0 : seen / items_);
    } else {
      values.push_back(users_ == 0 ? 0.0 : one.sum / static_cast<double>(users_));
    }
  }
  return values;
}

void append_values(const std::vector<Metric>& metrics, const std::vector<double>& ranking, double rmse, double mae,
                   MetricValues& out) {
  std::size_t next = 0;
  for (const Metric& metric : metrics) {
    double value = metric.kind == MetricKind::kRmse ? rmse : mae;
    if (metric.is_ranking()) value = ranking[next++];
    out.values.emplace_back(metric.name, value);
  }
}

void require_measurable(const HeldOutFacts& held_out, const std::vector<Metric>& metrics, const std::string& where) {
  if (metrics.empty()) return;
  if (held_out.entries() == 0) {
    throw Error(ErrorCode::kBadInput, "there are no held-out entries to measure on", where);
  }
  const bool ranks = std::any_of(metrics.begin(), metrics.end(), [](const Metric& m) { return m.is_ranking(); });
  if (ranks && !held_out.has_known_user) {
    throw Error(ErrorCode::kBadInput, "no held-out user is known to the model, so nobody can be ranked for", where);
  }
}

}  // namespace concerto
