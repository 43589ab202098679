// The bytes of one rank of an asynchronous training (node/asynchronous.hpp): what its node's steps and effects do, over
// a backend that holds both tables and the entries of the rank's own rows.
//
// For each block there is its *state* on the host, as the replicator's version says; deltas on top of it, sealed and
// open; and, in the backend, what steps read, their sum. A step reads and writes the backend alone, so that puts may
// arrive while it runs; what has arrived is written there before the next one begins.
//
//   als, subspace: a step solves blocks that this rank owns against the other table. The result becomes the state.
//   sgd: a step is a pass over the entries that own users have of the items' blocks. What it has changed of the items
//   is the delta, adaptive rates included: they are sums of squares, so that those of many writers add up like factors.
//   An owner merges a delta whole if it was computed without at most one other's, else one over the number of those.
//
// prepare() and perform() are for the node's thread, run() is for any one other; nothing runs between run()'s end and
// the effects of its results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "concerto/compute/backend.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/node/asynchronous.hpp"
#include "concerto/train/trainer.hpp"

namespace concerto {

/// How a run's tables are cut for replication; the same on all ranks.
struct BlockPlan {
  std::vector<RowRange> rows;  ///< by block: items' first, then users'
  std::vector<ReplicatedBlock> blocks;
  std::vector<PlacedBlock> placed;
  std::vector<std::uint64_t> weights;  ///< predicted work, at least 1
  std::uint32_t blocks_per_step = 1;
};

/// Blocks of whole chunks at equal predicted work, as many that each of `ranks` has about `steps` steps of them in a
/// half-sweep.
[[nodiscard]] BlockPlan plan_blocks(const RowLengths& by_user, const RowLengths& by_item, const TrainOptions& options,
                                    Rank ranks, std::uint32_t steps = 16);

class AsynchronousTrainer {
 public:
  /// `objective` in the options has the mean filled in. `data` outlives the trainer.
  AsynchronousTrainer(Backend& backend, const Dataset& data, const TrainOptions& options,
                      const std::optional<WarmStart>& warm_start, const BlockPlan& plan);
  ~AsynchronousTrainer();

  /// The entries of these blocks, and no others, are kept from here on: those that this rank owns. Reads them from the
  /// data. Error{kCorrupt} where they are damaged.
  void own(std::span<const BlockId> blocks);

  /// What has changed since the last step becomes what the next one reads.
  void prepare(const BlockStep& step, const Replicator& replicator);
  void run(const BlockStep& step);
  /// Any effect but kSend and those that only report. `payload`: of the message that is being received. False: it has
  /// the wrong length.
  [[nodiscard]] bool perform(const ReplicaEffect& effect, std::span<const std::byte> payload);
  /// What goes with a put, state or delta as it is now. Valid until the next call of this rank's.
  [[nodiscard]] std::span<const std::byte> payload(const ReplicaMessage& message);
  [[nodiscard]] std::uint64_t digest(BlockId block) const;
  /// A row of the table as the state of its block has it, also while a step runs: factors, then the bias where there
  /// are biases. `to` has row_values().
  void copy_row(BlockId block, RowIndex row, std::span<float> to) const;
  [[nodiscard]] std::size_t row_values() const noexcept;

  /// A block's state, as rows travel: factors, bias if there are any, adaptive rate with sgd.
  [[nodiscard]] std::span<const float> state(BlockId block) const noexcept;
  /// The states, while no step runs, valid until the next. With sgd users that nobody gave to this rank are as at the
  /// start.
  [[nodiscard]] const FactorTable& table(Side side);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace concerto
