// Drives a node with real components: a thread for the compute lane, the communicator, the board, and the clock. The
// node decides, the driver performs; no decision is made here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "concerto/comm/communicator.hpp"
#include "concerto/node/node.hpp"
#include "concerto/train/sharded.hpp"

#include "rank_board.hpp"
#include "step_watch.hpp"

namespace concerto {

/// How a rank's run ended and what it took.
struct RankOutcome {
  std::optional<FailRun> failure;  ///< nothing: finished
  std::vector<EpochRecord> epochs;
  std::vector<std::uint64_t> bytes_sent;  ///< of each epoch's rows and sums
  std::uint64_t bytes_sent_at_end = 0;    ///< of the result
  double seconds = 0.0;                   ///< from the first step to the end
  double compute_seconds = 0.0;           ///< of them in compute effects, paced where steps are
};

struct RankRun {
  NodeOptions node;
  Incarnation incarnation = 1;
  std::uint32_t membership_epoch = 1;  ///< in the tags of collectives
  std::function<void(const EpochRecord&)> on_epoch;
  std::stop_token stop;
  StepWatch watch;
  /// Makes the board that tells and hears the others; nothing: nobody listens (ranks that are threads of one process).
  std::function<std::unique_ptr<RankBoard>(BoardEvents)> make_board;
};

/// Runs the trainer to its end: exchanges its facts, then what the node says. Failures of the run, this rank's or
/// another's, come back in the outcome; the communicator is aborted then. Blocks.
[[nodiscard]] RankOutcome drive_rank(ShardedTrainer& trainer, Communicator& communicator, const RankRun& run);

}  // namespace concerto
