// What an owner does: publish, merge, learn what its holders have, repair.
#include <algorithm>

#include "replicator_impl.hpp"

namespace concerto {

void Replicator::Impl::report(ReplicaEffectKind kind, Rank peer, BlockId block, ReplicaEffects& out) {
  ReplicaEffect& effect = out.list.emplace_back();
  effect.kind = kind;
  effect.block = block;
  effect.peer = peer;
  effect.message.block = block;
  effect.message.term = blocks_[block].term;
  effect.message.version = blocks_[block].version;
}

void Replicator::Impl::put_to_holders(BlockId block) {
  for_each_other_member([&](Rank r) {
    if (is_holder(r, block)) mark(r, block, kPutBit);
  });
  if (blocks_[block].successor == kNoRank) advance_stable(block, blocks_[block].version);
}

void Replicator::Impl::published(BlockId block, SweepClock clock, ReplicaEffects& out) {
  Block& b = blocks_[block];
  CONCERTO_CHECK(b.role == Role::kOwner && !b.what.has_many_writers, "a block is published by its owner");
  ++b.version.serial;
  b.clock = clock;
  report(ReplicaEffectKind::kReplace, options_.self, block, out);
  out.list.back().message.clock = clock;
  put_to_holders(block);
  flush(out);
}

void Replicator::Impl::merge(ReplicaEffectKind kind, BlockId block, Rank writer, const FrontierEntry& delta,
                             const Version& from, ReplicaEffects& out) {
  Block& b = blocks_[block];
  entry(block, writer) = delta;
  const std::uint64_t seen = from.term == b.version.term ? std::min(from.serial, b.version.serial) : 0;
  const std::uint64_t unseen = b.version.serial - seen;
  ++b.version.serial;
  merged_at(block, writer) = b.version.serial;
  report(kind, writer, block, out);
  out.list.back().message.writer = delta;
  out.list.back().unseen = static_cast<std::uint32_t>(unseen);
  put_to_holders(block);
}

void Replicator::Impl::on_delta(Rank peer, const ReplicaMessage& message, ReplicaEffects& out) {
  Block& b = blocks_[message.block];
  at(peer, message.block).answers |= kAnswersDelta;
  mark(peer, message.block, kStatusBit);
  const bool owns = b.role == Role::kOwner || (b.role == Role::kTakingOver && planted(Bug::kAcceptWhileTakingOver));
  const FrontierEntry& delta = message.writer;
  const bool is_member_life = delta.incarnation == peers_[peer].member || planted(Bug::kIgnoreIncarnation);
  if (!owns || !b.what.has_many_writers || message.term != b.term || !is_member_life) return;
  const FrontierEntry& known = entry(message.block, peer);
  const bool is_same_life = known.incarnation == delta.incarnation;
  const std::uint64_t last = is_same_life ? known.sequence : 0;
  if (delta.sequence <= last && !planted(Bug::kMergeTwice)) return;  // its answer was lost
  if (delta.sequence > last + 1) {
    report(ReplicaEffectKind::kLostDeltas, peer, message.block, out);
    out.list.back().message.writer = {delta.incarnation, delta.sequence - 1, known.clock};
  }
  merge(ReplicaEffectKind::kMergeReceived, message.block, peer, delta, message.version, out);
}

/// What a holder says that it has.
void Replicator::Impl::on_replica(Rank peer, const ReplicaMessage& message) {
  const BlockId block = message.block;
  Block& b = blocks_[block];
  PeerBlock& pb = at(peer, block);
  if (message.version < b.version && is_holder(peer, block) && is_member(peer)) {
    mark(peer, block, kPutBit);
  }
  if (peer == b.successor || planted(Bug::kAckOfAnyHolder)) advance_stable(block, pb.acked);
}

void Replicator::Impl::compare_with(Rank peer, const ReplicaMessage& message, ReplicaEffects& out) {
  const Block& b = blocks_[message.block];
  if (b.role != Role::kOwner && !planted(Bug::kRepairFromAnyone)) return;
  if (!message.carries_digest || message.version != b.version) return;
  ReplicaEffect& effect = out.list.emplace_back();
  effect.kind = ReplicaEffectKind::kCompareDigest;
  effect.block = message.block;
  effect.peer = peer;
  effect.message = message;
}

/// The successor has `version`: writers whose last delta that makes stable are told.
void Replicator::Impl::advance_stable(BlockId block, const Version& version) {
  Block& b = blocks_[block];
  if (version.term != b.version.term || version <= b.stable) return;
  const std::uint64_t before = b.stable.term == version.term ? b.stable.serial : 0;
  b.stable = version;
  for_each_other_member([&](Rank w) {
    const std::uint64_t since = merged_at(block, w);
    if (since > before && since <= version.serial) mark(w, block, kStatusBit);
  });
}

/// Stability is with the new one, from what it is known to hold.
void Replicator::Impl::successor_changed(BlockId block) {
  Block& b = blocks_[block];
  b.stable = {};
  if (b.successor == kNoRank) {
    advance_stable(block, b.version);
  } else {
    advance_stable(block, at(b.successor, block).acked);
  }
}

void Replicator::Impl::compare_digests(std::uint32_t blocks, ReplicaEffects& out) {
  for (std::uint32_t i = 0; i < blocks && !blocks_.empty(); ++i) {
    const BlockId block = next_compared_;
    next_compared_ = (next_compared_ + 1) % static_cast<BlockId>(blocks_.size());
    Rank owner = blocks_[block].owner;
    if (planted(Bug::kRepairFromAnyone)) owner = (options_.self + 1) % options_.ranks;
    if (owner == kNoRank || owner == options_.self || !is_member(owner)) continue;
    at(owner, block).answers |= kDigest;
    mark(owner, block, kStatusBit);
  }
  flush(out);
}

void Replicator::Impl::digest_compared(Rank peer, BlockId block, const Version& version, bool is_equal,
                                       ReplicaEffects& out) {
  const Block& b = blocks_[block];
  if (is_equal || b.version != version) return;
  if (b.role != Role::kOwner && !planted(Bug::kRepairFromAnyone)) return;
  report(ReplicaEffectKind::kDamaged, peer, block, out);
  PeerBlock& pb = at(peer, block);
  pb.is_forced = true;
  mark(peer, block, kPutBit);
  flush(out);
}

}  // namespace concerto
