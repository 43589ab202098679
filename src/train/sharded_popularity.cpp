// Ranks' shares of the popularity baseline (see sharded_popularity.hpp).
#include "concerto/train/sharded_popularity.hpp"

#include <algorithm>
#include <utility>

namespace concerto {

ShardedPopularity::ShardedPopularity(const Dataset& data, const ShardPlan& plan, Rank rank, const RankShare& share,
                                     std::vector<Metric> metrics)
    : data_(data), plan_(plan), rank_(rank), share_(share), metrics_(std::move(metrics)) {}

Exchange ShardedPopularity::item_sums() {
  item_sums_.assign(plan_.items.rows, 0.0);
  Exchange exchange{std::as_writable_bytes(std::span(item_sums_)), {}};
  for (std::size_t b = 0; b < plan_.items.blocks.size(); ++b) {
    const RowRange rows = plan_.items.blocks[b];
    exchange.blocks.push_back({plan_.items.owners[b], rows.begin * sizeof(double), rows.size() * sizeof(double)});
    if (plan_.items.owners[b] == rank_) value_sums_of(share_.by_item, rows, item_sums_);
  }
  return exchange;
}

Exchange ShardedPopularity::user_sums() {
  const bool ranks = std::ranges::any_of(metrics_, &Metric::is_ranking);
  const ItemPopularity popularity(data_.lengths(Side::kItems), item_sums_,
                                  ranks ? data_.items().rank_order() : std::span<const RowIndex>{});
  MetricSums mine(metrics_, share_.whole_test.items);
  mine.measure(popularity, *share_.test, share_.by_user);
  user_sums_.assign(plan_.ranks * mine.bytes(), std::byte{0});
  mine.write(std::span(user_sums_).subspan(rank_ * mine.bytes(), mine.bytes()));
  Exchange exchange{user_sums_, {}};
  for (Rank r = 0; r < plan_.ranks; ++r) exchange.blocks.push_back({r, r * mine.bytes(), mine.bytes()});
  return exchange;
}

MetricValues ShardedPopularity::values() const {
  MetricSums sums(metrics_, share_.whole_test.items);
  for (Rank r = 0; r < plan_.ranks; ++r) {
    sums.add(std::span(user_sums_).subspan(r * sums.bytes(), sums.bytes()));
  }
  return sums.values(share_.whole_test);
}

}  // namespace concerto
