// The popularity baseline: what one gets without a model. It shares the arithmetic of rankings with the model's
// metrics, so the two columns of a summary are comparable to the last bit.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "concerto/train/metrics.hpp"

#include "ranking.hpp"

namespace concerto {
namespace {

/// Entries of pretended mean rating that every item has, so that rare items stay near the mean.
constexpr double kDampingEntries = 5.0;

std::vector<RowIndex> items_by_popularity(const CompressedRows& train_by_item, std::span<const RowIndex> item_order) {
  std::vector<RowIndex> order(train_by_item.rows);
  std::iota(order.begin(), order.end(), RowIndex{0});
  std::ranges::sort(order, [&](RowIndex a, RowIndex b) {
    if (train_by_item.count(a) != train_by_item.count(b)) return train_by_item.count(a) > train_by_item.count(b);
    return item_order.empty() ? a < b : item_order[a] < item_order[b];
  });
  return order;
}

void rank_by_popularity(const HeldOut& held_out, const CompressedRows& train_by_user,
                        const CompressedRows& train_by_item, std::span<const RowIndex> item_order, RankingSums& sums) {
  const std::vector<RowIndex> order = items_by_popularity(train_by_item, item_order);
  const std::vector<std::uint32_t> unknown = unknown_items_by_user(held_out);
  const CompressedRows known = held_out.known.view();
  std::vector<RowIndex> list;
  for (const RowIndex user : users_to_rank(held_out, unknown)) {
    const auto seen = train_by_user.row_columns(user);
    list.clear();
    for (const RowIndex item : order) {
      if (list.size() == sums.longest()) break;
      if (!std::binary_search(seen.begin(), seen.end(), item)) list.push_back(item);
    }
    sums.add(list, known.row_columns(user), unknown.empty() ? 0 : unknown[user]);
  }
}

struct RatingBaseline {
  double mean = 0.0;
  std::vector<double> offsets;  // by item
};

RatingBaseline fit_ratings(const CompressedRows& train_by_item) {
  RatingBaseline baseline;
  double total = 0.0;
  for (EntryIndex i = 0; i < train_by_item.entries(); ++i) total += train_by_item.value(i);
  baseline.mean = train_by_item.entries() == 0 ? 0.0 : total / static_cast<double>(train_by_item.entries());
  baseline.offsets.resize(train_by_item.rows);
  for (RowIndex item = 0; item < train_by_item.rows; ++item) {
    double sum = 0.0;
    for (EntryIndex i = train_by_item.offsets[item]; i < train_by_item.offsets[item + 1]; ++i) {
      sum += train_by_item.value(i) - baseline.mean;
    }
    baseline.offsets[item] = sum / (static_cast<double>(train_by_item.count(item)) + kDampingEntries);
  }
  return baseline;
}

ErrorSums baseline_errors(const HeldOut& held_out, const RatingBaseline& baseline) {
  ErrorSums sums;
  const auto add = [&](RowIndex item, float value) {
    const double error = value - baseline.mean - (item == kNoRow ? 0.0 : baseline.offsets[item]);
    sums.squared += error * error;
    sums.absolute += std::fabs(error);
  };
  const CompressedRows known = held_out.known.view();
  for (EntryIndex i = 0; i < known.entries(); ++i) add(known.columns[i], known.value(i));
  for (const UnknownEntry& entry : held_out.unknown) add(entry.item, entry.value);
  return sums;
}

}  // namespace

MetricValues evaluate_popularity(const HeldOut& held_out, const CompressedRows& train_by_user,
                                 const CompressedRows& train_by_item, std::span<const RowIndex> item_order,
                                 const std::vector<Metric>& metrics) {
  require_measurable(held_out, metrics);
  MetricValues out;
  out.unknown_entries = held_out.unknown.size();
  out.unknown_users = held_out.unknown_users;

  RankingSums ranking(metrics, held_out.known.column_count);
  if (ranking.longest() > 0) {
    rank_by_popularity(held_out, train_by_user, train_by_item, item_order, ranking);
    out.users_evaluated = ranking.users();
    out.users_skipped = held_out.known.rows - ranking.users();
  }
  ErrorSums errors;
  if (std::any_of(metrics.begin(), metrics.end(), [](const Metric& metric) { return !metric.is_ranking(); })) {
    errors = baseline_errors(held_out, fit_ratings(train_by_item));
  }
  const auto entries = static_cast<double>(std::max<EntryIndex>(held_out.entries(), 1));
  append_values(metrics, ranking.means(), std::sqrt(errors.squared / entries), errors.absolute / entries, out);
  return out;
}

}  // namespace concerto
