// Ranking metrics over ranked lists, whoever made the lists: the model (metrics.cpp) or popularity (popularity.cpp);
// and what popularity adds to the sums of metrics.
// It adds up per-user values in the order in which users are given; it does not rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "concerto/data/dataset.hpp"
#include "concerto/train/metrics.hpp"

namespace concerto {

/// Held-out entries of known users whose item is unknown, counted by user row. Empty when there are none.
[[nodiscard]] std::vector<std::uint32_t> unknown_items_by_user(const HeldOut& held_out);

/// Rows of users with at least one held-out item, known to the model or not, in ascending order.
[[nodiscard]] std::vector<RowIndex> users_to_rank(const HeldOut& held_out,
                                                  std::span<const std::uint32_t> unknown_items);

class RankingSums {
 public:
  /// Keeps the ranking metrics of `metrics`; the others are ignored.
  RankingSums(const std::vector<Metric>& metrics, RowIndex items);

  /// The longest list that any metric looks at; 0 when there is no ranking metric.
  [[nodiscard]] std::uint32_t longest() const noexcept { return longest_; }

  /// Adds one user: `ranked` is best first and may be short or end in kNoRow; `relevant` ascends; `misses` more
  /// held-out items are unknown and cannot be hit.
  void add(std::span<const RowIndex> ranked, std::span<const RowIndex> relevant, std::uint64_t misses);

  /// The sums as bytes, and added from there: users, then of each metric its sum or its seen items.
  [[nodiscard]] std::size_t bytes() const noexcept;
  void write(std::span<std::byte> out) const;
  void add(std::span<const std::byte> sums);

  /// The mean over the users added (coverage: the share of items), in the order of the ranking metrics.
  [[nodiscard]] std::vector<double> means() const;
  [[nodiscard]] std::uint64_t users() const noexcept { return users_; }

 private:
  struct One {
    Metric metric;
    double sum = 0.0;
    std::vector<bool> seen;  // coverage: items in any list
  };
  [[nodiscard]] double value_for(const Metric& metric, std::uint64_t held_out);
  [[nodiscard]] double ideal_gain(std::uint64_t places);

  std::vector<One> metrics_;
  RowIndex items_ = 0;
  std::uint32_t longest_ = 0;
  std::uint64_t users_ = 0;
  std::vector<double> ideal_{0.0};   // gain of k hits in the first k places; grows as asked for
  std::vector<std::uint32_t> hits_;  // hits among the first k places, k from 0
  std::vector<double> gains_;        // discounted hits among the first k places
};

/// Ranks by popularity for the users of a part, and its errors of prediction.
void rank_by_popularity(const ItemPopularity& popularity, const HeldOut& part, const CompressedRows& train_by_user,
                        RankingSums& sums);
[[nodiscard]] ErrorSums popularity_errors(const ItemPopularity& popularity, const HeldOut& part);

/// Puts rating and ranking values into the order of `metrics`.
void append_values(const std::vector<Metric>& metrics, const std::vector<double>& ranking, double rmse, double mae,
                   MetricValues& out);

}  // namespace concerto
