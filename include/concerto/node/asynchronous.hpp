// A rank's life in a run whose ranks do not wait for each other at every step: which blocks it works on next, when a
// step may start, and how all end together. A state machine: events in, effects out, no clock, thread or socket.
//
// What is next follows from clocks alone. A rank does, of the blocks that are its to do, those of the lowest sweep that
// is missing; so one side's sweep is finished before the other's begins, and blocks that were taken over, or a restart,
// need no schedule of their own.
//   alternating (als, subspace): the blocks that a rank owns. Sweep c of the items reads users of clock c - 1, sweep c
//     of the users reads items of clock c; a result takes the block's place.
//   adding (sgd): all blocks of the items, over the entries of own users. Sweep c reads items of clock c - 1, and a
//     result is a delta. Own users are published when a sweep is complete.
// How far behind a step may read is the level of the table that it reads. Strong is a matter of both tables: where one
// of them is, every step reads with lag 0, and then nothing that it reads can be newer either.
//
// A level changes at a sweep that no rank has begun: whoever writes the record asks all to hold before it first. That
// sweep is begun under both the old and the new level, so that ranks which are a sweep behind still find what they
// read.
//
// The end. Training is long enough when blocks have been updated `epochs` times in the mean, weighted by their work,
// and each at least once. The coordinator, the lowest member, sees that from its replicas and takes all through the
// phases: nobody begins a step; all deltas are stable; all replicas are equal. A change of members during the end
// begins it anew.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "concerto/replication/replicator.hpp"

namespace concerto {

/// How far a run is at its end. In this order.
enum class RunPhase : std::uint8_t { kTraining, kDraining, kSettling, kFinished };

/// What nodes say to each other besides their replicators.
struct RunMessage {
  bool is_directive = false;                ///< of the coordinator: be in `phase`; answered by a report
  std::uint64_t record = 0;                 ///< of which membership; others are ignored
  RunPhase phase = RunPhase::kTraining;     ///< the sender is in
  RunPhase complete = RunPhase::kTraining;  ///< a report: what the sender has done its part of
};

/// Blocks of one table to be worked on in one step. Their results are given by step_finished().
struct BlockStep {
  Side table = Side::kItems;
  SweepClock clock = 0;
  std::vector<BlockId> blocks;
};

struct AsynchronousOptions {
  ReplicatorOptions replicator;
  bool is_adding = false;  ///< sgd; else alternating
  SweepClock epochs = 1;
  std::uint32_t blocks_per_step = 1;
  std::array<TableLevel, 2> levels;    ///< by Side
  std::vector<std::uint64_t> weights;  ///< by block: predicted work
};

/// What is to be done: first `replica`, in order, then the others.
struct AsynchronousEffects {
  ReplicaEffects replica;
  struct Send {
    Rank peer = kNoRank;
    RunMessage message;
  };
  std::vector<Send> sends;
  std::optional<BlockStep> step;  ///< begin it, on what steps may read now
  bool is_finished = false;       ///< the run has ended, here as everywhere
  void clear() noexcept {
    replica.clear();
    sends.clear();
    step.reset();
    is_finished = false;
  }
};

class AsynchronousNode {
 public:
  AsynchronousNode(AsynchronousOptions options, std::span<const ReplicatedBlock> blocks);

  // -- events; what is to be done is appended to `out` --
  void membership(const Membership& record, AsynchronousEffects& out);
  void connected(Rank peer, Incarnation incarnation, AsynchronousEffects& out);
  void disconnected(Rank peer);
  [[nodiscard]] bool received(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                              AsynchronousEffects& out);
  void received(Rank peer, const RunMessage& message, AsynchronousEffects& out);
  /// The results of the step are at hand until the effects have been performed. For a block that was lost meanwhile
  /// there is no effect.
  void step_finished(AsynchronousEffects& out);
  void digest_compared(Rank peer, BlockId block, const Version& version, bool is_equal, AsynchronousEffects& out);
  /// Regularly: compares some digests, and lets a coordinator see how far training is.
  void tick(AsynchronousEffects& out);
  /// Stop after what is done now, as when `epochs` were over. Of the coordinator; others tell it.
  void end_training(AsynchronousEffects& out);
  /// Begins no sweep from `clock` on until change_level(). The highest sweep that was begun, by any rank as far as is
  /// known here: at or above `clock` it is too late, and nothing is held.
  [[nodiscard]] SweepClock hold_before(SweepClock clock);
  /// From sweep `clock` on. Ends a hold.
  void change_level(Side table, const TableLevel& level, SweepClock clock, AsynchronousEffects& out);
  void release(AsynchronousEffects& out);

  // -- what is so --
  [[nodiscard]] const Replicator& replicator() const noexcept { return replicator_; }
  [[nodiscard]] RunPhase phase() const noexcept { return phase_; }
  [[nodiscard]] bool is_working() const noexcept { return running_.has_value(); }
  /// What the next step waits for: the block that lags.
  [[nodiscard]] std::optional<BlockId> waits_for() const noexcept { return waits_for_; }
  /// Sweep `need` of the table that a step reads: what the serial schedule would show it.
  [[nodiscard]] SweepClock need(const BlockStep& step) const noexcept;
  [[nodiscard]] Side reads(const BlockStep& step) const noexcept;
  /// What the step's sweep is under.
  [[nodiscard]] TableLevel level(const BlockStep& step) const noexcept;

 private:
  /// From sweep `first` on.
  struct Levels {
    SweepClock first = 0;
    std::array<TableLevel, 2> tables;
  };
  void go_on(AsynchronousEffects& out);
  [[nodiscard]] static TableLevel level_in(const Levels& levels, Side table) noexcept;
  /// The level that the step waits for: in the first sweep of a change, the stricter of both.
  [[nodiscard]] TableLevel permission(const BlockStep& step) const noexcept;
  [[nodiscard]] std::optional<BlockStep> next_step() const;
  [[nodiscard]] std::optional<BlockId> first_lagging(const BlockStep& step) const;
  [[nodiscard]] bool is_mine_to_do(BlockId block) const noexcept;
  [[nodiscard]] SweepClock due(BlockId block) const noexcept;
  void publish_own_users(AsynchronousEffects& out);
  void end_if_due(AsynchronousEffects& out);
  /// Tells the coordinator what is complete here.
  void report(AsynchronousEffects& out);
  /// Tells a rank, kNoRank: all, in which phase to be, if it is not the first.
  void direct(Rank whom, AsynchronousEffects& out);
  void enter(RunPhase phase, AsynchronousEffects& out);
  [[nodiscard]] bool has_completed(RunPhase phase) const noexcept;
  [[nodiscard]] bool has_trained_enough() const noexcept;
  [[nodiscard]] Rank coordinator() const noexcept;
  [[nodiscard]] bool is_coordinator() const noexcept { return coordinator() == options_.replicator.self; }

  AsynchronousOptions options_;
  std::vector<ReplicatedBlock> blocks_;
  BlockId first_ = 0;  ///< where this rank's sweeps begin, of blocks that are its to do
  Replicator replicator_;
  std::uint64_t total_weight_ = 0;
  std::vector<Incarnation> members_;
  std::uint64_t record_ = 0;
  RunPhase phase_ = RunPhase::kTraining;
  RunPhase reported_ = RunPhase::kTraining;
  std::vector<RunPhase> completed_;  ///< coordinator: by rank, in the record
  std::optional<BlockStep> running_;
  std::optional<BlockId> waits_for_;
  SweepClock waits_at_ = 0;        ///< its clock then
  std::uint64_t waits_since_ = 0;  ///< what was owned then
  SweepClock begun_ = 0;           ///< the highest sweep
  std::optional<SweepClock> hold_;
  std::vector<Levels> levels_;  ///< by their first sweep
};

}  // namespace concerto
