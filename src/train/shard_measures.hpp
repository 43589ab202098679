// What ranks measure of an epoch, each its share, and what comes out when all shares are added up alike everywhere: the
// loss, metrics, requests to stop, whether factors are finite and all copies equal. All of it goes in one exchange.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "concerto/data/dataset.hpp"

#include "epoch_sums.hpp"
#include "sharded_run.hpp"

namespace concerto {

/// What an epoch measures: the same on all ranks.
struct MeasurePlan {
  bool has_loss = false;
  bool has_digests = false;
  std::vector<Metric> test;
  std::vector<Metric> validation;
};

class ShardMeasures {
 public:
  /// The run's tables are loaded; entries of own users are asked for now. `item_order` breaks ties in rankings.
  ShardMeasures(ShardedRun& run, const SharedHeldOut& test, const SharedHeldOut& validation,
                std::span<const RowIndex> item_order);

  /// This rank's share of the test part, nullptr where there is none; and what is true of all of it.
  [[nodiscard]] const HeldOut* own_test() const noexcept { return test_.is_there ? &test_.own : nullptr; }
  [[nodiscard]] const HeldOutFacts& whole_test() const noexcept { return test_.whole; }

  /// Fills in this rank's share; `stop`: it has been asked to stop.
  void measure(MeasurePlan plan, bool stop);
  [[nodiscard]] Exchange exchange() { return {sums_, blocks()}; }

  // After the exchange.
  /// Error naming table, rows and ranks where copies differ.
  void compare_digests(std::uint32_t epoch) const;
  /// What the plan has; nothing for what it has not.
  [[nodiscard]] std::optional<double> loss();
  [[nodiscard]] std::optional<MetricValues> test() const;
  [[nodiscard]] std::optional<MetricValues> validation() const;
  [[nodiscard]] bool does_anyone_stop() const;
  /// All rows of all ranks.
  [[nodiscard]] bool is_finite() const;

 private:
  /// A part to measure on: all of it, and this rank's share.
  struct Part {
    bool is_there = false;
    HeldOutFacts whole;
    HeldOut own;
  };

  [[nodiscard]] MetricSums measure_metrics(const Part& part, const std::vector<Metric>& metrics);
  void measure_chunks();
  [[nodiscard]] double squared_scores();
  void write_digests(std::size_t at);
  [[nodiscard]] std::vector<ShardedTable*> compared() const;
  [[nodiscard]] bool does_any_say(std::uint64_t flag) const;
  [[nodiscard]] MetricValues added_up(const Part& part, const std::vector<Metric>& metrics, std::size_t at) const;
  [[nodiscard]] std::vector<GatherBlock> blocks() const;

  ShardedRun& run_;
  std::span<const RowIndex> item_order_;
  Part test_;
  Part validation_;
  MeasurePlan plan_;
  SumsLayout layout_;
  std::vector<std::byte> sums_;
};

}  // namespace concerto
