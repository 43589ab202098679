// Training as one rank of a job: the store, the meeting of ranks, the communicator, and the driver put together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "concerto/comm/communicator.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/store.hpp"
#include "concerto/config/config.hpp"
#include "concerto/model/model.hpp"
#include "concerto/train/sharded.hpp"

#include "engine.hpp"
#include "inputs.hpp"
#include "job_store.hpp"
#include "log.hpp"
#include "model_writing.hpp"
#include "rank_connections.hpp"
#include "report.hpp"
#include "step_watch.hpp"

namespace concerto {

/// The arguments of train() on this rank.
struct RankedInputs {
  const Config& config;
  const SharedData& data;
  const TrainOptions& options;
  const std::optional<WarmStart>& warm_start;
};

/// A rank's part of a run. Every rank calls the same members in the same order; each returns when all ranks have done
/// theirs, or throws Error{kIo} naming the rank to blame.
class RankedTraining {
 public:
  /// Loads this rank's rows, meets the others and connects. The errors of ShardedTrainer, which the others are told of,
  /// and of meet() (rendezvous.hpp). What is given outlives this.
  RankedTraining(const JobEnvironment& job, const JobStore& meeting_place, const RankedInputs& inputs, Engine& engine,
                 Log& log);

  /// What reading this rank's rows, and making what trains on them, took.
  [[nodiscard]] double load_seconds() const noexcept { return load_seconds_; }

  /// Runs this rank's part to the end; the result is the same on all ranks. Error{kUnsupported} for what several ranks
  /// do not do.
  [[nodiscard]] TrainResult train(const TrainObserver& observer, const std::stop_token& stop, ReplicationFacts& facts);

  /// All ranks write the model, each its own rows (model_writing.hpp).
  WritingFacts write_model(const Model& model, const std::filesystem::path& target);

  /// The popularity baseline on the test part, the same on all ranks; nothing where there is none.
  [[nodiscard]] std::optional<MetricValues> popularity();

 private:
  [[nodiscard]] TrainResult train_watched(const StepWatch& watch, const TrainObserver& observer,
                                          const std::stop_token& stop, ReplicationFacts& facts);
  /// Every rank's, gathered.
  [[nodiscard]] PacingFacts pacing_of_all(const Pace& pace);

  const JobEnvironment& job_;
  Store& store_;
  RankedInputs inputs_;
  Log& log_;
  ShardedOptions sharding_;
  double load_seconds_ = 0.0;
  const JobStore& meeting_place_;
  Engine& engine_;
  RankLinks links_;
  std::vector<Incarnation> incarnations_;  ///< by rank
  std::unique_ptr<ShardedTrainer> trainer_;
  std::optional<RankConnections> connections_;
};

/// Threads of a rank that shares its machine with others, unless the configuration says a number: the processors that
/// it may use (its launcher may have bound it to its share), at most an equal share of those that are there, at
/// least 1.
[[nodiscard]] std::uint32_t threads_of_rank(const JobEnvironment& job, std::uint32_t configured, unsigned usable,
                                            unsigned present);

}  // namespace concerto
