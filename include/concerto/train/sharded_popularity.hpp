// The popularity baseline on the test part, measured by the ranks of a run: each adds up the values of its own items,
// all exchange these sums, each measures for its own users, all exchange that.
//
// As with the trainer nothing here communicates: buffers and their layout are handed to whoever does.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "concerto/data/dataset.hpp"
#include "concerto/train/metrics.hpp"
#include "concerto/train/sharded.hpp"

namespace concerto {

class ShardedPopularity {
 public:
  /// `data`, `plan` and what `share` views outlive this. `share` has a test part.
  ShardedPopularity(const Dataset& data, const ShardPlan& plan, Rank rank, const RankShare& share,
                    std::vector<Metric> metrics);

  /// First: the sums of the values of items, 8 bytes an item.
  [[nodiscard]] Exchange item_sums();
  /// Once these are exchanged: what this rank's users give.
  [[nodiscard]] Exchange user_sums();
  /// Once those are: the same on all ranks.
  [[nodiscard]] MetricValues values() const;

 private:
  const Dataset& data_;
  const ShardPlan& plan_;
  Rank rank_;
  RankShare share_;
  std::vector<Metric> metrics_;
  std::vector<double> item_sums_;
  std::vector<std::byte> user_sums_;
};

}  // namespace concerto
