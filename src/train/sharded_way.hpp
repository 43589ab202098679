// The way in which a rank's factors move and travel during an epoch: what differs between alternating sweeps and the
// rotation. A further way is a further class here and a further schedule of the node.
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
  /// A part on its way, and taking it up.
  [[nodiscard]] virtual std::span<std::byte> block(const BlockPass& pass) = 0;
  virtual void install_block(const BlockPass& pass) = 0;
  /// The epoch's steps are done: own rows are on the host when it returns.
  virtual void end_epoch() = 0;
  /// Solves own users once more, without momentum.
  virtual void settle() = 0;
  [[nodiscard]] virtual MoveFacts facts() const = 0;
};

/// als and subspace: each half-sweep's rows are gathered by all.
[[nodiscard]] std::unique_ptr<ShardedWay> make_alternating_way(ShardedRun& run);
/// sgd: users stay apart, parts of the items pass from rank to rank. The lengths are of the whole matrix.
[[nodiscard]] std::unique_ptr<ShardedWay> make_rotating_way(ShardedRun& run, const RowLengths& by_user,
                                                            const RowLengths& by_item);

}  // namespace concerto
