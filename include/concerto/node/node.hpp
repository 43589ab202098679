// A rank's life in a run as a state machine: events in, effects out (effects.hpp). No clock, no thread, no socket:
// whoever drives it performs the effects and reports what became of them, and time is an argument. The program drives
// one with a real backend, communicator and store; a test drives many in one thread.
//
// How an epoch goes over the ranks is a schedule (level strong in all):
//   alternating: two sweeps, items first. A sweep has `rounds` steps; in round k every rank solves its k-th group of
//     blocks, and the solved rows of round k of all ranks are exchanged by one collective while round k + 1 is solved.
//     A sweep begins when every row of the one before is installed.
//   rotating: one sweep, in which parts of the items go round the ranks, each with its whole state (rotation.hpp);
//     then all have all items.
//   summing: two sweeps, items first. In round k of the items every rank sums the partial systems of all ranks' k-th
//     groups of items over the entries of its own users; each owner takes the partials of its items, solves them, and
//     the rows are exchanged among all. Partials of a round travel while the next round's are summed. In the users'
//     sweep ranks solve their own users and nothing travels.
// Each step reads exactly what the serial schedule would show it. After an epoch ranks measure their shares, exchange
// the sums and decide alike. At the end they exchange what of the result not all have, and measure what of it has not
// been measured. The sequence of what is exchanged and passed is a pure function of these options and of what was
// decided.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/node/effects.hpp"
#include "concerto/node/failure_detector.hpp"
#include "concerto/node/rotation.hpp"

namespace concerto {

enum class ScheduleKind : std::uint8_t { kAlternating, kRotating, kSumming };

struct NodeOptions {
  Rank rank = 0;
  Rank ranks = 1;
  std::uint32_t epochs = 1;
  ScheduleKind schedule = ScheduleKind::kAlternating;
  std::uint32_t rounds = 16;  ///< kAlternating, kSumming: of a sweep; the same on all ranks
  Rotation rotation;          ///< kRotating: of as many ranks
  DetectorLimits limits;
  /// After a collective has failed, how long evidence of who is to blame is waited for.
  Tick blame_after{6'000};
};

class EpochSchedule;

class Node {
 public:
  Node(const NodeOptions& options, Incarnation incarnation, Tick now);
  ~Node();
  Node(Node&&) noexcept;
  Node& operator=(Node&&) noexcept;

  /// What is to be done since the last call, in order.
  [[nodiscard]] std::vector<Effect> take_effects();

  // -- events --
  void start(Tick now);
  void facts_exchanged();
  void sweep_begun();
  void step_finished(const StepId& step);
  void partials_exchanged(const StepId& step);
  void systems_solved(const StepId& step);
  void rows_exchanged(const StepId& step);
  void rows_installed(const StepId& step);
  void block_sent(const BlockPass& pass);
  void block_received(const BlockPass& pass);
  void epoch_measured();
  void sums_exchanged();
  /// `goes_on`: whether training has another epoch to do, as far as the epoch's numbers say.
  void epoch_decided(bool goes_on);
  void result_prepared();
  void result_exchanged();
  void result_measured();
  void result_taken();
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
  /// Where this rank is, in words: "epoch 3, items, round 5", "epoch 3, stratum 2, part 5".
  [[nodiscard]] std::string place() const;

 private:
  enum class Phase : std::uint8_t {
    kIdle,
    kExchangingFacts,
    kTraining,
    kMeasuring,
    kExchangingSums,
    kDeciding,
    kPreparingResult,
    kExchangingResult,
    kMeasuringResult,
    kExchangingResultSums,
    kTakingResult,
    kMeeting,
    kBlaming,
    kOver
  };
  void begin_epoch();
  void end_epoch_if_complete();
  /// Pushes the exchange, or where there is nobody to exchange with goes on at once.
  template <class Exchange>
  void exchange(Phase phase, Exchange effect, void (Node::*done)());
  void fail(Failure failure, Rank blamed);
  void blame(Tick now);
  [[nodiscard]] Heartbeat heartbeat() const;
  [[nodiscard]] bool owes() const;

  NodeOptions options_;
  Incarnation incarnation_;
  FailureDetector detector_;
  std::unique_ptr<EpochSchedule> schedule_;
  EffectList out_;
  Phase phase_ = Phase::kIdle;
  std::uint32_t epoch_ = 1;
  std::uint64_t progress_ = 0;
  Tick last_heartbeat_{0};
  bool has_ticked_ = false;
  // While the culprit of a failed collective is looked for.
  Failure failure_;
  std::vector<Rank> suspects_;
  Tick failed_at_{0};
};

}  // namespace concerto
