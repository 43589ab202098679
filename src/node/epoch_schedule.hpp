// How an epoch's work goes over the ranks: which steps a rank takes, what moves between them, and when. A policy of the
// node, which does all else alike whatever the schedule. A further way to train is a further schedule.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "concerto/node/effects.hpp"
#include "concerto/node/node.hpp"

namespace concerto {

/// Steps that have been begun and are not finished: one runs, and the next waits beside it, so that the compute lane
/// need not wait for the node.
inline constexpr std::uint32_t kStepsAhead = 2;

/// One rank's part. Events are those of Node; what is to be done is appended to `out`. Partials and blocks are for
/// those that move them: to others such an event is a bug.
class EpochSchedule {
 public:
  virtual ~EpochSchedule() = default;
  virtual void begin(std::uint32_t epoch, EffectList& out) = 0;
  virtual void sweep_begun(EffectList& out) = 0;
  virtual void step_finished(const StepId& step, EffectList& out) = 0;
  virtual void partials_exchanged(const StepId& step, EffectList& out);
  virtual void systems_solved(const StepId& step, EffectList& out);
  virtual void rows_exchanged(const StepId& step, EffectList& out) = 0;
  virtual void rows_installed(const StepId& step, EffectList& out) = 0;
  virtual void block_sent(const BlockPass& pass, EffectList& out);
  virtual void block_received(const BlockPass& pass, EffectList& out);
  /// Everything of the epoch is done and installed here.
  [[nodiscard]] virtual bool is_complete() const noexcept = 0;
  /// This rank has work of its own, rather than waiting for others.
  [[nodiscard]] virtual bool owes() const noexcept = 0;
  /// Where in the epoch, in words: "items, round 5".
  [[nodiscard]] virtual std::string place() const = 0;
};

[[nodiscard]] std::unique_ptr<EpochSchedule> make_alternating_schedule(const NodeOptions& options);
[[nodiscard]] std::unique_ptr<EpochSchedule> make_rotating_schedule(const NodeOptions& options);
[[nodiscard]] std::unique_ptr<EpochSchedule> make_summing_schedule(const NodeOptions& options);
[[nodiscard]] std::unique_ptr<EpochSchedule> make_schedule(const NodeOptions& options);

}  // namespace concerto
