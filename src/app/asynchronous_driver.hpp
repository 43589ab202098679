// Drives an asynchronous node with real components: a mesh for messages, a thread for steps, the board and the clock.
// The node decides, the driver performs.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "concerto/comm/communicator.hpp"
#include "concerto/comm/mesh.hpp"
#include "concerto/node/failure_detector.hpp"
#include "concerto/train/asynchronous.hpp"

#include "consistency.hpp"
#include "promises.hpp"
#include "rank_board.hpp"
#include "step_watch.hpp"

namespace concerto {

/// What a rank's part took, and how far its steps read behind.
struct AsynchronousOutcome {
  std::optional<std::string> failure;  ///< one line that names the rank to blame; nothing: finished
  SweepClock sweeps = 0;               ///< that every block is in; the same on all ranks
  bool was_stopped = false;
  std::vector<double> sweep_seconds;  ///< of this rank's own blocks
  std::vector<std::uint64_t> lags;    ///< at the start of steps: how many blocks were read with each lag
  double seconds = 0.0;
  double compute_seconds = 0.0;               ///< in steps, paced where they are
  double blocked_seconds = 0.0;               ///< in which the next step was not allowed yet
  std::array<std::uint64_t, 6> bytes_sent{};  ///< by ReplicaMessageKind
  DurationHistogram visibility;               ///< of what this rank owns
  std::vector<ConsistencySample> samples;     ///< of this rank's replica
};

/// Copies of rows for the consistency index. Rank 0 says when: a marker to all, over the mesh.
struct ConsistencySampling {
  double every_seconds = 0.0;
  std::vector<SampledRow> rows;  ///< the same on all ranks; none: never
};

struct AsynchronousRun {
  AsynchronousOptions node;
  Membership record;
  DetectorLimits limits;
  ConsistencySampling sampling;
  std::stop_token stop;
  StepWatch watch;
  std::function<void(SweepClock sweep, double seconds)> on_sweep;
  std::function<std::unique_ptr<RankBoard>(BoardEvents)> make_board;
  std::function<std::unique_ptr<Mesh>(MeshEvents)> make_mesh;
  /// The end of all: a collective that is done when every rank has begun it.
  std::function<OperationHandle()> meet_at_end;
};

/// Runs this rank's part to the end, or to the first failure of any rank. Blocks.
[[nodiscard]] AsynchronousOutcome drive_asynchronous(AsynchronousTrainer& trainer, const BlockPlan& plan,
                                                     const AsynchronousRun& run);

}  // namespace concerto
