// The effects of a node on its memory, and what the oracle is told of them.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "simulator_state.hpp"

namespace concerto::sim {

std::string Process::name() const {
  return fmt::format("rank {} ({})", rank, incarnation);
}

void Simulation::act(const std::shared_ptr<Process>& process, const Wire* wire,
                     const std::function<void(AsynchronousEffects&)>& event) {
  AsynchronousEffects effects;
  event(effects);
  Process& p = *process;
  for (const ReplicaEffect& effect : effects.replica.list) {
    fold(mix(now_ * 64 + p.rank, static_cast<std::uint64_t>(effect.kind) << 32 | effect.block));
    fold(mix(effect.message.version.term << 32 | effect.peer, effect.message.version.serial));
    if (effect.kind == ReplicaEffectKind::kCompareDigest) {
      compare_digest(process, effect, *wire);
    } else {
      perform(p, effect, effects.replica, wire);
    }
    if (!p.is_alive) return;
  }
  for (const auto& [peer, message] : effects.sends) {
    Wire out;
    out.run = message;
    transmit(p, peer, std::move(out));
  }
  if (effects.step) begin_step(process, *effects.step);
}

void Simulation::compare_digest(const std::shared_ptr<Process>& process, const ReplicaEffect& effect,
                                const Wire& wire) {
  const bool is_equal = process->state[effect.block].hash() == wire.digest;
  in_process(now_, process, [this, process, effect, is_equal](Process&) {
    act(process, nullptr, [&](AsynchronousEffects& out) {
      process->node.digest_compared(effect.peer, effect.block, effect.message.version, is_equal, out);
    });
  });
}

void Simulation::now_holds(Process& p, const ReplicaEffect& effect, Contents contents) {
  const Version& version = effect.message.version;
  p.state[effect.block] = std::move(contents);
  oracle_.held(p.name(), effect.block, p.held[effect.block], version, p.state[effect.block]);
  p.held[effect.block] = version;
}

void Simulation::merge(Process& p, const ReplicaEffect& effect, std::int64_t sum) {
  Contents contents = p.state[effect.block];
  oracle_.merge(p.name(), effect.block, effect.peer, effect.message.writer, sum, contents);
  now_holds(p, effect, std::move(contents));
  fell_behind(p, effect.block);
}

void Simulation::perform(Process& p, const ReplicaEffect& effect, const ReplicaEffects& all, const Wire* wire) {
  const BlockId b = effect.block;
  if (trace_ && effect.kind != ReplicaEffectKind::kSend) {
    log(fmt::format("{} effect {} block {} version {}.{} writer {}.{} clock {}", p.name(),
                    static_cast<int>(effect.kind), b, effect.message.version.term, effect.message.version.serial,
                    effect.message.writer.incarnation, effect.message.writer.sequence, effect.message.writer.clock));
  }
  if (p.training && effect.kind != ReplicaEffectKind::kSend) {
    const auto payload = wire != nullptr ? std::span<const std::byte>(wire->payload) : std::span<const std::byte>{};
    if (!p.training->trainer().perform(effect, payload)) {
      oracle_.fail(fmt::format("{} was sent bytes of another length as block {}", p.name(), b));
    }
  }
  switch (effect.kind) {
    case ReplicaEffectKind::kSend:
      send(p, effect, all);
      break;
    case ReplicaEffectKind::kInstall:
      if (effect.message.term < p.node.replicator().term(b)) {
        oracle_.fail(fmt::format("{} takes block {} from a former owner", p.name(), b));
      }
      now_holds(p, effect, *wire->state);
      oracle_.seen(b, effect.message.version);
      break;
    case ReplicaEffectKind::kReplace: {
      Contents contents = p.results[b];
      if (scenario_.is_adding)
        contents = {mix(mix(scenario_.seed, b), effect.message.clock), effect.message.clock, {}, false};
      now_holds(p, effect, std::move(contents));
      fell_behind(p, b);
      break;
    }
    case ReplicaEffectKind::kMergeReceived:
      if (p.record.members[effect.peer] != effect.message.writer.incarnation) {
        oracle_.fail(fmt::format("{} merges a delta of rank {} ({}) into block {}, which is not in its record",
                                 p.name(), effect.peer, effect.message.writer.incarnation, b));
      }
      merge(p, effect, wire->delta);
      break;
    case ReplicaEffectKind::kMergeWritten:
      p.written[b] += p.increments[b];
      merge(p, effect, p.increments[b]);
      break;
    case ReplicaEffectKind::kMergeSealed:
      merge(p, effect, std::exchange(p.sealed[b], {}).sum);
      break;
    case ReplicaEffectKind::kMergeOpen:
      merge(p, effect, std::exchange(p.open[b], {}).sum);
      break;
    case ReplicaEffectKind::kAddToOpen:
      p.written[b] += p.increments[b];
      p.open[b].sum += p.increments[b];
      p.open[b].is_there = true;
      break;
    case ReplicaEffectKind::kSeal:
      p.sealed[b].sum += std::exchange(p.open[b], {}).sum;
      p.sealed[b].is_there = true;
      oracle_.sealed(p.name(), b, p.rank, effect.message.writer, p.sealed[b].sum);
      break;
    case ReplicaEffectKind::kDropSealed:
      oracle_.stable(p.name(), b, p.rank, effect.message.writer, p.node.replicator().owns(b));
      p.sealed[b] = {};
      look_at_copies(b);  // of a rank that was expelled they may be gone already
      break;
    case ReplicaEffectKind::kTookOver:
      oracle_.took_over(p.name(), b, p.state[b]);
      oracle_.held(p.name(), b, p.held[b], effect.message.version, p.state[b]);
      p.held[b] = effect.message.version;
      p.behind_since.clear();
      break;
    case ReplicaEffectKind::kLostDeltas:
      if (!oracle_.may_miss(b, effect.peer, effect.message.writer.incarnation, effect.message.writer.sequence)) {
        oracle_.fail(
            fmt::format("{} reports deltas of rank {} to block {} as lost that are not", p.name(), effect.peer, b));
      }
      oracle_.reported_lost(b, effect.peer, effect.message.writer);
      break;
    case ReplicaEffectKind::kExpelled:
      kill(p.rank);
      break;
    case ReplicaEffectKind::kCompareDigest:
    case ReplicaEffectKind::kFenced:
    case ReplicaEffectKind::kDamaged:
      break;
  }
}

void Simulation::send(Process& p, const ReplicaEffect& effect, const ReplicaEffects& all) {
  Wire wire;
  wire.message = effect.message;
  const BlockId b = effect.block;
  if (trace_) {
    log(fmt::format("{} sends kind {} of block {} to rank {}: term {} version {}.{} owner {} stable {} writer {}.{}",
                    p.name(), static_cast<int>(effect.message.kind), b, effect.peer, effect.message.term,
                    effect.message.version.term, effect.message.version.serial, effect.message.is_owner,
                    effect.message.stable, effect.message.writer.incarnation, effect.message.writer.sequence));
  }
  switch (effect.message.kind) {
    case ReplicaMessageKind::kPut:
    case ReplicaMessageKind::kState: {
      const auto* first = all.frontiers.data() + effect.frontier;
      wire.frontier.assign(first, first + scenario_.ranks);
      wire.state = std::make_shared<const Contents>(p.state[b]);
      ++p.sent[effect.peer];
      const auto behind = p.behind_since.find({effect.peer, b});
      if (behind != p.behind_since.end()) {
        const std::uint64_t before = p.sent[effect.peer] - behind->second;
        if (before > 2 * blocks_.size() + scenario_.window_blocks) {
          oracle_.fail(fmt::format("{} sent {} other blocks to rank {} before block {}, which waited", p.name(), before,
                                   effect.peer, b));
        }
        p.behind_since.erase(behind);
      }
      break;
    }
    case ReplicaMessageKind::kDelta:
      wire.delta = p.sealed[b].sum;
      break;
    case ReplicaMessageKind::kStatus:
      if (effect.message.carries_digest) wire.digest = p.state[b].hash();
      if (effect.message.is_owner && effect.message.stable > 0) check_promise(p, effect.message, effect.peer);
      break;
    case ReplicaMessageKind::kFence:
    case ReplicaMessageKind::kFetch:
      break;
  }
  if (p.training) {
    const auto payload = p.training->trainer().payload(effect.message);
    wire.payload.assign(payload.begin(), payload.end());
  }
  transmit(p, effect.peer, std::move(wire));
}

void Simulation::check_promise(Process& p, const ReplicaMessage& message, Rank peer) {
  const Rank successor = p.record.places[message.block].successor;
  // As the owner knows the members; a later life that has told it what it holds is as good.
  FrontierEntry delta = message.writer;
  delta.sequence = message.stable;
  const Contents* best = nullptr;
  const bool has_successor = successor != kNoRank;
  for (auto life = has_successor ? lives_.lower_bound({successor, p.record.members[successor]}) : lives_.end();
       life != lives_.end() && life->first.first == successor; ++life) {
    const Contents& contents = life->second->state[message.block];
    const Part* part = contents.find(peer, delta.incarnation);
    if (best == nullptr || (part != nullptr && part->last >= delta.sequence)) best = &contents;
  }
  oracle_.promised(p.name(), message.block, peer, delta, best);
}

void Simulation::fell_behind(Process& p, BlockId block) {
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    const bool is_holder = blocks_[block].is_read_by_all || p.record.places[block].successor == r;
    if (r != p.rank && p.record.has(r) && is_holder) p.behind_since.try_emplace({r, block}, p.sent[r]);
  }
}

// ---- steps ----

std::uint64_t Simulation::result_of(Side table, SweepClock clock, BlockId block,
                                    const std::function<std::uint64_t(BlockId)>& read) const {
  std::uint64_t value = mix(mix(scenario_.seed, block), clock);
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    if (blocks_[b].table != table) value = mix(value, read(b));
  }
  return value;
}

std::uint64_t Simulation::serial_value(Side table, SweepClock clock, BlockId block) {
  if (clock == 0) return 0;
  const std::size_t index = 2 * std::size_t{clock} + (table == Side::kUsers ? 1 : 0);
  if (serial_.size() <= index) serial_.resize(index + 1);
  if (serial_[index].empty()) {
    std::vector<std::uint64_t> values(blocks_.size());
    for (BlockId b = 0; b < blocks_.size(); ++b) {
      if (blocks_[b].table != table) continue;
      values[b] = result_of(table, clock, b, [&](BlockId other) {
        const bool is_item = blocks_[other].table == Side::kItems;
        return serial_value(blocks_[other].table, is_item ? clock : clock - 1, other);
      });
    }
    serial_[index] = std::move(values);
  }
  return serial_[index][block];
}

void Simulation::check_reads(Process& p, const BlockStep& step) {
  const Side table = p.node.reads(step);
  const TableLevel level = p.node.level(step);
  const SweepClock need = p.node.need(step);
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    const bool is_read = scenario_.is_adding ? std::ranges::count(step.blocks, b) > 0 : blocks_[b].table == table;
    if (!is_read) continue;
    const Contents& view = p.state[b];
    SweepClock clock = view.sweep;
    if (scenario_.is_adding) {
      clock = std::numeric_limits<SweepClock>::max();
      for (Rank w = 0; w < scenario_.ranks; ++w) {
        if (w != p.rank && p.record.has(w)) clock = std::min(clock, view.clock_of(w));
      }
      const Part* own = view.find(p.rank, p.incarnation);
      std::int64_t seen = own != nullptr ? own->sum : 0;
      if (p.node.replicator().shows_sealed(b)) seen += p.sealed[b].sum;
      if (p.node.replicator().has_open(b)) seen += p.open[b].sum;
      if (seen != p.written[b] && !oracle_.may_miss(b, p.rank, p.incarnation, 1)) {
        oracle_.fail(
            fmt::format("{} sees {} of its own writes to block {}, which are {}", p.name(), seen, b, p.written[b]));
      }
    }
    if (level.level == Level::kBounded && lag_of(need, clock) > level.max_lag) {
      oracle_.fail(fmt::format("{} reads block {} with lag {} at a bound of {}", p.name(), b, lag_of(need, clock),
                               level.max_lag));
    }
    // Who has been expelled works on for nobody.
    const bool is_member = record_.members[p.rank] == p.incarnation;
    if (level.level == Level::kStrong && clock != need && is_member && !oracle_.has_lost()) {
      oracle_.fail(
          fmt::format("{} reads block {} of sweep {} where the serial schedule shows {}", p.name(), b, clock, need));
    }
  }
}

void Simulation::begin_step(const std::shared_ptr<Process>& process, const BlockStep& step) {
  Process& p = *process;
  log(fmt::format("{} begins sweep {} of {}, block {} and {} more", p.name(), step.clock,
                  step.table == Side::kItems ? "items" : "users", step.blocks.front(), step.blocks.size() - 1));
  check_reads(p, step);
  if (p.training) p.training->step(step, p.node.replicator());
  for (const BlockId b : step.blocks) {
    const std::uint64_t value =
        result_of(step.table, step.clock, b, [&](BlockId other) { return p.state[other].value; });
    p.results[b] = {value, step.clock, {}, false};
    // What another life of this rank writes in the same sweep is something else.
    p.increments[b] = static_cast<std::int64_t>(mix(mix(value, p.rank), p.incarnation) % 1'000'003);
    const bool is_serial = !scenario_.is_adding && !scenario_.change && !oracle_.has_lost() && !has_damage_ &&
                           record_.members[p.rank] == p.incarnation && scenario_.levels[0].level == Level::kStrong &&
                           scenario_.levels[1].level == Level::kStrong;
    if (is_serial && value != serial_value(step.table, step.clock, b)) {
      oracle_.fail(fmt::format("{} computes block {} in sweep {} to what the serial schedule does not", p.name(), b,
                               step.clock));
    }
  }
  Ticks lasts = scenario_.step / 2 + random_.below(scenario_.step) + 1;
  if (p.slow_until > now_) lasts *= p.slow_factor;
  in_process(now_ + lasts, process, [this, process](Process&) {
    act(process, nullptr, [&](AsynchronousEffects& out) { process->node.step_finished(out); });
  });
}

}  // namespace concerto::sim
