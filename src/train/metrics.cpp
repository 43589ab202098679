// Metric names, and the measuring of a model in a backend. The arithmetic of rankings is in ranking.cpp.
#include "concerto/train/metrics.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"

#include "ranking.hpp"

namespace concerto {
namespace {

struct MetricName {
  std::string_view text;
  MetricKind kind;
};

constexpr std::array kRankingNames = {
    MetricName{"recall", MetricKind::kRecall},       MetricName{"recall_capped", MetricKind::kRecallCapped},
    MetricName{"precision", MetricKind::kPrecision}, MetricName{"ndcg", MetricKind::kNdcg},
    MetricName{"hr", MetricKind::kHitRate},          MetricName{"coverage", MetricKind::kCoverage},
};

[[noreturn]] void refuse_metric(std::string_view name, std::string_view why) {
  throw Error(ErrorCode::kBadInput,
              fmt::format("{}; metrics are rmse, mae, and recall@K, recall_capped@K, precision@K, ndcg@K, hr@K, "
                          "coverage@K with K from 1",
                          why),
              fmt::format("metric \"{}\"", name));
}

/// Lists of one batch take 8 bytes a place: at most about 8 MiB, whatever K.
std::size_t batch_size(std::uint32_t k) {
  return std::clamp<std::size_t>((std::size_t{1} << 20) / k, 64, 8192);
}

void rank_users(const Scorer& scorer, const HeldOut& held_out, const CompressedRows& train_by_user, RankingSums& sums) {
  const std::vector<std::uint32_t> unknown = unknown_items_by_user(held_out);
  const std::vector<RowIndex> users = users_to_rank(held_out, unknown);
  const CompressedRows known = held_out.known.view();
  const std::uint32_t k = sums.longest();
  const std::size_t batch = batch_size(std::max(k, 1U));
  for (std::size_t begin = 0; begin < users.size(); begin += batch) {
    TopKQuery query;
    query.queries = scorer.users;
    query.rows = std::span(users).subspan(begin, std::min(batch, users.size() - begin));
    query.candidates = scorer.items;
    query.exclude = &train_by_user;
    query.k = k;
    query.tie_order = scorer.item_order;
    const TopKResult lists = scorer.backend->top_k(query);
    for (std::size_t i = 0; i < query.rows.size(); ++i) {
      const RowIndex user = query.rows[i];
      sums.add(std::span(lists.candidates).subspan(i * k, k), known.row_columns(user),
               unknown.empty() ? 0 : unknown[user]);
    }
  }
}

ErrorSums rating_errors(const Scorer& scorer, const HeldOut& held_out) {
  ErrorSums sums = scorer.backend->prediction_errors(held_out.known.view(), *scorer.users, *scorer.items, scorer.mean,
                                                     scorer.low, scorer.high);
  for (const UnknownEntry& entry : held_out.unknown) {
    double score = scorer.mean;
    if (entry.user != kNoRow && scorer.host_users != nullptr) score += scorer.host_users->bias(entry.user);
    if (entry.item != kNoRow && scorer.host_items != nullptr) score += scorer.host_items->bias(entry.item);
    const double error = entry.value - std::clamp<double>(score, scorer.low, scorer.high);
    sums.squared += error * error;
    sums.absolute += std::fabs(error);
  }
  return sums;
}

}  // namespace

Metric parse_metric(std::string_view name) {
  Metric metric;
  metric.name = std::string(name);
  if (name == "rmse" || name == "mae") {
    metric.kind = name == "rmse" ? MetricKind::kRmse : MetricKind::kMae;
    return metric;
  }
  const std::size_t at = name.find('@');
  const std::string_view stem = name.substr(0, at);
  const auto* known = std::find_if(kRankingNames.begin(), kRankingNames.end(),
                                   [&](const MetricName& candidate) { return candidate.text == stem; });
  if (known == kRankingNames.end()) refuse_metric(name, "unknown metric");
  if (at == std::string_view::npos) refuse_metric(name, "a ranking metric needs its list length, as in recall@20");
  const std::string_view digits = name.substr(at + 1);
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), metric.k);
  if (status != std::errc{} || end != digits.data() + digits.size() || metric.k == 0) {
    refuse_metric(name, "the list length is not a positive number");
  }
  metric.kind = known->kind;
  return metric;
}

double MetricValues::at(std::string_view name) const {
  const auto found = std::find_if(values.begin(), values.end(), [&](const auto& value) { return value.first == name; });
  CONCERTO_CHECK(found != values.end(), "a metric is read that was not measured");
  return found->second;
}

struct MetricSums::Sums {
  std::vector<Metric> metrics;
  RankingSums ranking;
  ErrorSums errors;
  [[nodiscard]] bool has_ratings() const {
    return std::ranges::any_of(metrics, [](const Metric& metric) { return !metric.is_ranking(); });
  }
};

MetricSums::MetricSums(const std::vector<Metric>& metrics, RowIndex items)
    : sums_(std::make_unique<Sums>(Sums{metrics, RankingSums(metrics, items), {}})) {}
MetricSums::~MetricSums() = default;
MetricSums::MetricSums(MetricSums&&) noexcept = default;
MetricSums& MetricSums::operator=(MetricSums&&) noexcept = default;

void MetricSums::measure(const Scorer& scorer, const HeldOut& part, const CompressedRows& train_by_user) {
  if (sums_->ranking.longest() > 0) rank_users(scorer, part, train_by_user, sums_->ranking);
  if (!sums_->has_ratings()) return;
  const ErrorSums errors = rating_errors(scorer, part);
  sums_->errors.squared += errors.squared;
  sums_->errors.absolute += errors.absolute;
}

void MetricSums::measure(const ItemPopularity& popularity, const HeldOut& part, const CompressedRows& train_by_user) {
  if (sums_->ranking.longest() > 0) rank_by_popularity(popularity, part, train_by_user, sums_->ranking);
  if (!sums_->has_ratings()) return;
  const ErrorSums errors = popularity_errors(popularity, part);
  sums_->errors.squared += errors.squared;
  sums_->errors.absolute += errors.absolute;
}

std::size_t MetricSums::bytes() const noexcept {
  return sizeof(ErrorSums) + sums_->ranking.bytes();
}

void MetricSums::write(std::span<std::byte> out) const {
  CONCERTO_CHECK(out.size() == bytes(), "sums of another size");
  std::memcpy(out.data(), &sums_->errors, sizeof(ErrorSums));
  sums_->ranking.write(out.subspan(sizeof(ErrorSums)));
}

void MetricSums::add(std::span<const std::byte> sums) {
  CONCERTO_CHECK(sums.size() == bytes(), "sums of another size");
  ErrorSums errors;
  std::memcpy(&errors, sums.data(), sizeof errors);
  sums_->errors.squared += errors.squared;
  sums_->errors.absolute += errors.absolute;
  sums_->ranking.add(sums.subspan(sizeof errors));
}

MetricValues MetricSums::values(const HeldOutFacts& whole) const {
  MetricValues out;
  out.unknown_entries = whole.unknown_entries;
  out.unknown_users = whole.unknown_users;
  if (sums_->ranking.longest() > 0) {
    out.users_evaluated = sums_->ranking.users();
    out.users_skipped = whole.users - sums_->ranking.users();
  }
  const auto entries = static_cast<double>(std::max<EntryIndex>(whole.entries(), 1));
  append_values(sums_->metrics, sums_->ranking.means(), std::sqrt(sums_->errors.squared / entries),
                sums_->errors.absolute / entries, out);
  return out;
}

MetricValues evaluate(const Scorer& scorer, const HeldOut& held_out, const CompressedRows& train_by_user,
                      const std::vector<Metric>& metrics) {
  require_measurable(held_out.facts(), metrics);
  MetricSums sums(metrics, held_out.known.column_count);
  sums.measure(scorer, held_out, train_by_user);
  return sums.values(held_out.facts());
}

}  // namespace concerto
