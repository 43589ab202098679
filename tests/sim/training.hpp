// A tiny real model beside the integers of a simulation: the same effects on real bytes, so that what training reaches
// under faults can be compared with what one process reaches.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "concerto/compute/backend.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/train/asynchronous.hpp"

#include "scenario.hpp"

namespace concerto::sim {

/// The data of a scenario, and what one process makes of them.
class Training {
 public:
  Training(const Scenario& scenario, std::span<const ReplicatedBlock> blocks, std::span<const PlacedBlock> placed);

  [[nodiscard]] const Dataset& data() const noexcept { return *data_; }
  [[nodiscard]] const TrainOptions& options() const noexcept { return options_; }
  [[nodiscard]] const BlockPlan& plan() const noexcept { return plan_; }
  /// Root mean square of the residuals of the training entries.
  [[nodiscard]] double error_of(const FactorTable& users, const FactorTable& items) const;
  [[nodiscard]] double error_of_one_process() const noexcept { return alone_; }
  /// Of the mean alone.
  [[nodiscard]] double error_of_nothing() const noexcept { return nothing_; }

 private:
  std::optional<Dataset> data_;
  TrainOptions options_;
  BlockPlan plan_;
  double alone_ = 0.0;
  double nothing_ = 0.0;
};

/// One process's model.
class TrainingProcess {
 public:
  explicit TrainingProcess(const Training& training);
  /// Before a step: `replicator` may own other blocks than before.
  void step(const BlockStep& step, const Replicator& replicator);
  [[nodiscard]] AsynchronousTrainer& trainer() noexcept { return *trainer_; }

 private:
  const Training& training_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<AsynchronousTrainer> trainer_;
  std::uint64_t ownership_ = 0;
};

}  // namespace concerto::sim
