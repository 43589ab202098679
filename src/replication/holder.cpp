// What a holder does: take puts, refuse those of former owners, say what it has.
#include "replicator_impl.hpp"

namespace concerto {

bool Replicator::Impl::is_newer(const Version& a, const Version& b) const noexcept {
  if (planted(Bug::kCompareSerials)) return a.serial > b.serial;
  if (planted(Bug::kEqualIsDifferent)) return a >= b;
  return a > b;
}

void Replicator::Impl::learn_term(BlockId block, Term term, Rank owner, ReplicaEffects& out) {
  Block& b = blocks_[block];
  // Of a term one may have heard before one hears whose it is.
  if (term == b.term && b.owner == kNoRank) b.owner = owner;
  if (term <= b.term) return;
  if (b.role == Role::kOwner) ++ownership_changes_;
  if (b.role != Role::kHolder && owner != options_.self) report(ReplicaEffectKind::kFenced, owner, block, out);
  b.role = Role::kHolder;
  b.fetching_from = kNoRank;
  b.term = term;
  b.owner = owner;
}

void Replicator::Impl::install(const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                               ReplicaEffects& out) {
  Block& b = blocks_[message.block];
  ReplicaEffect& effect = out.list.emplace_back();
  effect.kind = ReplicaEffectKind::kInstall;
  effect.block = message.block;
  effect.message = message;
  b.version = message.version;
  b.clock = message.clock;
  for (Rank w = 0; w < options_.ranks; ++w) entry(message.block, w) = frontier[w];
  drop_sealed_if_over(message.block, out);
}

void Replicator::Impl::on_put(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                              ReplicaEffects& out) {
  const BlockId block = message.block;
  Block& b = blocks_[block];
  at(peer, block).answers |= kAnswersPut;
  mark(peer, block, kStatusBit);
  learn_term(block, message.term, peer, out);
  if (message.term < b.term && !planted(Bug::kIgnorePutTerm)) return;
  if (b.role != Role::kHolder) return;
  const bool repairs = message.is_forced && message.version == b.version;
  if (is_newer(message.version, b.version) || repairs) {
    install(message, frontier, out);
  }
  offer(block);
}

void Replicator::Impl::on_fence(Rank peer, const ReplicaMessage& message, ReplicaEffects& out) {
  const BlockId block = message.block;
  mark(peer, block, kStatusBit);
  if (message.term < blocks_[block].term) return;  // the status says so
  if (!planted(Bug::kIgnoreFence)) learn_term(block, message.term, peer, out);
  at(peer, block).answers |= kAnswersFence;
}

void Replicator::Impl::on_fetch(Rank peer, const ReplicaMessage& message) {
  const Block& b = blocks_[message.block];
  mark(peer, message.block, message.term == b.term && b.owner == peer ? kStateBit : kStatusBit);
}

void Replicator::Impl::on_status(Rank peer, const ReplicaMessage& message, ReplicaEffects& out) {
  const BlockId block = message.block;
  Block& b = blocks_[block];
  PeerBlock& pb = at(peer, block);
  std::uint8_t answers = 0;
  if (message.answers_put) answers |= kPutBit | kStateBit;
  if (message.answers_delta) answers |= kDeltaBit;
  answered(peer, block, answers);
  if (message.asks) mark(peer, block, kStatusBit);
  learn_term(block, message.term, message.is_owner ? peer : kNoRank, out);
  if (pb.acked < message.version) pb.acked = message.version;
  compare_with(peer, message, out);
  if (message.answers_fence && message.term == b.term) pb.has_answered_fence = true;
  if (b.role == Role::kOwner) {
    on_replica(peer, message);
  } else if (b.role == Role::kTakingOver) {
    go_on_taking_over(block, out);
  } else if (message.is_owner && message.term == b.term) {
    hear_owner(block, message.writer, message.stable, out);
  }
}

}  // namespace concerto
