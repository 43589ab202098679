// A writer's deltas, from writing to stable.
#include <algorithm>

#include "replicator_impl.hpp"

namespace concerto {

/// Whether the sealed delta is in a state of which this rank's entry is `mine`.
bool Replicator::Impl::contains_sealed(const Block& block, const FrontierEntry& mine) const noexcept {
  return mine.incarnation == options_.incarnation && mine.sequence >= block.sealed_sequence;
}

SweepClock Replicator::Impl::written(BlockId block) const noexcept {
  const Block& b = blocks_[block];
  SweepClock clock = entry(block, options_.self).clock;
  if (b.sealed_sequence != 0) clock = std::max(clock, b.sealed_clock);
  if (b.has_open) clock = std::max(clock, b.open_clock);
  return clock;
}

bool Replicator::Impl::shows_sealed(BlockId block) const noexcept {
  const Block& b = blocks_[block];
  if (b.sealed_sequence == 0 || planted(Bug::kHideSealedEarly)) return false;
  return !contains_sealed(b, entry(block, options_.self)) || planted(Bug::kShowSealedLate);
}

void Replicator::Impl::reads(BlockId block) noexcept {
  Block& b = blocks_[block];
  const FrontierEntry& mine = entry(block, options_.self);
  b.now = {b.version, mine.incarnation == options_.incarnation ? mine.sequence : 0};
}

Version Replicator::Impl::computed_from(const Read& read, std::uint64_t sequence) noexcept {
  // Each merge is one more serial; steps see their rank's own deltas whether merged or not.
  const std::uint64_t own_since = sequence - 1 - std::min(sequence - 1, read.own_sequence);
  return {read.version.term, read.version.serial + own_since};
}

bool Replicator::Impl::is_drained() const noexcept {
  return std::ranges::none_of(blocks_, [](const Block& b) { return b.sealed_sequence != 0 || b.has_open; });
}

void Replicator::Impl::wrote(BlockId block, SweepClock clock, ReplicaEffects& out) {
  Block& b = blocks_[block];
  CONCERTO_CHECK(b.what.has_many_writers, "only its owner writes this block");
  if (b.role == Role::kOwner) {
    const std::uint64_t sequence = b.next_sequence++;
    merge(ReplicaEffectKind::kMergeWritten, block, options_.self, {options_.incarnation, sequence, clock},
          computed_from(b.now, sequence), out);
  } else if (b.sealed_sequence != 0 && planted(Bug::kGrowSealed)) {
    report(ReplicaEffectKind::kAddToOpen, options_.self, block, out);
    report(ReplicaEffectKind::kSeal, options_.self, block, out);
    out.list.back().message.writer = {options_.incarnation, b.sealed_sequence, b.sealed_clock = clock};
  } else {
    report(ReplicaEffectKind::kAddToOpen, options_.self, block, out);
    if (!b.has_open) b.open_from = b.now;
    b.has_open = true;
    b.open_clock = clock;
    offer(block);
  }
  flush(out);
}

/// Sends the owner what it has not: the sealed delta, or where there is none the open one.
void Replicator::Impl::offer(BlockId block) {
  const Block& b = blocks_[block];
  if (b.role == Role::kOwner || b.owner == kNoRank || b.owner == options_.self) return;
  const bool is_due = b.sealed_sequence != 0 ? !contains_sealed(b, entry(block, options_.self)) : b.has_open;
  if (is_due && (at(b.owner, block).in_flight & kDeltaBit) == 0) mark(b.owner, block, kDeltaBit);
}

/// The owner has said how far it has merged and what of it is stable.
void Replicator::Impl::hear_owner(BlockId block, const FrontierEntry& mine, std::uint64_t stable, ReplicaEffects& out) {
  Block& b = blocks_[block];
  if (b.sealed_sequence != 0 && contains_sealed(b, mine)) {
    if (stable >= b.sealed_sequence || planted(Bug::kDropSealedEarly)) b.is_sealed_stable = true;
    drop_sealed_if_over(block, out);
    if (b.sealed_sequence != 0) return;  // merged; not stable yet, or not here
  }
  if (!planted(Bug::kForgetRedirect) || b.sealed_sequence == 0) offer(block);
}

void Replicator::Impl::drop_sealed_if_over(BlockId block, ReplicaEffects& out) {
  Block& b = blocks_[block];
  if (b.sealed_sequence == 0 || !b.is_sealed_stable) return;
  if (!contains_sealed(b, entry(block, options_.self)) && !planted(Bug::kDropSealedUnseen)) return;
  report(ReplicaEffectKind::kDropSealed, options_.self, block, out);
  out.list.back().message.writer = {options_.incarnation, b.sealed_sequence, b.sealed_clock};
  b.sealed_sequence = 0;
  b.is_sealed_stable = false;
  if (planted(Bug::kForgetOpen)) b.has_open = false;
  offer(block);
}

}  // namespace concerto
