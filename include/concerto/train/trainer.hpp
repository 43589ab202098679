// Training: epochs of steps over a backend, with a record of each.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "concerto/compute/backend.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/model/factors.hpp"
#include "concerto/model/objective.hpp"
#include "concerto/train/metrics.hpp"

namespace concerto {

enum class SolverKind : std::uint8_t { kAls, kSubspace, kSgd };

struct TrainOptions {
  Objective objective;  ///< `mean` is filled in by the trainer for explicit ratings
  std::uint32_t rank = 64;
  std::uint64_t seed = 1;
  double init_stddev = 0.1;
  SolverKind solver = SolverKind::kAls;
  InnerSolver inner = InnerSolver::kCg;
  std::uint32_t cg_steps = 3;
  std::uint32_t slice = 128;
  double momentum = 0.0;
  std::uint32_t epochs = 15;
  double learning_rate = 0.05;
  double decay = 0.0;
  bool nonnegative = false;
  std::uint32_t steps_per_half_sweep = 0;  ///< how often a stop request is looked at; 0: as the backend has it best
  std::vector<Metric> metrics;
  std::uint32_t evaluate_every = 1;
  std::uint32_t stop_after = 0;  ///< needs a validation part
  std::optional<Metric> stop_metric;
  bool clip_to_range = false;
};

struct EpochRecord {
  std::uint32_t epoch = 0;  ///< from 1
  double seconds = 0.0;     ///< training only
  double eval_seconds = 0.0;
  std::optional<double> loss;                        ///< the objective, regularization included; where evaluated
  std::vector<std::pair<std::string, double>> test;  ///< by metric name; empty where not evaluated
  std::vector<std::pair<std::string, double>> validation;
};

struct TrainResult {
  FactorTable users;
  FactorTable items;
  double mean = 0.0;
  float lowest_value = 1.0F;  ///< of training; 1 where entries have no values
  float highest_value = 1.0F;
  std::vector<EpochRecord> epochs;
  std::uint32_t kept_epoch = 0;            ///< the epoch whose factors these are
  bool was_stopped = false;                ///< by the user
  bool stopped_early = false;              ///< by stop_after
  std::optional<MetricValues> final_test;  ///< of the kept epoch
  std::optional<MetricValues> final_validation;
};

/// Called after each step (share of the epoch done, in [0, 1]) and after each epoch. From the training thread.
struct TrainObserver {
  std::function<void(std::uint32_t epoch, double share)> on_step;
  std::function<void(const EpochRecord&)> on_epoch;
};

struct WarmStart {
  const FactorTable* users = nullptr;  ///< in the rows of the data set (mapped by the caller)
  const FactorTable* items = nullptr;
};

/// Trains from initial values or a warm start. A stop request ends training at the next step; the result is then the
/// last complete epoch (Error{kCancelled} if there is none). With early stopping the result is the best epoch. Throws
/// Error on divergence (a factor or the loss is not finite), naming the epoch and what to change; Error{kBadInput}
/// before the first epoch where a part has nothing to measure on.
[[nodiscard]] TrainResult train(Backend& backend, const Dataset& data, const HeldOut* test, const HeldOut* validation,
                                const TrainOptions& options, const std::optional<WarmStart>& warm_start,
                                const TrainObserver& observer, const std::stop_token& stop);

}  // namespace concerto
