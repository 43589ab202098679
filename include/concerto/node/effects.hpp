// What a node asks its driver to do, in the order in which it is to be begun. Values; no behaviour.
//
// Those of the compute lane are performed one after another; exchanges and passes run beside them. With one rank there
// are none of these.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/node/failure_detector.hpp"

namespace concerto {

/// What a piece of work belongs to. `round` counts the steps of a rank within a sweep.
struct StepId {
  std::uint32_t epoch = 1;
  Side side = Side::kItems;
  std::uint32_t round = 0;
  friend bool operator==(const StepId&, const StepId&) = default;
};

/// A part of a table on its way from the rank that has worked on it to the one that does so in `stratum`.
struct BlockPass {
  std::uint32_t epoch = 1;
  std::uint32_t stratum = 1;
  std::uint32_t part = 0;
  Rank from = 0;
  Rank to = 0;
  friend bool operator==(const BlockPass&, const BlockPass&) = default;
};

/// Exchange what all ranks must know of the data. The first of all.
struct ExchangeFacts {
  std::uint64_t operation = 0;
};
/// Prepare a sweep: the Gram matrix of the fixed side, where there is one. Compute lane.
struct BeginSweep {
  std::uint32_t epoch = 1;
  Side side = Side::kItems;
};
/// Do this rank's share of the round. Compute lane.
struct RunStep {
  StepId step;
};
/// Give each rank this one's partial systems of its rows of the round, and take those of own rows from all.
struct ExchangePartials {
  StepId step;
  std::uint64_t operation = 0;
};
/// Solve own rows of the round from all ranks' partial systems. Compute lane.
struct SolveSystems {
  StepId step;
};
/// Exchange the rows of the round among all. `operation` numbers what a rank gives to others in the run.
struct ExchangeRows {
  StepId step;
  std::uint64_t operation = 0;
};
/// Put the received rows of the round into the table. Compute lane.
struct InstallRows {
  StepId step;
};
/// Send a part, which this rank has worked on, with all its state.
struct SendBlock {
  BlockPass pass;
  std::uint64_t operation = 0;
};
struct ReceiveBlock {
  BlockPass pass;
};
/// Put a received part into the table. Compute lane.
struct InstallBlock {
  BlockPass pass;
};
/// Measure this rank's share of the epoch's sums. Compute lane.
struct MeasureEpoch {
  std::uint32_t epoch = 1;
};
struct ExchangeSums {
  std::uint64_t operation = 0;
};
/// From everybody's sums, alike on all ranks: record the epoch, and go on or stop. Compute lane.
struct DecideEpoch {
  std::uint32_t epoch = 1;
};
/// Training is over: make this rank's share of the result from what was kept. Compute lane.
struct PrepareResult {};
/// Exchange what of the result not all have.
struct ExchangeResult {
  std::uint64_t operation = 0;
};
/// Take up what was exchanged, and measure this rank's share of what has not been measured. Compute lane.
struct MeasureResult {};
/// From everybody's sums: the result is complete. Compute lane.
struct TakeResult {};
/// The result is complete here; the run ends when it is for all.
struct MeetAtEnd {
  std::uint64_t operation = 0;
};
/// Tell the others where this rank is.
struct PublishHeartbeat {
  Heartbeat heartbeat;
};
/// Give up all exchanges at once.
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
using Effect = std::variant<ExchangeFacts, BeginSweep, RunStep, ExchangePartials, SolveSystems, ExchangeRows,
                            InstallRows, SendBlock, ReceiveBlock, InstallBlock, MeasureEpoch, ExchangeSums, DecideEpoch,
                            PrepareResult, ExchangeResult, MeasureResult, TakeResult, MeetAtEnd, PublishHeartbeat,
                            AbortCollectives, FinishRun, FailRun>;

/// The effects of a node, and the numbers of what it gives to others.
struct EffectList {
  std::vector<Effect> effects;
  std::uint64_t operations = 0;  ///< begun so far

  void push(Effect effect) { effects.push_back(std::move(effect)); }
  [[nodiscard]] std::uint64_t next_operation() noexcept { return operations++; }
};

}  // namespace concerto
