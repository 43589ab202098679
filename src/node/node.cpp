// A rank's life between schedules, and how it finds whom to blame.
#include "concerto/node/node.hpp"

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "epoch_schedule.hpp"

namespace concerto {
Node::Node(const NodeOptions& options, Incarnation incarnation, Tick now)
    : options_(options), incarnation_(incarnation), detector_(options.ranks, options.rank, options.limits, now) {
  CONCERTO_CHECK(options.epochs > 0 && options.rounds > 0, "a run of no epochs or no rounds");
  schedule_ = make_schedule(options);
}
Node::~Node() = default;
Node::Node(Node&&) noexcept = default;
Node& Node::operator=(Node&&) noexcept = default;

std::vector<Effect> Node::take_effects() {
  return std::exchange(out_.effects, {});
}

template <class Exchange>
void Node::exchange(Phase phase, Exchange effect, void (Node::*done)()) {
  phase_ = phase;
  if (options_.ranks == 1) return (this->*done)();
  effect.operation = out_.next_operation();
  out_.push(effect);
}

void Node::start(Tick now) {
  CONCERTO_CHECK(phase_ == Phase::kIdle, "a node is started once");
  exchange(Phase::kExchangingFacts, ExchangeFacts{}, &Node::facts_exchanged);
  tick(now);
}

// Every event may have been overtaken by a failure: then it says nothing any more.

void Node::facts_exchanged() {
  if (phase_ == Phase::kExchangingFacts) begin_epoch();
}

void Node::begin_epoch() {
  phase_ = Phase::kTraining;
  schedule_->begin(epoch_, out_);
}

void Node::sweep_begun() {
  if (phase_ == Phase::kTraining) schedule_->sweep_begun(out_);
}

void Node::step_finished(const StepId& step) {
  if (phase_ != Phase::kTraining) return;
  schedule_->step_finished(step, out_);
  end_epoch_if_complete();
}

void Node::partials_exchanged(const StepId& step) {
  if (phase_ == Phase::kTraining) schedule_->partials_exchanged(step, out_);
}

void Node::systems_solved(const StepId& step) {
  if (phase_ == Phase::kTraining) schedule_->systems_solved(step, out_);
}

void Node::rows_exchanged(const StepId& step) {
  if (phase_ == Phase::kTraining) schedule_->rows_exchanged(step, out_);
}

void Node::rows_installed(const StepId& step) {
  if (phase_ != Phase::kTraining) return;
  schedule_->rows_installed(step, out_);
  end_epoch_if_complete();
}

void Node::block_sent(const BlockPass& pass) {
  if (phase_ == Phase::kTraining) schedule_->block_sent(pass, out_);
}

void Node::block_received(const BlockPass& pass) {
  if (phase_ == Phase::kTraining) schedule_->block_received(pass, out_);
}

void Node::end_epoch_if_complete() {
  if (!schedule_->is_complete()) return;
  phase_ = Phase::kMeasuring;
  out_.push(MeasureEpoch{epoch_});
}

void Node::epoch_measured() {
  if (phase_ == Phase::kMeasuring) exchange(Phase::kExchangingSums, ExchangeSums{}, &Node::sums_exchanged);
}

void Node::sums_exchanged() {
  if (phase_ == Phase::kExchangingSums) {
    phase_ = Phase::kDeciding;
    out_.push(DecideEpoch{epoch_});
  } else if (phase_ == Phase::kExchangingResultSums) {
    phase_ = Phase::kTakingResult;
    out_.push(TakeResult{});
  }
}

void Node::epoch_decided(bool goes_on) {
  if (phase_ != Phase::kDeciding) return;
  if (goes_on && epoch_ < options_.epochs) {
    ++epoch_;
    begin_epoch();
  } else {
    phase_ = Phase::kPreparingResult;
    out_.push(PrepareResult{});
  }
}

void Node::result_prepared() {
  if (phase_ == Phase::kPreparingResult) {
    exchange(Phase::kExchangingResult, ExchangeResult{}, &Node::result_exchanged);
  }
}

void Node::result_exchanged() {
  if (phase_ != Phase::kExchangingResult) return;
  phase_ = Phase::kMeasuringResult;
  out_.push(MeasureResult{});
}

void Node::result_measured() {
  if (phase_ == Phase::kMeasuringResult) {
    exchange(Phase::kExchangingResultSums, ExchangeSums{}, &Node::sums_exchanged);
  }
}

void Node::result_taken() {
  if (phase_ == Phase::kTakingResult) exchange(Phase::kMeeting, MeetAtEnd{}, &Node::met_at_end);
}

void Node::met_at_end() {
  if (phase_ != Phase::kMeeting) return;
  phase_ = Phase::kOver;
  out_.push(FinishRun{epoch_});
}

void Node::work_failed(const std::string& message) {
  fail({FailureKind::kAborted, message}, options_.rank);
}

void Node::fail(Failure failure, Rank blamed) {
  if (phase_ == Phase::kOver) return;
  if (phase_ != Phase::kBlaming && options_.ranks > 1) out_.push(AbortCollectives{failure.message});
  phase_ = Phase::kOver;
  out_.push(FailRun{std::move(failure), blamed});
}

void Node::collective_failed(const Failure& failure, const std::vector<Rank>& suspects, Tick now) {
  if (phase_ == Phase::kOver || phase_ == Phase::kBlaming) return;
  failure_ = failure;
  suspects_ = suspects;
  failed_at_ = now;
  out_.push(AbortCollectives{failure.message});
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
    if (options_.ranks > 1) out_.push(PublishHeartbeat{heartbeat()});
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
  return {incarnation_, epoch_, out_.operations, progress_, owes()};
}

/// Whether others may be waiting for this rank: it has work of its own, rather than waiting in exchanges for theirs.
bool Node::owes() const {
  switch (phase_) {
    case Phase::kTraining:
      return schedule_->owes();
    case Phase::kMeasuring:
    case Phase::kDeciding:
    case Phase::kPreparingResult:
    case Phase::kMeasuringResult:
    case Phase::kTakingResult:
      return true;
    default:
      return false;
  }
}

std::string Node::place() const {
  switch (phase_) {
    case Phase::kIdle:
    case Phase::kExchangingFacts:
      return "the start";
    case Phase::kMeasuring:
    case Phase::kExchangingSums:
    case Phase::kDeciding:
      return fmt::format("epoch {}, measuring", epoch_);
    case Phase::kPreparingResult:
    case Phase::kExchangingResult:
    case Phase::kMeasuringResult:
    case Phase::kExchangingResultSums:
    case Phase::kTakingResult:
      return "the result";
    case Phase::kMeeting:
      return "the end";
    default:
      return fmt::format("epoch {}, {}", epoch_, schedule_->place());
  }
}

}  // namespace concerto
