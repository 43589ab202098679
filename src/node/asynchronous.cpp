// Work by clocks, permission by level, and the end of a run.
#include "concerto/node/asynchronous.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

/// Digests that a tick asks for.
constexpr std::uint32_t kComparedATick = 4;
constexpr SweepClock kNoClock = std::numeric_limits<SweepClock>::max();

}  // namespace

AsynchronousNode::AsynchronousNode(AsynchronousOptions options, std::span<const ReplicatedBlock> blocks)
    : options_(std::move(options)),
      blocks_(blocks.begin(), blocks.end()),
      replicator_(options_.replicator, blocks),
      members_(options_.replicator.ranks),
      completed_(options_.replicator.ranks) {
  levels_.push_back({0, options_.levels});
  CONCERTO_CHECK(options_.weights.size() == blocks.size(), "a weight for each block");
  CONCERTO_CHECK(options_.blocks_per_step > 0, "a step has a block");
  std::vector<BlockId> added_to;
  for (BlockId b = 0; b < blocks.size(); ++b) {
    if (!options_.is_adding || blocks_[b].has_many_writers) total_weight_ += options_.weights[b];
    if (options_.is_adding && blocks_[b].has_many_writers) added_to.push_back(b);
  }
  // Ranks that add begin at different blocks, so that few of them write to one at a time.
  if (!added_to.empty()) first_ = added_to[added_to.size() * options_.replicator.self / options_.replicator.ranks];
}

// ---- events ----

void AsynchronousNode::membership(const Membership& record, AsynchronousEffects& out) {
  if (record.epoch <= record_) return;
  replicator_.membership(record, out.replica);
  if (!replicator_.is_member()) return;
  record_ = record.epoch;
  members_ = record.members;
  std::ranges::fill(completed_, RunPhase::kTraining);
  // What was finished is so whoever goes or comes; anything less is looked at anew.
  if (phase_ != RunPhase::kFinished) {
    reported_ = RunPhase::kTraining;
    phase_ = std::min(phase_, RunPhase::kDraining);
  }
  waits_for_.reset();
  // The coordinator may be new and not know that the run is ending, or this rank may be, and it answers.
  report(out);
  go_on(out);
  if (is_coordinator()) direct(kNoRank, out);
}

void AsynchronousNode::connected(Rank peer, Incarnation incarnation, AsynchronousEffects& out) {
  replicator_.connected(peer, incarnation, out.replica);
  if (record_ == 0) return;
  if (is_coordinator()) {
    direct(peer, out);
  } else if (peer == coordinator()) {
    report(out);
  }
}

void AsynchronousNode::disconnected(Rank peer) {
  replicator_.disconnected(peer);
}

bool AsynchronousNode::received(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                                AsynchronousEffects& out) {
  const bool is_sound = replicator_.received(peer, message, frontier, out.replica);
  go_on(out);
  return is_sound;
}

void AsynchronousNode::received(Rank peer, const RunMessage& message, AsynchronousEffects& out) {
  if (message.record != record_) return;
  if (message.is_directive) {
    if (peer == coordinator() && message.phase > phase_) enter(message.phase, out);
    report(out);
  } else if (is_coordinator()) {
    completed_[peer] = std::max(completed_[peer], message.complete);  // a late report says less
    if (phase_ == RunPhase::kTraining && message.phase > phase_) enter(RunPhase::kDraining, out);
    if (message.phase < phase_) direct(peer, out);
  }
  go_on(out);
}

void AsynchronousNode::step_finished(AsynchronousEffects& out) {
  CONCERTO_CHECK(running_.has_value(), "a step finished that was not begun");
  const BlockStep step = *std::exchange(running_, std::nullopt);
  for (const BlockId b : step.blocks) {
    if (blocks_[b].has_many_writers) {
      // While it worked, this rank may have learnt that an earlier life had done so much and more, or that what it had
      // done before is lost; then this is not what comes next.
      if (replicator_.written(b) + 1 == step.clock) replicator_.wrote(b, step.clock, out.replica);
    } else if (replicator_.owns(b) && replicator_.clock(b) < step.clock) {
      replicator_.published(b, step.clock, out.replica);
    }
  }
  if (options_.is_adding) publish_own_users(out);
  go_on(out);
}

void AsynchronousNode::digest_compared(Rank peer, BlockId block, const Version& version, bool is_equal,
                                       AsynchronousEffects& out) {
  replicator_.digest_compared(peer, block, version, is_equal, out.replica);
}

void AsynchronousNode::tick(AsynchronousEffects& out) {
  replicator_.compare_digests(kComparedATick, out.replica);
  go_on(out);
}

void AsynchronousNode::end_training(AsynchronousEffects& out) {
  if (phase_ != RunPhase::kTraining || record_ == 0) return;
  if (is_coordinator()) {
    enter(RunPhase::kDraining, out);
    go_on(out);
  } else {
    out.sends.push_back({coordinator(), {false, record_, RunPhase::kDraining, RunPhase::kTraining}});
  }
}

SweepClock AsynchronousNode::hold_before(SweepClock clock) {
  SweepClock begun = begun_;
  for (BlockId b = 0; b < blocks_.size(); ++b) begun = std::max(begun, replicator_.clock(b));
  if (begun < clock) hold_ = clock;
  return begun;
}

void AsynchronousNode::change_level(Side table, const TableLevel& level, SweepClock clock, AsynchronousEffects& out) {
  Levels changed = levels_.back();
  changed.first = std::max(clock, changed.first);
  changed.tables[static_cast<std::size_t>(table)] = level;
  levels_.push_back(changed);
  release(out);
}

void AsynchronousNode::release(AsynchronousEffects& out) {
  hold_.reset();
  go_on(out);
}

// ---- what is next ----

Side AsynchronousNode::reads(const BlockStep& step) const noexcept {
  if (options_.is_adding) return Side::kItems;
  return step.table == Side::kItems ? Side::kUsers : Side::kItems;
}

SweepClock AsynchronousNode::need(const BlockStep& step) const noexcept {
  const bool reads_this_sweep = !options_.is_adding && step.table == Side::kUsers;
  return reads_this_sweep ? step.clock : step.clock - 1;
}

TableLevel AsynchronousNode::level_in(const Levels& levels, Side table) noexcept {
  const bool is_strong = levels.tables[0].level == Level::kStrong || levels.tables[1].level == Level::kStrong;
  return is_strong ? TableLevel{Level::kStrong, 0} : levels.tables[static_cast<std::size_t>(table)];
}

TableLevel AsynchronousNode::level(const BlockStep& step) const noexcept {
  std::size_t last = levels_.size() - 1;
  while (levels_[last].first > step.clock) --last;
  return level_in(levels_[last], reads(step));
}

TableLevel AsynchronousNode::permission(const BlockStep& step) const noexcept {
  TableLevel strictest = level(step);
  for (std::size_t i = 1; i < levels_.size(); ++i) {
    if (levels_[i].first != step.clock) continue;
    const TableLevel before = level_in(levels_[i - 1], reads(step));
    const bool is_stricter =
        before.level < strictest.level || (before.level == strictest.level && before.max_lag < strictest.max_lag);
    if (is_stricter) strictest = before;
  }
  return strictest;
}

bool AsynchronousNode::is_mine_to_do(BlockId block) const noexcept {
  return options_.is_adding ? blocks_[block].has_many_writers : replicator_.owns(block);
}

SweepClock AsynchronousNode::due(BlockId block) const noexcept {
  return (options_.is_adding ? replicator_.written(block) : replicator_.clock(block)) + 1;
}

std::optional<BlockStep> AsynchronousNode::next_step() const {
  const auto count = static_cast<BlockId>(blocks_.size());
  std::uint64_t lowest = std::numeric_limits<std::uint64_t>::max();
  BlockStep step;
  for (BlockId i = 0; i < count; ++i) {
    const BlockId b = (first_ + i) % count;
    if (!is_mine_to_do(b)) continue;
    // Items before users.
    const std::uint64_t order = std::uint64_t{due(b)} * 2 + (blocks_[b].table == Side::kUsers ? 1 : 0);
    if (order < lowest) {
      lowest = order;
      step.blocks.clear();
      step.table = blocks_[b].table;
      step.clock = due(b);
    }
    if (order == lowest && step.blocks.size() < options_.blocks_per_step) step.blocks.push_back(b);
  }
  if (step.blocks.empty()) return std::nullopt;
  return step;
}

void AsynchronousNode::go_on(AsynchronousEffects& out) {
  end_if_due(out);
  if (running_ || phase_ != RunPhase::kTraining || !replicator_.is_member()) return;
  const bool owns_the_same = waits_since_ == replicator_.ownership_changes();
  if (waits_for_ && owns_the_same && replicator_.clock(*waits_for_) == waits_at_) return;
  waits_for_.reset();
  auto step = next_step();
  if (!step || (hold_ && step->clock >= *hold_)) return;
  // Strong is the serial run to its last sweep; the others go on until all together have done enough.
  if (level(*step).level == Level::kStrong && step->clock > options_.epochs) return;
  if (const auto waits = first_lagging(*step)) {
    waits_for_ = waits;
    // Strong waits for more than clocks: it is asked at every event.
    waits_at_ = permission(*step).level == Level::kStrong ? kNoClock : replicator_.clock(*waits);
    waits_since_ = replicator_.ownership_changes();
    return;
  }
  begun_ = std::max(begun_, step->clock);
  if (options_.is_adding) {
    for (const BlockId b : step->blocks) replicator_.reads(b);
  }
  running_ = step;
  out.step = std::move(step);
}

/// A step that adds reads its own blocks; one that alternates, all of the other table.
std::optional<BlockId> AsynchronousNode::first_lagging(const BlockStep& step) const {
  const TableLevel allowed = permission(step);
  if (!options_.is_adding) return replicator_.first_lagging(reads(step), need(step), allowed);
  const auto lagging =
      std::ranges::find_if_not(step.blocks, [&](BlockId b) { return replicator_.may_read(b, need(step), allowed); });
  return lagging == step.blocks.end() ? std::nullopt : std::optional(*lagging);
}

/// Those whose users all have been in a whole sweep.
void AsynchronousNode::publish_own_users(AsynchronousEffects& out) {
  SweepClock complete = std::numeric_limits<SweepClock>::max();
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    if (blocks_[b].has_many_writers) complete = std::min(complete, replicator_.written(b));
  }
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    if (blocks_[b].has_many_writers || !replicator_.owns(b) || replicator_.clock(b) >= complete) continue;
    replicator_.published(b, complete, out.replica);
  }
}

// ---- the end ----

Rank AsynchronousNode::coordinator() const noexcept {
  const auto first = std::ranges::find_if(members_, [](Incarnation i) { return i != 0; });
  return first == members_.end() ? kNoRank : static_cast<Rank>(first - members_.begin());
}

/// Enough in the mean; and nothing is left as it was drawn, however slow the rank that is to work on it.
bool AsynchronousNode::has_trained_enough() const noexcept {
  std::uint64_t done = 0;
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    if (options_.is_adding && !blocks_[b].has_many_writers) continue;
    if (replicator_.clock(b) == 0) return false;
    if (!options_.is_adding) {
      done += options_.weights[b] * replicator_.clock(b);
      continue;
    }
    // Of many writers: the mean of theirs.
    std::uint64_t sum = 0;
    std::uint64_t writers = 0;
    for (Rank w = 0; w < members_.size(); ++w) {
      if (members_[w] == 0) continue;
      sum += replicator_.frontier(b)[w].clock;
      ++writers;
    }
    done += options_.weights[b] * sum / std::max<std::uint64_t>(writers, 1);
  }
  return done >= total_weight_ * options_.epochs;
}

/// Whether all that `phase` asks of this rank is done.
bool AsynchronousNode::has_completed(RunPhase phase) const noexcept {
  switch (phase) {
    case RunPhase::kTraining:
      return true;
    case RunPhase::kDraining:
      return !running_ && replicator_.is_drained();
    case RunPhase::kSettling:
      return replicator_.is_settled();
    case RunPhase::kFinished:
      return false;
  }
  return false;
}

void AsynchronousNode::end_if_due(AsynchronousEffects& out) {
  if (!replicator_.is_member() || phase_ == RunPhase::kFinished) return;
  if (phase_ == RunPhase::kTraining) {
    if (is_coordinator() && !running_ && has_trained_enough()) enter(RunPhase::kDraining, out);
    return;
  }
  if (reported_ < phase_ && has_completed(phase_)) {
    reported_ = phase_;
    report(out);
  }
  if (!is_coordinator()) return;
  const bool is_complete = [&] {
    for (Rank r = 0; r < members_.size(); ++r) {
      if (members_[r] != 0 && completed_[r] < phase_) return false;
    }
    return true;
  }();
  if (is_complete) enter(phase_ == RunPhase::kDraining ? RunPhase::kSettling : RunPhase::kFinished, out);
}

void AsynchronousNode::report(AsynchronousEffects& out) {
  if (is_coordinator()) {
    completed_[options_.replicator.self] = reported_;
  } else {
    out.sends.push_back({coordinator(), {false, record_, phase_, reported_}});
  }
}

void AsynchronousNode::direct(Rank whom, AsynchronousEffects& out) {
  if (phase_ == RunPhase::kTraining) return;
  for (Rank r = 0; r < members_.size(); ++r) {
    const bool is_meant = whom == kNoRank || whom == r;
    if (members_[r] != 0 && r != options_.replicator.self && is_meant) {
      out.sends.push_back({r, {true, record_, phase_, reported_}});
    }
  }
}

void AsynchronousNode::enter(RunPhase phase, AsynchronousEffects& out) {
  phase_ = phase;
  if (is_coordinator()) direct(kNoRank, out);
  if (phase == RunPhase::kFinished) {
    reported_ = phase;
    out.is_finished = true;
  } else {
    end_if_due(out);
  }
}

}  // namespace concerto
