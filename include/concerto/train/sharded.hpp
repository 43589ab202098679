// One rank's part of a training by many: what its node's compute effects do, over a backend that holds a copy of both
// tables and the entries of the rank's own rows.
//
// als and subspace: every rank owns blocks of both tables (shards.hpp). It solves its own rows against its copy of the
// other side, gives them to the others and takes theirs, so that all copies are equal at each end of a half-sweep, and
// factors do not depend on the number of ranks (als with cholesky, subspace: to the byte on the cpu).
// als where the Gram partials of items are fewer bytes than users' factors (collective.hpp): a rank keeps its users to
// itself, partial systems of items are summed by their owners, items are equal everywhere; factors depend on the number
// of ranks in their last bits.
// sgd: every rank owns blocks of users and trains on their entries; parts of the items go round (node/rotation.hpp)
// with all their state. Items are equal everywhere after an epoch; users' rows are current on their owners, and
// everywhere in the result. Factors depend on the number of ranks, and on nothing else. Sums over rows are made a chunk
// each and added along the tree of chunks by every rank alike, so that what is decided from them is the same
// everywhere. Nothing here communicates: buffers and their layout are handed to the driver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "concerto/comm/communicator.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/node/node.hpp"
#include "concerto/train/collective.hpp"
#include "concerto/train/shards.hpp"
#include "concerto/train/trainer.hpp"

namespace concerto {

/// What an all-gather moves: the buffer that all ranks lay out alike, and its blocks.
struct Exchange {
  std::span<std::byte> buffer;
  std::vector<GatherBlock> blocks;
};

/// What a gather to one rank moves: the same sizes on all, in the order of ranks; `received` on that rank only.
struct PartialGather {
  std::span<const std::byte> mine;
  std::span<std::byte> received;
  std::vector<std::size_t> sizes;
};

struct ShardedOptions {
  Rank rank = 0;
  Rank ranks = 1;
  std::uint32_t rounds = 16;
  std::uint32_t digest_every = 5;                ///< epochs between comparisons of all copies; 0: never
  Collective collective = Collective::kFactors;  ///< of als: what choose_collective() says
};

/// Parts of the items to a rank in the rotation of sgd: one is worked on while the other travels.
inline constexpr std::uint32_t kPartsPerRank = 2;
[[nodiscard]] Rotation rotation_of(const TrainOptions& options, const ShardedOptions& sharding);

/// The node's part of the options of a run: ranks, epochs and the schedule that goes with the solver.
[[nodiscard]] NodeOptions node_options(const TrainOptions& options, const ShardedOptions& sharding);

/// Steps of a half-sweep: as many as fine exchanges like, but none that is short both in computing and in sending,
/// beside which handing rows over would be felt (2 ranks over loopback, ML-1M, f = 64: 16 steps wait 12 % of the time,
/// 8 steps 9 %). A pure function of the shapes.
[[nodiscard]] std::uint32_t best_rounds(const TrainOptions& options, const RowLengths& users, const RowLengths& items,
                                        Rank ranks);

/// What moves between ranks.
struct MoveFacts {
  std::string schedule;                     ///< "alternating", "summing", "rotating"
  std::string words;                        ///< what moves how, and what another way would cost where there is one
  std::uint32_t rounds = 0;                 ///< steps of a rank in a sweep
  LoadFacts load;                           ///< predicted, in the solver's units
  std::uint64_t least_bytes_per_epoch = 0;  ///< that a rank can send of rows, for equal shares
};

/// What a rank keeps of the data: views whose rows of others are empty.
struct RankShare {
  CompressedRows by_user;
  CompressedRows by_item;
  const HeldOut* test = nullptr;  ///< own users'; unknown users' on rank 0. nullptr: there is no test part
  HeldOutFacts whole_test;
};

/// Rows of one of the tables.
struct TableRows {
  Side side = Side::kUsers;
  RowRange rows;
};

class ShardedTrainer {
 public:
  /// `data`, `test` and `validation` are the whole run's, the same on all ranks, and outlive the trainer; only the
  /// rank's own rows are asked for, once, here. Error{kCorrupt} where own rows of opened data are damaged.
  ShardedTrainer(Backend& backend, const Dataset& data, const SharedHeldOut& test, const SharedHeldOut& validation,
                 const TrainOptions& options, const std::optional<WarmStart>& warm_start,
                 const ShardedOptions& sharding);
  ~ShardedTrainer();

  [[nodiscard]] const ShardPlan& plan() const noexcept;
  [[nodiscard]] RankShare share() const noexcept;

  /// What all ranks must know of the data before the first epoch: to be exchanged once, then taken up.
  [[nodiscard]] Exchange facts();
  void take_facts();

  // The node's compute effects, one at a time.
  void begin_sweep(std::uint32_t epoch, Side side);
  void run_step(const StepId& step);
  void solve_systems(const StepId& step);
  void install(const StepId& step);
  void install_block(const BlockPass& pass);
  /// `stop`: this rank has been asked to stop; then all do, after this epoch.
  void measure(std::uint32_t epoch, bool stop);
  /// Does training go on after this epoch? Error on divergence, and where copies differ: naming table, rows and ranks.
  [[nodiscard]] bool decide(std::uint32_t epoch);
  /// The objective, with the mean once facts have been taken up.
  [[nodiscard]] const Objective& objective() const noexcept;
  /// Training was done elsewhere (asynchronous.hpp): these are the factors after `epoch`; of users at least own rows,
  /// and all where they are the same on all ranks. measure() and decide() follow, as after an epoch.
  void adopt(const FactorTable& users, const FactorTable& items, bool are_users_apart);
  /// What is kept becomes the result, exchanged where not all have it and measured where it has not been.
  void prepare_result();
  void measure_result();
  void take_result();

  /// What this rank has made: all its rows; those that the step has left on the host, once its last compute effect is
  /// done; and those that only measure() has, at the end of an epoch.
  [[nodiscard]] std::vector<TableRows> own_rows() const;
  [[nodiscard]] std::vector<TableRows> changed_rows(const StepId& step) const;
  [[nodiscard]] std::vector<TableRows> changed_rows_of_epoch() const;
  /// The host's copy, for the compute lane.
  [[nodiscard]] const FactorTable& host_table(Side side) const noexcept;

  /// The partial systems of a round, a gather to each rank in their order. This rank's are there once run_step is done;
  /// solve_systems takes the others'.
  [[nodiscard]] std::vector<PartialGather> partials(const StepId& step);
  /// The rows of a round. Own rows are in the buffer once run_step (solve_systems) is done, the others' may be
  /// installed once the exchange is.
  [[nodiscard]] Exchange rows(const StepId& step);
  /// A part's place, to be sent from once run_step is done with it or received into.
  [[nodiscard]] std::span<std::byte> block(const BlockPass& pass);
  [[nodiscard]] Exchange sums();
  [[nodiscard]] Exchange result();

  /// The record of the last decided epoch.
  [[nodiscard]] const EpochRecord& last_epoch() const;
  /// What was kept, measured; the same on all ranks. After take_result(), once.
  [[nodiscard]] TrainResult finish();

  /// Seconds in compute effects since the start: steps, measuring and all else that is not waiting for others.
  [[nodiscard]] double compute_seconds() const noexcept;
  /// Rows solved and bytes packed or installed: progress for the node.
  [[nodiscard]] std::uint64_t progress() const noexcept;
  [[nodiscard]] MoveFacts moves() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace concerto
