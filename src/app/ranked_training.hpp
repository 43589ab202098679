// Training as one rank of a job: the store, the meeting of ranks, the communicator, and the driver put together.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/store.hpp"
#include "concerto/config/config.hpp"
#include "concerto/train/trainer.hpp"

#include "engine.hpp"
#include "inputs.hpp"
#include "log.hpp"
#include "report.hpp"

namespace concerto {

/// The arguments of train() on this rank.
struct RankedInputs {
  const Config& config;
  const LoadedData& data;
  const TrainOptions& options;
  const std::optional<WarmStart>& warm_start;
};

/// Runs this rank's part to the end; the result is the same on all ranks. Error{kIo} where the run failed, naming the
/// rank to blame and the operation; the errors of meet() (rendezvous.hpp); Error{kUnsupported} for what several ranks
/// do not do.
[[nodiscard]] TrainResult train_as_rank(const JobEnvironment& job, Store& store, const RankedInputs& inputs,
                                        Engine& engine, const TrainObserver& observer, const std::stop_token& stop,
                                        ReplicationFacts& facts, Log& log);

/// Threads of a rank that shares its machine with others, unless the configuration says a number: the processors that
/// it may use (its launcher may have bound it to its share), at most an equal share of those that are there, at
/// least 1.
[[nodiscard]] std::uint32_t threads_of_rank(const JobEnvironment& job, std::uint32_t configured, unsigned usable,
                                            unsigned present);

}  // namespace concerto
