// A rank's run under a level but strong, put together: messages beside the collectives, which then only begin and end
// it.
#pragma once

#include <stop_token>

#include "concerto/comm/communicator.hpp"
#include "concerto/train/sharded.hpp"

#include "asynchronous_driver.hpp"
#include "ranked_training.hpp"

namespace concerto {

struct AsynchronousSetup {
  const JobEnvironment& job;
  const JobStore& meeting_place;
  const RankedInputs& inputs;
  const RankLinks& links;
  Backend& backend;
  Communicator& communicator;
  std::vector<Incarnation> incarnations;  ///< by rank
  StepWatch watch;
};

/// Exchanges the facts of the data, trains, and measures the result by `trainer`, whose plan says who owns what. Every
/// rank calls it; the result is the same on all. Error{kIo} naming the rank to blame; Error{kCancelled} where training
/// was stopped before every block was in one sweep.
[[nodiscard]] TrainResult train_asynchronously(const AsynchronousSetup& setup, ShardedTrainer& trainer,
                                               const TrainObserver& observer, const std::stop_token& stop,
                                               ReplicationFacts& facts);

}  // namespace concerto
