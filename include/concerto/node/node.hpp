// A rank's life in a run as a state machine: events in, effects out. No clock, no thread, no socket: whoever drives it
// performs the effects and reports what became of them, and time is an argument. The program drives one with a real
// backend, communicator and store; a test drives many in one thread.
//
// The schedule (level strong). Each epoch has two half-sweeps, items first. A half-sweep has `rounds` steps; in round k
// every rank solves its k-th group of blocks, and the solved rows of round k of all ranks are exchanged by one
// collective while round k + 1 is solved. A half-sweep begins when every row of the one before is installed: each step
// reads exactly what the serial schedule would show it. After an epoch ranks measure their shares, exchange the sums
// and decide alike. The sequence of collectives is a pure function of these options.
//
// Effects come in the order in which they must be begun. Those of the compute lane (begin_half_sweep, run_step,
// install, measure, decide) are performed one after another; exchanges run beside them. With one rank there are no
// exchanges.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/node/failure_detector.hpp"

namespace concerto {

struct NodeOptions {
  Rank rank = 0;
  Rank ranks = 1;
  std::uint32_t epochs = 1;
  std::uint32_t rounds = 16;  ///< of a half-sweep; the same on all ranks
  DetectorLimits limits;
  /// After a collective has failed, how long evidence of who is to blame is waited for.
  Tick blame_after{6'000};
};

/// What a piece of work belongs to. `round` counts within a half-sweep.
struct StepId {
  std::uint32_t epoch = 1;
  Side side = Side::kItems;
  std::uint32_t round = 0;
  friend bool operator==(const StepId&, const StepId&) = default;
};

// -- effects --

/// Exchange what all ranks must know of the data. The first of all.
struct ExchangeFacts {
  std::uint64_t operation = 0;
};
/// Prepare the half-sweep: the Gram matrix of the fixed side. Compute lane.
struct BeginHalfSweep {
  std::uint32_t epoch = 1;
  Side side = Side::kItems;
};
/// Solve this rank's group of the round. Compute lane.
struct RunStep {
  StepId step;
};
/// Exchange the solved rows of the round. `operation` numbers the collectives of the run.
struct ExchangeRows {
  StepId step;
  std::uint64_t operation = 0;
};
/// Put the received rows of the round into the table. Compute lane.
struct InstallRows {
  StepId step;
};
/// Measure this rank's share of the epoch's sums. Compute lane.
struct MeasureEpoch {
  std::uint32_t epoch = 1;
};
struct ExchangeSums {
  std::uint32_t epoch = 1;
  std::uint64_t operation = 0;
};
/// From everybody's sums, alike on all ranks: record the epoch, and go on or stop. Compute lane.
struct DecideEpoch {
  std::uint32_t epoch = 1;
};
/// Training is over here; the run ends when it is for all.
struct MeetAtEnd {
  std::uint64_t operation = 0;
};
/// Tell the others where this rank is.
struct PublishHeartbeat {
  Heartbeat heartbeat;
};
/// Give up all collectives at once.
struct AbortCollectives {
  std::string reason;
};
/// Training is over; the last.
struct FinishRun {
  std::uint32_t epochs = 0;  ///< complete
};
/// The run has failed; the last. `message` is one line that names the rank to blame and the operation.
struct FailRun {
  Failure failure;
  Rank blamed = kNoRank;
};
using Effect =
    std::variant<ExchangeFacts, BeginHalfSweep, RunStep, ExchangeRows, InstallRows, MeasureEpoch, ExchangeSums,
                 DecideEpoch, MeetAtEnd, PublishHeartbeat, AbortCollectives, FinishRun, FailRun>;

class Node {
 public:
  Node(const NodeOptions& options, Incarnation incarnation, Tick now);

  /// What is to be done since the last call, in order.
  [[nodiscard]] std::vector<Effect> take_effects();

  // -- events --
  void start(Tick now);
  void facts_exchanged();
  void half_sweep_begun();
  void step_finished(const StepId& step);
  void rows_exchanged(const StepId& step);
  void rows_installed(const StepId& step);
  void epoch_measured();
  void sums_exchanged();
  /// `goes_on`: whether training has another epoch to do, as far as the epoch's numbers say.
  void epoch_decided(bool goes_on);
  void met_at_end();
  /// The driver could not perform an effect on this rank: training diverged, memory ran out.
  void work_failed(const std::string& message);
  /// A collective has failed; `suspects` as the communicator names them, `what` in its words.
  void collective_failed(const Failure& failure, const std::vector<Rank>& suspects, Tick now);
  void heard(Rank rank, const Heartbeat& heartbeat, Tick now);
  /// A rank has finished: nothing more will be heard of it.
  void finished(Rank rank) { detector_.retire(rank); }
  /// A rank's lease in the store has ended.
  void lost(Rank rank, const std::string& evidence, Tick now);
  /// Another rank has published why it failed, and whom it blames (itself, another, kNoRank).
  void peer_failed(Rank rank, Rank blamed, const std::string& message);
  /// The store itself is gone.
  void store_lost(const std::string& message);
  /// Rows solved and bytes moved by this rank, ever.
  void progress(std::uint64_t counter) noexcept { progress_ = counter; }
  /// Regularly, at least every heartbeat.
  void tick(Tick now);

  [[nodiscard]] bool is_over() const noexcept { return phase_ == Phase::kOver; }
  /// Where this rank is, in words: "epoch 3, items, round 5".
  [[nodiscard]] std::string place() const;

 private:
  enum class Phase : std::uint8_t {
    kIdle,
    kExchangingFacts,
    kBeginning,
    kSweeping,
    kMeasuring,
    kExchangingSums,
    kDeciding,
    kEnding,
    kBlaming,
    kOver
  };
  void begin_half_sweep(Side side);
  void run_next_steps();
  void end_half_sweep_if_complete();
  void end_epoch();
  void fail(Failure failure, Rank blamed);
  void blame(Tick now);
  [[nodiscard]] Heartbeat heartbeat() const;
  [[nodiscard]] bool owes() const;

  NodeOptions options_;
  Incarnation incarnation_;
  FailureDetector detector_;
  std::vector<Effect> effects_;
  Phase phase_ = Phase::kIdle;
  std::uint32_t epoch_ = 1;
  Side side_ = Side::kItems;
  std::uint32_t started_ = 0;  ///< steps of the half-sweep
  std::uint32_t solved_ = 0;
  std::uint32_t installed_ = 0;
  std::uint64_t operations_ = 0;  ///< collectives begun
  std::uint64_t progress_ = 0;
  Tick last_heartbeat_{0};
  bool has_ticked_ = false;
  // While the culprit of a failed collective is looked for.
  Failure failure_;
  std::vector<Rank> suspects_;
  Tick failed_at_{0};
};

}  // namespace concerto
