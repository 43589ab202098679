// The strong schedule of a rank, and how it finds whom to blame.
#include "concerto/node/node.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

/// Steps that have been begun and are not finished: one runs, and the next waits beside it, so that the compute lane
/// need not wait for the node.
constexpr std::uint32_t kStepsAhead = 2;

std::string_view name_of(Side side) {
  return side == Side::kItems ? "items" : "users";
}

std::string place_of(std::uint32_t epoch, Side side, std::uint32_t round) {
  return fmt::format("epoch {}, {}, round {}", epoch, name_of(side), round);
}

}  // namespace

Node::Node(const NodeOptions& options, Incarnation incarnation, Tick now)
    : options_(options), incarnation_(incarnation), detector_(options.ranks, options.rank, options.limits, now) {
  CONCERTO_CHECK(options.epochs > 0 && options.rounds > 0, "a run of no epochs or no rounds");
}

std::vector<Effect> Node::take_effects() {
  return std::exchange(effects_, {});
}

void Node::start(Tick now) {
  CONCERTO_CHECK(phase_ == Phase::kIdle, "a node is started once");
  if (options_.ranks > 1) {
    phase_ = Phase::kExchangingFacts;
    effects_.push_back(ExchangeFacts{operations_++});
  } else {
    begin_half_sweep(Side::kItems);
  }
  tick(now);
}

void Node::facts_exchanged() {
  if (phase_ == Phase::kExchangingFacts) begin_half_sweep(Side::kItems);
}

void Node::begin_half_sweep(Side side) {
  phase_ = Phase::kBeginning;
  side_ = side;
  started_ = solved_ = installed_ = 0;
  effects_.push_back(BeginHalfSweep{epoch_, side});
}

void Node::half_sweep_begun() {
  if (phase_ != Phase::kBeginning) return;  // overtaken by a failure
  phase_ = Phase::kSweeping;
  run_next_steps();
}

void Node::run_next_steps() {
  while (started_ < std::min(options_.rounds, solved_ + kStepsAhead)) {
    effects_.push_back(RunStep{{epoch_, side_, started_++}});
  }
}

void Node::step_finished(const StepId& step) {
  if (phase_ != Phase::kSweeping) return;
  CONCERTO_CHECK(step == (StepId{epoch_, side_, solved_}), "a step finished that was not the next");
  ++solved_;
  if (options_.ranks > 1) {
    effects_.push_back(ExchangeRows{step, operations_++});
  } else {
    ++installed_;
  }
  run_next_steps();
  end_half_sweep_if_complete();
}

void Node::rows_exchanged(const StepId& step) {
  if (phase_ != Phase::kSweeping) return;
  CONCERTO_CHECK(step.epoch == epoch_ && step.side == side_ && step.round < solved_, "an exchange that was not begun");
  effects_.push_back(InstallRows{step});
}

void Node::rows_installed(const StepId& step) {
  if (phase_ != Phase::kSweeping) return;
  CONCERTO_CHECK(step.epoch == epoch_ && step.side == side_, "rows of another half-sweep were installed");
  ++installed_;
  end_half_sweep_if_complete();
}

void Node::end_half_sweep_if_complete() {
  if (installed_ < options_.rounds) return;
  if (side_ == Side::kItems) {
    begin_half_sweep(Side::kUsers);
  } else {
    phase_ = Phase::kMeasuring;
    effects_.push_back(MeasureEpoch{epoch_});
  }
}

void Node::epoch_measured() {
  if (phase_ != Phase::kMeasuring) return;
  if (options_.ranks > 1) {
    phase_ = Phase::kExchangingSums;
    effects_.push_back(ExchangeSums{epoch_, operations_++});
  } else {
    phase_ = Phase::kDeciding;
    effects_.push_back(DecideEpoch{epoch_});
  }
}

void Node::sums_exchanged() {
  if (phase_ != Phase::kExchangingSums) return;
  phase_ = Phase::kDeciding;
  effects_.push_back(DecideEpoch{epoch_});
}

void Node::epoch_decided(bool goes_on) {
  if (phase_ != Phase::kDeciding) return;
  if (!goes_on || epoch_ == options_.epochs) {
    phase_ = Phase::kEnding;
    if (options_.ranks > 1) {
      effects_.push_back(MeetAtEnd{operations_++});
    } else {
      met_at_end();
    }
    return;
  }
  ++epoch_;
  begin_half_sweep(Side::kItems);
}

void Node::met_at_end() {
  if (phase_ != Phase::kEnding) return;
  phase_ = Phase::kOver;
  effects_.push_back(FinishRun{epoch_});
}

void Node::work_failed(const std::string& message) {
  fail({FailureKind::kAborted, message}, options_.rank);
}

void Node::fail(Failure failure, Rank blamed) {
  if (phase_ == Phase::kOver) return;
  if (phase_ != Phase::kBlaming && options_.ranks > 1) effects_.push_back(AbortCollectives{failure.message});
  phase_ = Phase::kOver;
  effects_.push_back(FailRun{std::move(failure), blamed});
}

void Node::collective_failed(const Failure& failure, const std::vector<Rank>& suspects, Tick now) {
  if (phase_ == Phase::kOver || phase_ == Phase::kBlaming) return;
  failure_ = failure;
  suspects_ = suspects;
  failed_at_ = now;
  effects_.push_back(AbortCollectives{failure.message});
  // Ranks that do not do the same thing, or bytes that are not what was sent: the communicator knows, nobody is dead.
  const bool is_certain = failure.kind == FailureKind::kMismatch || failure.kind == FailureKind::kCorrupt;
  phase_ = Phase::kBlaming;
  if (is_certain) {
    fail(failure, suspects.size() == 1 ? suspects.front() : kNoRank);
  } else {
    blame(now);
  }
}

/// Names who is to blame once there is evidence, or the most likely one when none has come in time.
void Node::blame(Tick now) {
  if (const auto found = detector_.judge(now)) {
    const char* verdict = found->verdict == Verdict::kDead ? "dead" : "stalled";
    fail({failure_.kind, fmt::format("rank {} is {}: {}; it was at {} (epoch {}, operation {}); met here as: {}",
                                     found->rank, verdict, found->evidence, place(), detector_.last(found->rank).epoch,
                                     detector_.last(found->rank).operation, failure_.message)},
         found->rank);
    return;
  }
  if (now - failed_at_ < options_.blame_after) return;
  const bool has_suspect = suspects_.size() == 1;
  const Rank likely = has_suspect ? suspects_.front() : detector_.furthest_behind().value_or(kNoRank);
  const std::string who = likely == kNoRank
                              ? "some rank"
                              : fmt::format("rank {} ({})", likely,
                                            has_suspect ? "its connection ended" : "the furthest behind, though alive");
  fail({failure_.kind, fmt::format("{} did not do its part at {}: {}", who, place(), failure_.message)}, likely);
}

void Node::heard(Rank rank, const Heartbeat& heartbeat, Tick now) {
  if (rank != options_.rank) detector_.hear(rank, heartbeat, now);
}

void Node::lost(Rank rank, const std::string& evidence, Tick now) {
  if (phase_ == Phase::kOver || rank == options_.rank) return;
  detector_.lose(rank, evidence);
  tick(now);
}

void Node::peer_failed(Rank rank, Rank blamed, const std::string& message) {
  if (phase_ == Phase::kOver || rank == options_.rank) return;
  const std::string found = blamed == rank ? fmt::format("rank {} gave up: {}", rank, message)
                                           : fmt::format("rank {} ended the run: {}", rank, message);
  fail({FailureKind::kLost, found}, blamed);
}

void Node::store_lost(const std::string& message) {
  fail({FailureKind::kLost, fmt::format("the store is gone at {}: {}", place(), message)}, kNoRank);
}

void Node::tick(Tick now) {
  if (phase_ == Phase::kOver) return;
  if (!has_ticked_ || now - last_heartbeat_ >= options_.limits.heartbeat_every) {
    has_ticked_ = true;
    last_heartbeat_ = now;
    if (options_.ranks > 1) effects_.push_back(PublishHeartbeat{heartbeat()});
  }
  if (phase_ == Phase::kBlaming) {
    blame(now);
    return;
  }
  const auto found = detector_.judge(now);
  if (!found) return;
  const char* verdict = found->verdict == Verdict::kDead ? "dead" : "stalled";
  fail({FailureKind::kLost,
        fmt::format("rank {} is {}: {}; it was last heard of at epoch {}, operation {}; this rank is "
                    "at {}",
                    found->rank, verdict, found->evidence, detector_.last(found->rank).epoch,
                    detector_.last(found->rank).operation, place())},
       found->rank);
}

Heartbeat Node::heartbeat() const {
  return {incarnation_, epoch_, operations_, progress_, owes()};
}

/// Whether others may be waiting for this rank: it has work of its own, rather than waiting in collectives for theirs.
bool Node::owes() const {
  switch (phase_) {
    case Phase::kSweeping:
      return solved_ < options_.rounds;
    case Phase::kBeginning:
    case Phase::kMeasuring:
    case Phase::kDeciding:
      return true;
    default:
      return false;
  }
}

std::string Node::place() const {
  switch (phase_) {
    case Phase::kMeasuring:
    case Phase::kExchangingSums:
    case Phase::kDeciding:
      return fmt::format("epoch {}, measuring", epoch_);
    case Phase::kEnding:
      return "the end";
    case Phase::kIdle:
    case Phase::kExchangingFacts:
      return "the start";
    default:
      return place_of(epoch_, side_, solved_ < options_.rounds ? solved_ : options_.rounds - 1);
  }
}

}  // namespace concerto
