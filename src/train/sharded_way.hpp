// The way in which a rank's factors move and travel during an epoch: what differs between alternating sweeps,
// sums of partial systems and the rotation. A further way is a further class here and a further schedule of the node.
#pragma once

#include <cstdint>
#include <memory>

#include "sharded_run.hpp"

namespace concerto {

class ShardedWay {
 public:
  virtual ~ShardedWay() = default;
  virtual void begin_sweep(Side side) = 0;
  virtual void run_step(const StepId& step) = 0;
  /// The rows of a round, among all ranks; and taking up the others' of them.
  [[nodiscard]] virtual Exchange rows(const StepId& step) = 0;
  virtual void install(const StepId& step) = 0;
  /// The partial systems of a round, a gather to each rank in their order; and solving own rows from them. For ways
  /// that have such, as the two after.
  [[nodiscard]] virtual std::vector<PartialGather> partials(const StepId& step);
  virtual void solve_systems(const StepId& step);
  /// A part on its way, and taking it up.
  [[nodiscard]] virtual std::span<std::byte> block(const BlockPass& pass);
  virtual void install_block(const BlockPass& pass);
  /// Rows of this rank's making that are on the host when the step is done, and those that are with end_epoch().
  [[nodiscard]] virtual std::vector<TableRows> changed_rows(const StepId& step) const = 0;
  [[nodiscard]] virtual std::vector<TableRows> changed_rows_of_epoch() const { return {}; }
  /// The epoch's steps are done: own rows are on the host when it returns, and known to be finite or not.
  virtual void end_epoch() {}
  /// Solves own users once more, without momentum.
  virtual void settle() = 0;
  [[nodiscard]] virtual MoveFacts facts() const = 0;
};

/// Solves these rows, of own ones, against the other side by als or subspace as the options say; they are on the host
/// when it returns. `gram`: of the other side.
void solve_own_rows(ShardedRun& run, Side side, RowRange rows, const Buffer* gram, double momentum);
/// Own rows of a round.
[[nodiscard]] std::vector<TableRows> own_rows_of_round(const ShardedRun& run, const StepId& step);
/// Takes up the other ranks' rows of a round from where they travelled.
void install_rows_of_round(ShardedRun& run, const StepId& step);
/// All ranks' rows of a round.
[[nodiscard]] Exchange rows_of_step(ShardedRun& run, const StepId& step);

/// als and subspace: each half-sweep's rows are gathered by all.
[[nodiscard]] std::unique_ptr<ShardedWay> make_alternating_way(ShardedRun& run);
/// als with Collective::kGrams: users stay apart, partial systems of items go to the items' owners.
[[nodiscard]] std::unique_ptr<ShardedWay> make_summing_way(ShardedRun& run);
/// sgd: users stay apart, parts of the items pass from rank to rank. The lengths are of the whole matrix.
[[nodiscard]] std::unique_ptr<ShardedWay> make_rotating_way(ShardedRun& run, const RowLengths& by_user,
                                                            const RowLengths& by_item);

}  // namespace concerto
