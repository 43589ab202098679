// The loop around an asynchronous node.
#include "asynchronous_driver.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "work_queue.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

/// Types of messages on the mesh.
constexpr std::uint16_t kReplicaType = 0x5200;
constexpr std::uint16_t kRunType = 0x5201;
constexpr std::uint16_t kMarkerType = 0x5202;
constexpr auto kTickEvery = std::chrono::milliseconds(100);

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void put_number(std::uint64_t number, std::span<std::byte, 8> to) {
  for (std::size_t i = 0; i < 8; ++i) to[i] = static_cast<std::byte>(number >> (8 * i) & 0xff);
}

std::uint64_t number_in(std::span<const std::byte, 8> from) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < 8; ++i) number |= std::to_integer<std::uint64_t>(from[i]) << (8 * i);
  return number;
}

std::int64_t microseconds_since_1970() {
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
}

std::vector<std::byte> bytes_of(const RunMessage& message) {
  std::vector<std::byte> bytes(11);
  bytes[0] = std::byte{message.is_directive};
  bytes[1] = static_cast<std::byte>(message.phase);
  bytes[2] = static_cast<std::byte>(message.complete);
  put_number(message.record, std::span(bytes).subspan<3, 8>());
  return bytes;
}

std::optional<RunMessage> parse_run_message(std::span<const std::byte> bytes) {
  constexpr auto kLast = static_cast<unsigned>(RunPhase::kFinished);
  const auto number = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  if (bytes.size() != 11 || number(0) > 1 || number(1) > kLast || number(2) > kLast) return std::nullopt;
  RunMessage message;
  message.is_directive = number(0) == 1;
  message.phase = static_cast<RunPhase>(number(1));
  message.complete = static_cast<RunPhase>(number(2));
  message.record = number_in(bytes.subspan<3, 8>());
  return message;
}

bool changes_state(ReplicaEffectKind kind) {
  using Kind = ReplicaEffectKind;
  return kind == Kind::kInstall || kind == Kind::kReplace || kind == Kind::kMergeReceived ||
         kind == Kind::kMergeWritten || kind == Kind::kMergeSealed || kind == Kind::kMergeOpen;
}

class Driver {
 public:
  Driver(AsynchronousTrainer& trainer, const BlockPlan& plan, const AsynchronousRun& run)
      : trainer_(trainer),
        plan_(plan),
        run_(run),
        self_(run.node.replicator.self),
        node_(run.node, plan.blocks),
        detector_(run.node.replicator.ranks, self_, run.limits, now()),
        visibility_(plan.blocks.size(), run.node.replicator.ranks),
        samples_(most_samples(run.sampling.rows.size() * trainer.row_values() * sizeof(float))) {}

  AsynchronousOutcome run();

 private:
  [[nodiscard]] Tick now() const { return std::chrono::duration_cast<Tick>(Clock::now() - origin_); }
  [[nodiscard]] BoardEvents board_events();
  [[nodiscard]] MeshEvents mesh_events();
  /// Gives the node an event and performs what comes of it. `received`: the message that the event is.
  void act(const std::function<void(AsynchronousEffects&)>& event, const ParsedReplicaMessage* received = nullptr);
  void perform(const ReplicaEffect& effect, const ParsedReplicaMessage* received);
  /// What the effect means for visibility.
  void note(const ReplicaEffect& effect);
  void receive(Rank peer, ConnectionNumber connection, const Message& message);
  void begin(const BlockStep& step);
  /// The block's state, if this rank says what it is.
  void log(BlockId block);
  void count_lags(const BlockStep& step);
  void step_done();
  void watch();
  void send_marker_if_due();
  void take_sample(std::uint64_t number, double seconds, std::int64_t sent_us);
  void fail(const std::string& message, Rank blamed);
  [[nodiscard]] std::string place() const;

  AsynchronousTrainer& trainer_;
  const BlockPlan& plan_;
  const AsynchronousRun& run_;
  Rank self_;
  Clock::time_point origin_ = Clock::now();
  WorkQueue events_;
  AsynchronousNode node_;
  FailureDetector detector_;
  Visibility visibility_;
  ConsistencySamples samples_;
  std::map<Rank, ConnectionNumber> connections_;
  AsynchronousOutcome outcome_;
  bool is_finished_ = false;
  bool is_stopping_ = false;
  std::uint64_t progress_ = 0;
  Tick last_heartbeat_{-1'000'000};
  Tick last_tick_{0};
  std::optional<Clock::time_point> blocked_since_;
  std::optional<BlockStep> step_;
  Clock::time_point begun_ = Clock::now();
  Clock::time_point sweep_begin_ = Clock::now();
  std::vector<std::function<void()>> deferred_;
  std::unique_ptr<RankBoard> board_;
  std::unique_ptr<Mesh> mesh_;
  std::optional<ComputeLane> lane_;
};

BoardEvents Driver::board_events() {
  const auto post = [this](auto what) { events_.push(std::move(what)); };
  BoardEvents events;
  events.heard = [this, post](Rank rank, const Heartbeat& heartbeat) {
    post([this, rank, heartbeat] {
      if (rank != self_) detector_.hear(rank, heartbeat, now());
    });
  };
  events.lost = [this, post](Rank rank, const std::string& evidence) {
    post([this, rank, evidence] { detector_.lose(rank, evidence); });
  };
  events.finished = [this, post](Rank rank) { post([this, rank] { detector_.retire(rank); }); };
  events.failed = [this, post](Rank rank, Rank blamed, const std::string& message) {
    post([this, rank, blamed, message] {
      fail(blamed == rank ? fmt::format("rank {} gave up: {}", rank, message)
                          : fmt::format("rank {} ended the run: {}", rank, message),
           blamed);
    });
  };
  events.store_lost = [this, post](const std::string& message) {
    post([this, message] { fail(fmt::format("the store is gone at {}: {}", place(), message), kNoRank); });
  };
  return events;
}

MeshEvents Driver::mesh_events() {
  MeshEvents events;
  events.on_connected = [this](Rank peer, Incarnation incarnation, ConnectionNumber connection) {
    events_.push([this, peer, incarnation, connection] {
      connections_[peer] = connection;
      act([&](AsynchronousEffects& out) { node_.connected(peer, incarnation, out); });
    });
  };
  events.on_message = [this](Rank peer, ConnectionNumber connection, Message message) {
    events_.push([this, peer, connection, shared = std::make_shared<const Message>(std::move(message))] {
      receive(peer, connection, *shared);
    });
  };
  events.on_disconnected = [this](Rank peer, ConnectionNumber connection, const Failure&) {
    events_.push([this, peer, connection] {
      const auto known = connections_.find(peer);
      if (known == connections_.end() || known->second != connection) return;
      connections_.erase(known);
      node_.disconnected(peer);
    });
  };
  return events;
}

void Driver::receive(Rank peer, ConnectionNumber connection, const Message& message) {
  const auto known = connections_.find(peer);
  if (known == connections_.end() || known->second != connection) return;
  ++progress_;
  if (message.type == kRunType) {
    if (const auto parsed = parse_run_message(message.payload)) {
      act([&](AsynchronousEffects& out) { node_.received(peer, *parsed, out); });
      return;
    }
  } else if (message.type == kMarkerType) {
    const bool is_whole = message.payload.size() == 8 && peer == 0 && !run_.sampling.rows.empty();
    const std::uint64_t number = is_whole ? number_in(std::span<const std::byte, 8>(message.payload)) : 0;
    if (samples_.may_follow(number)) return take_sample(number, 0.0, 0);
  } else if (message.type == kReplicaType) {
    if (const auto parsed = parse_replica_message(message.payload)) {
      if (parsed->message.kind == ReplicaMessageKind::kStatus) {
        visibility_.acknowledged(parsed->message.block, peer, parsed->message.version, Clock::now() - origin_);
      }
      bool is_sound = true;
      act([&](AsynchronousEffects& out) { is_sound = node_.received(peer, parsed->message, parsed->frontier, out); },
          &*parsed);
      if (is_sound) return;
    }
  }
  mesh_->reject(peer, connection,
                fmt::format("rank {} sent a message of type {:#x} that makes no sense", peer, message.type));
}

void Driver::act(const std::function<void(AsynchronousEffects&)>& event, const ParsedReplicaMessage* received) {
  AsynchronousEffects out;
  event(out);
  for (const ReplicaEffect& effect : out.replica.list) {
    note(effect);
    if (effect.kind == ReplicaEffectKind::kSend) {
      const bool has_frontier =
          effect.message.kind == ReplicaMessageKind::kPut || effect.message.kind == ReplicaMessageKind::kState;
      const auto frontier =
          std::span(out.replica.frontiers).subspan(effect.frontier, has_frontier ? run_.node.replicator.ranks : 0);
      const auto connection = connections_.find(effect.peer);
      if (connection == connections_.end()) continue;
      const std::uint64_t digest = effect.message.carries_digest ? trainer_.digest(effect.block) : 0;
      Outgoing outgoing(kReplicaType, static_cast<std::uint32_t>(run_.record.epoch),
                        encode(effect.message, frontier, digest));
      // What is queued must not change while it is written.
      const auto payload = trainer_.payload(effect.message);
      const auto copy = std::make_shared<const std::vector<std::byte>>(payload.begin(), payload.end());
      outgoing.body = *copy;
      outgoing.owner = copy;
      outcome_.bytes_sent[static_cast<std::size_t>(effect.message.kind)] += outgoing.payload_bytes();
      (void)mesh_->send(effect.peer, connection->second, std::move(outgoing));  // lost: on_disconnected says so
    } else {
      perform(effect, received);
    }
  }
  for (const auto& [peer, message] : out.sends) {
    const auto connection = connections_.find(peer);
    if (connection == connections_.end()) continue;
    (void)mesh_->send(peer, connection->second,
                      Outgoing(kRunType, static_cast<std::uint32_t>(run_.record.epoch), bytes_of(message)));
  }
  if (out.is_finished) is_finished_ = true;
  if (out.step) begin(*out.step);
  const bool is_blocked = node_.phase() == RunPhase::kTraining && node_.waits_for().has_value();
  if (is_blocked && !blocked_since_) blocked_since_ = Clock::now();
  if (!is_blocked && blocked_since_) outcome_.blocked_seconds += seconds_since(*std::exchange(blocked_since_, {}));
  for (const auto& next : std::exchange(deferred_, {})) next();
}

void Driver::note(const ReplicaEffect& effect) {
  const auto time = Clock::now() - origin_;
  switch (effect.kind) {
    case ReplicaEffectKind::kSend:
      if (effect.message.kind == ReplicaMessageKind::kPut) visibility_.sent(effect.block, effect.peer);
      break;
    case ReplicaEffectKind::kReplace:
    case ReplicaEffectKind::kMergeReceived:
    case ReplicaEffectKind::kMergeWritten:
    case ReplicaEffectKind::kMergeSealed:
    case ReplicaEffectKind::kMergeOpen:
      for (Rank r = 0; r < run_.node.replicator.ranks; ++r) {
        const bool holds = plan_.blocks[effect.block].is_read_by_all || run_.record.places[effect.block].successor == r;
        if (r != self_ && holds) visibility_.published(effect.block, r, effect.message.version, time);
      }
      break;
    default:
      break;
  }
}

void Driver::perform(const ReplicaEffect& effect, const ParsedReplicaMessage* received) {
  switch (effect.kind) {
    case ReplicaEffectKind::kCompareDigest: {
      const bool is_equal = trainer_.digest(effect.block) == received->digest;
      deferred_.push_back([this, effect, is_equal] {
        act([&](AsynchronousEffects& out) {
          node_.digest_compared(effect.peer, effect.block, effect.message.version, is_equal, out);
        });
      });
      break;
    }
    case ReplicaEffectKind::kDamaged:
      fail(fmt::format("block {} at rank {} has other bytes than rank {} published", effect.block, effect.peer, self_),
           effect.peer);
      break;
    default:
      if (!trainer_.perform(effect, received != nullptr ? received->body : std::span<const std::byte>{})) {
        fail(fmt::format("block {} came with another length than it has", effect.block), kNoRank);
      } else if (changes_state(effect.kind)) {
        log(effect.block);
      }
  }
}

void Driver::log(BlockId block) {
  if (run_.watch.versions == nullptr || !node_.replicator().owns(block)) return;
  const RowRange rows = plan_.rows[block];
  const auto state = trainer_.state(block);
  run_.watch.versions->add(plan_.blocks[block].table, rows, std::as_bytes(state), state.size() / rows.size());
}

/// Of the blocks that the step reads: by what replicas say, as the promise is.
void Driver::count_lags(const BlockStep& step) {
  const Replicator& replicator = node_.replicator();
  const SweepClock need = node_.need(step);
  const auto count = [&](BlockId b) {
    const std::uint32_t lag = lag_of(need, replicator.clock(b));
    if (outcome_.lags.size() <= lag) outcome_.lags.resize(lag + std::size_t{1});
    ++outcome_.lags[lag];
  };
  if (run_.node.is_adding) {
    for (const BlockId b : step.blocks) count(b);
    return;
  }
  for (BlockId b = 0; b < plan_.blocks.size(); ++b) {
    if (plan_.blocks[b].table == node_.reads(step)) count(b);
  }
}

void Driver::begin(const BlockStep& step) {
  count_lags(step);
  trainer_.prepare(step, node_.replicator());
  step_ = step;
  lane_->push([this, step] {
    const Clock::time_point began = Clock::now();
    try {
      run_.watch.paced(step.clock, step.table, [&] { trainer_.run(step); });
      events_.push([this, took = seconds_since(began)] {
        outcome_.compute_seconds += took;
        step_done();
      });
    } catch (const std::exception& error) {
      events_.push([this, message = std::string(error.what())] { fail(message, self_); });
    }
  });
}

void Driver::step_done() {
  ++progress_;
  const BlockStep step = *std::exchange(step_, std::nullopt);
  // The last step of a sweep of this rank's work: the next one that is begun is of a later sweep.
  act([&](AsynchronousEffects& out) { node_.step_finished(out); });
  const bool is_last_side = run_.node.is_adding || step.table == Side::kUsers;
  if (is_last_side && (!step_ || step_->clock > step.clock) && outcome_.sweep_seconds.size() < step.clock) {
    outcome_.sweep_seconds.push_back(seconds_since(sweep_begin_));
    sweep_begin_ = Clock::now();
    if (run_.on_sweep) run_.on_sweep(step.clock, outcome_.sweep_seconds.back());
  }
}

void Driver::fail(const std::string& message, Rank blamed) {
  if (outcome_.failure) return;
  outcome_.failure = message;
  if (board_) board_->publish_failure(blamed, message);
}

std::string Driver::place() const {
  return step_ ? fmt::format("sweep {} of {}", step_->clock, step_->table == Side::kItems ? "items" : "users")
               : "a pause between steps";
}

/// Time has passed.
void Driver::watch() {
  const Tick time = now();
  if (time - last_heartbeat_ >= run_.limits.heartbeat_every) {
    last_heartbeat_ = time;
    Heartbeat beat;
    beat.incarnation = run_.node.replicator.incarnation;
    beat.epoch = step_ ? step_->clock : 0;
    beat.progress = progress_;
    beat.owes = node_.is_working();
    if (board_) board_->publish(beat);
  }
  if (const auto found = detector_.judge(time)) {
    const char* verdict = found->verdict == Verdict::kDead ? "dead" : "stalled";
    fail(fmt::format("rank {} is {}: {}; this rank is at {}", found->rank, verdict, found->evidence, place()),
         found->rank);
  }
  if (run_.stop.stop_requested() && !is_stopping_) {
    is_stopping_ = true;
    outcome_.was_stopped = true;
    act([&](AsynchronousEffects& out) { node_.end_training(out); });
  }
  if (time - last_tick_ >= kTickEvery) {
    last_tick_ = time;
    act([&](AsynchronousEffects& out) { node_.tick(out); });
  }
  send_marker_if_due();
}

/// While all are connected: a sample that one of them lacks is of no use.
void Driver::send_marker_if_due() {
  const std::size_t peers = run_.node.replicator.ranks - 1;
  if (self_ != 0 || run_.sampling.rows.empty() || is_finished_ || connections_.size() < peers) return;
  const double seconds = seconds_since(begun_);
  constexpr double kMost = 1e15;  // far below what the number holds
  const auto number = samples_.due(static_cast<std::uint64_t>(std::min(seconds / run_.sampling.every_seconds, kMost)));
  if (!number) return;
  const std::int64_t sent_us = microseconds_since_1970();
  std::vector<std::byte> payload(8);
  put_number(*number, std::span(payload).first<8>());
  for (const auto& [peer, connection] : connections_) {
    (void)mesh_->send(peer, connection, Outgoing(kMarkerType, static_cast<std::uint32_t>(run_.record.epoch), payload));
  }
  take_sample(*number, seconds, sent_us);
}

void Driver::take_sample(std::uint64_t number, double seconds, std::int64_t sent_us) {
  ConsistencySample* const sample = samples_.add(number);
  if (sample == nullptr) return;
  sample->seconds = seconds;
  sample->sent_us = sent_us;
  sample->values.resize(run_.sampling.rows.size() * trainer_.row_values());
  std::span<float> rest(sample->values);
  for (const auto& [block, row] : run_.sampling.rows) {
    trainer_.copy_row(block, row, rest.first(trainer_.row_values()));
    rest = rest.subspan(trainer_.row_values());
  }
  sample->copied_us = microseconds_since_1970();
}

AsynchronousOutcome Driver::run() {
  if (run_.make_board) board_ = run_.make_board(board_events());
  lane_.emplace();
  begun_ = Clock::now();
  mesh_ = run_.make_mesh(mesh_events());
  sweep_begin_ = Clock::now();
  act([&](AsynchronousEffects& out) { node_.membership(run_.record, out); });
  for (BlockId b = 0; b < plan_.blocks.size(); ++b) log(b);
  OperationHandle meeting;
  while (!outcome_.failure) {
    if (const auto event = events_.pop(std::chrono::milliseconds(20))) (*event)();
    watch();
    if (!is_finished_) continue;
    // Who has heard that all is finished still answers those that have not.
    if (!meeting) {
      outcome_.seconds = seconds_since(begun_);
      meeting = run_.meet_at_end();
    }
    const OperationState state = meeting->state();
    if (state == OperationState::kFailed) fail("ranks did not meet at the end of training", kNoRank);
    if (state == OperationState::kDone) break;
  }
  lane_.reset();  // a step that is under way ends first
  mesh_.reset();
  if (!outcome_.failure && board_) board_->finish();
  board_.reset();
  outcome_.visibility = visibility_.durations();
  outcome_.samples = samples_.take();
  outcome_.sweeps = std::numeric_limits<SweepClock>::max();
  for (BlockId b = 0; b < plan_.blocks.size(); ++b) {
    if (plan_.blocks[b].is_read_by_all) outcome_.sweeps = std::min(outcome_.sweeps, node_.replicator().clock(b));
  }
  return std::move(outcome_);
}

}  // namespace

AsynchronousOutcome drive_asynchronous(AsynchronousTrainer& trainer, const BlockPlan& plan,
                                       const AsynchronousRun& run) {
  return Driver(trainer, plan, run).run();
}

}  // namespace concerto
