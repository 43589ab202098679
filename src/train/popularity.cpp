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

std::vector<RowIndex> items_by_popularity(const RowLengths& train_by_item, std::span<const RowIndex> item_order) {
  std::vector<RowIndex> order(train_by_item.rows);
  std::iota(order.begin(), order.end(), RowIndex{0});
  std::ranges::sort(order, [&](RowIndex a, RowIndex b) {
    if (train_by_item.count(a) != train_by_item.count(b)) return train_by_item.count(a) > train_by_item.count(b);
    return item_order.empty() ? a < b : item_order[a] < item_order[b];
  });
  return order;
}

}  // namespace

ItemPopularity::ItemPopularity(const RowLengths& train_by_item, std::span<const double> value_sums,
                               std::span<const RowIndex> item_order)
    : ranking_(items_by_popularity(train_by_item, item_order)), offsets_(train_by_item.rows) {
  if (value_sums.empty() || train_by_item.entries() == 0) return;
  const double total = std::accumulate(value_sums.begin(), value_sums.end(), 0.0);
  mean_ = total / static_cast<double>(train_by_item.entries());
  for (RowIndex item = 0; item < train_by_item.rows; ++item) {
    const auto count = static_cast<double>(train_by_item.count(item));
    offsets_[item] = (value_sums[item] - count * mean_) / (count + kDampingEntries);
  }
}

void value_sums_of(const CompressedRows& matrix, RowRange rows, std::span<double> sums) {
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    double sum = 0.0;
    for (EntryIndex i = matrix.offsets[row]; i < matrix.offsets[row + 1]; ++i) sum += matrix.value(i);
    sums[row] = sum;
  }
}

void rank_by_popularity(const ItemPopularity& popularity, const HeldOut& part, const CompressedRows& train_by_user,
                        RankingSums& sums) {
  const std::vector<std::uint32_t> unknown = unknown_items_by_user(part);
  const CompressedRows known = part.known.view();
  std::vector<RowIndex> list;
  for (const RowIndex user : users_to_rank(part, unknown)) {
    const auto seen = train_by_user.row_columns(user);
    list.clear();
    for (const RowIndex item : popularity.ranking()) {
      if (list.size() == sums.longest()) break;
      if (!std::binary_search(seen.begin(), seen.end(), item)) list.push_back(item);
    }
    sums.add(list, known.row_columns(user), unknown.empty() ? 0 : unknown[user]);
  }
}

ErrorSums popularity_errors(const ItemPopularity& popularity, const HeldOut& part) {
  ErrorSums sums;
  const auto add = [&](RowIndex item, float value) {
    const double error = value - popularity.rating(item);
    sums.squared += error * error;
    sums.absolute += std::fabs(error);
  };
  const CompressedRows known = part.known.view();
  for (EntryIndex i = 0; i < known.entries(); ++i) add(known.columns[i], known.value(i));
  for (const UnknownEntry& entry : part.unknown) add(entry.item, entry.value);
  return sums;
}

MetricValues evaluate_popularity(const HeldOut& held_out, const CompressedRows& train_by_user,
                                 const CompressedRows& train_by_item, std::span<const RowIndex> item_order,
                                 const std::vector<Metric>& metrics) {
  require_measurable(held_out.facts(), metrics);
  std::vector<double> value_sums(train_by_item.rows);
  value_sums_of(train_by_item, {0, train_by_item.rows}, value_sums);
  MetricSums sums(metrics, held_out.known.column_count);
  sums.measure(ItemPopularity(train_by_item, value_sums, item_order), held_out, train_by_user);
  return sums.values(held_out.facts());
}

}  // namespace concerto
