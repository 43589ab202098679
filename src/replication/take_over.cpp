// From the record that names this rank as a block's owner to owning it: fence the older term at every member, take the
// highest version that any of them holds, publish it under the new term, and only then accept deltas.
#include "replicator_impl.hpp"

namespace concerto {

void Replicator::Impl::begin_take_over(BlockId block, ReplicaEffects& out) {
  Block& b = blocks_[block];
  b.role = Role::kTakingOver;
  b.fetching_from = kNoRank;
  for_each_other_member([&](Rank r) {
    at(r, block).has_answered_fence = false;
    mark(r, block, kFenceBit);
  });
  go_on_taking_over(block, out);
}

void Replicator::Impl::go_on_taking_over(BlockId block, ReplicaEffects& out) {
  Block& b = blocks_[block];
  bool is_complete = true;
  bool is_any = false;
  Rank best = options_.self;
  Version highest = b.version;
  for_each_other_member([&](Rank r) {
    const PeerBlock& pb = at(r, block);
    is_complete = is_complete && pb.has_answered_fence;
    is_any = is_any || pb.has_answered_fence;
    if (pb.has_answered_fence && is_newer(pb.acked, highest)) {
      best = r;
      highest = pb.acked;
    }
  });
  if (planted(Bug::kTakeOverFirstAnswer)) is_complete = is_any;
  if (planted(Bug::kTakeOverOwnCopy)) {
    is_complete = true;
    best = options_.self;
  }
  if (!is_complete) return;
  if (best == options_.self) {
    become_owner(block, out);
  } else if (b.fetching_from != best) {
    b.fetching_from = best;
    mark(best, block, kFetchBit);
  }
}

void Replicator::Impl::on_state(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                                ReplicaEffects& out) {
  Block& b = blocks_[message.block];
  at(peer, message.block).answers |= kAnswersPut;
  mark(peer, message.block, kStatusBit);
  if (b.role != Role::kTakingOver || message.term != b.term || b.fetching_from != peer) return;
  if (is_newer(message.version, b.version)) install(message, frontier, out);
  b.fetching_from = kNoRank;
  go_on_taking_over(message.block, out);
}

void Replicator::Impl::become_owner(BlockId block, ReplicaEffects& out) {
  Block& b = blocks_[block];
  b.role = Role::kOwner;
  ++ownership_changes_;
  b.owner = options_.self;
  b.fetching_from = kNoRank;
  b.version = planted(Bug::kKeepOldSerial) ? Version{b.version.term, b.version.serial + 1} : Version{b.term, 1};
  b.stable = {};
  for (Rank w = 0; w < options_.ranks; ++w) merged_at(block, w) = entry(block, w).sequence > 0 ? b.version.serial : 0;
  report(ReplicaEffectKind::kTookOver, kNoRank, block, out);
  merge_own_deltas(block, out);
  put_to_holders(block);
}

void Replicator::Impl::merge_own_deltas(BlockId block, ReplicaEffects& out) {
  Block& b = blocks_[block];
  if (b.sealed_sequence != 0) {
    const FrontierEntry delta{options_.incarnation, b.sealed_sequence, b.sealed_clock};
    const bool is_in = contains_sealed(b, entry(block, options_.self));
    if (is_in) {
      report(ReplicaEffectKind::kDropSealed, options_.self, block, out);
      out.list.back().message.writer = delta;
    } else {
      merge(ReplicaEffectKind::kMergeSealed, block, options_.self, delta, computed_from(b.sealed_from, delta.sequence),
            out);
    }
    b.sealed_sequence = 0;
    b.is_sealed_stable = false;
  }
  if (b.has_open) {
    const FrontierEntry delta{options_.incarnation, b.next_sequence++, b.open_clock};
    b.has_open = false;
    merge(ReplicaEffectKind::kMergeOpen, block, options_.self, delta, computed_from(b.open_from, delta.sequence), out);
  }
}

}  // namespace concerto
