// What is sent to whom, when. For each peer two queues of blocks: of small messages, which always may be sent, and of
// states and deltas, for which there is a window. A queue holds what is to be said about, not what to say: that is made
// up when a block's turn comes.
#include "replicator_impl.hpp"

namespace concerto {

void Replicator::Impl::mark(Rank peer, BlockId block, std::uint8_t bits) {
  if (peer == options_.self) return;
  at(peer, block).pending |= bits;
  queue_if_waiting(peer, block);
}

void Replicator::Impl::queue_if_waiting(Rank peer, BlockId block) {
  PeerBlock& pb = at(peer, block);
  Peer& p = peers_[peer];
  if ((pb.pending & kControlBits) != 0 && !pb.is_queued_control) {
    pb.is_queued_control = true;
    p.control.push(block);
  }
  // What is in flight is answered before the next of its kind is sent: one put a block, however slow the peer.
  const auto sendable = static_cast<std::uint8_t>(pb.pending & kDataBits & ~pb.in_flight);
  if (sendable != 0 && pb.is_queued_data && planted(Bug::kAppendToQueue)) p.data.move_to_end(block);
  if (sendable != 0 && !pb.is_queued_data) {
    pb.is_queued_data = true;
    p.data.push(block);
  }
  if (!p.is_touched) {
    p.is_touched = true;
    touched_.push_back(peer);
  }
}

void Replicator::Impl::flush(ReplicaEffects& out) {
  for (std::size_t i = 0; i < touched_.size(); ++i) {
    peers_[touched_[i]].is_touched = false;
    pump(touched_[i], out);
  }
  touched_.clear();
}

void Replicator::Impl::pump(Rank peer, ReplicaEffects& out) {
  Peer& p = peers_[peer];
  if (p.connected == 0 || is_expelled_) return;
  while (!p.control.is_empty()) {
    const BlockId block = p.control.front();
    p.control.pop();
    PeerBlock& pb = at(peer, block);
    pb.is_queued_control = false;
    const auto bits = static_cast<std::uint8_t>(pb.pending & kControlBits);
    pb.pending &= static_cast<std::uint8_t>(~kControlBits);
    send_control(peer, block, bits, out);
  }
  while (!p.data.is_empty()) {
    const BlockId block = p.data.front();
    const std::uint64_t bytes = blocks_[block].what.bytes;
    if (p.in_flight_bytes > 0 && p.in_flight_bytes + bytes > options_.window_bytes) break;
    p.data.pop();
    at(peer, block).is_queued_data = false;
    send_data(peer, block, out);
  }
}

void Replicator::Impl::send_control(Rank peer, BlockId block, std::uint8_t bits, ReplicaEffects& out) {
  const Block& b = blocks_[block];
  if ((bits & kFenceBit) != 0 && b.role == Role::kTakingOver) {
    send(peer, block, ReplicaMessageKind::kFence, out).term = b.term;
  }
  if ((bits & kFetchBit) != 0 && b.role == Role::kTakingOver && b.fetching_from == peer) {
    ReplicaMessage& message = send(peer, block, ReplicaMessageKind::kFetch, out);
    message.term = b.term;
    message.version = at(peer, block).acked;
  }
  if ((bits & kStatusBit) != 0) send_status(peer, block, out);
}

void Replicator::Impl::send_data(Rank peer, BlockId block, ReplicaEffects& out) {
  PeerBlock& pb = at(peer, block);
  const auto bits = static_cast<std::uint8_t>(pb.pending & kDataBits & ~pb.in_flight);
  pb.pending &= static_cast<std::uint8_t>(~bits);
  std::uint8_t sent = 0;
  if ((bits & kPutBit) != 0 && send_state_of(peer, block, ReplicaMessageKind::kPut, out)) sent |= kPutBit;
  if ((bits & kStateBit) != 0 && send_state_of(peer, block, ReplicaMessageKind::kState, out)) sent |= kStateBit;
  if ((bits & kDeltaBit) != 0 && send_delta(peer, block, out)) sent |= kDeltaBit;
  for (const std::uint8_t kind : {kPutBit, kStateBit, kDeltaBit}) {
    if ((sent & kind) != 0) peers_[peer].in_flight_bytes += blocks_[block].what.bytes;
  }
  pb.in_flight |= sent;
}

void Replicator::Impl::answered(Rank peer, BlockId block, std::uint8_t bits) {
  PeerBlock& pb = at(peer, block);
  for (const std::uint8_t kind : {kPutBit, kStateBit, kDeltaBit}) {
    if ((bits & pb.in_flight & kind) == 0) continue;
    if (!planted(Bug::kWindowNeverFreed)) peers_[peer].in_flight_bytes -= blocks_[block].what.bytes;
  }
  pb.in_flight &= static_cast<std::uint8_t>(~bits);
  queue_if_waiting(peer, block);
}

ReplicaMessage& Replicator::Impl::send(Rank peer, BlockId block, ReplicaMessageKind kind, ReplicaEffects& out) {
  ReplicaEffect& effect = out.list.emplace_back();
  effect.kind = ReplicaEffectKind::kSend;
  effect.block = block;
  effect.peer = peer;
  effect.message.kind = kind;
  effect.message.block = block;
  return effect.message;
}

void Replicator::Impl::send_status(Rank peer, BlockId block, ReplicaEffects& out) {
  const Block& b = blocks_[block];
  PeerBlock& pb = at(peer, block);
  ReplicaMessage& message = send(peer, block, ReplicaMessageKind::kStatus, out);
  message.answers_put = (pb.answers & kAnswersPut) != 0;
  message.answers_delta = (pb.answers & kAnswersDelta) != 0;
  message.answers_fence = (pb.answers & kAnswersFence) != 0;
  message.asks = (pb.answers & kAsks) != 0;
  message.carries_digest = (pb.answers & kDigest) != 0;
  pb.answers = 0;
  // Deltas are taken only of the life that is in the run, so to another this rank is no owner yet.
  message.is_owner = b.role == Role::kOwner && peers_[peer].member == peers_[peer].connected;
  message.term = b.term;
  message.version = b.version;
  message.writer = entry(block, peer);
  const bool is_stable = b.role == Role::kOwner &&
                         (merged_at(block, peer) <= b.stable.serial || planted(Bug::kAckBeforeStable)) &&
                         b.stable.term == b.version.term;
  message.stable =
      is_stable || (planted(Bug::kAckBeforeStable) && b.role == Role::kOwner) ? message.writer.sequence : 0;
}

/// Whether there was anything to send.
bool Replicator::Impl::send_state_of(Rank peer, BlockId block, ReplicaMessageKind kind, ReplicaEffects& out) {
  const Block& b = blocks_[block];
  PeerBlock& pb = at(peer, block);
  const bool is_put = kind == ReplicaMessageKind::kPut;
  const bool may_put = b.role == Role::kOwner || (planted(Bug::kRepairFromAnyone) && pb.is_forced);
  if (is_put && (!may_put || (pb.acked >= b.version && !pb.is_forced))) return false;
  if (!is_put && b.owner != peer) return false;
  ReplicaMessage& message = send(peer, block, kind, out);
  message.is_forced = is_put && pb.is_forced;
  pb.is_forced = false;
  message.term = b.term;
  message.version = b.version;
  message.clock = b.clock;
  out.list.back().frontier = static_cast<std::uint32_t>(out.frontiers.size());
  for (const FrontierEntry& e : frontier(block)) {
    out.frontiers.push_back(planted(Bug::kForgetFrontier) && !is_put ? FrontierEntry{} : e);
  }
  return true;
}

bool Replicator::Impl::send_delta(Rank peer, BlockId block, ReplicaEffects& out) {
  Block& b = blocks_[block];
  if (b.role == Role::kOwner || b.owner != peer) return false;
  if (b.sealed_sequence == 0) {
    if (!b.has_open) return false;
    b.sealed_sequence = planted(Bug::kReuseSequence) && b.next_sequence > 1 ? b.next_sequence - 1 : b.next_sequence;
    ++b.next_sequence;
    b.sealed_clock = b.open_clock;
    b.sealed_from = b.open_from;
    b.has_open = false;
    report(ReplicaEffectKind::kSeal, options_.self, block, out);
    out.list.back().message.writer = {options_.incarnation, b.sealed_sequence, b.sealed_clock};
  } else if (contains_sealed(b, entry(block, options_.self))) {
    return false;  // merged; it only has to become stable
  }
  ReplicaMessage& message = send(peer, block, ReplicaMessageKind::kDelta, out);
  message.term = b.term;
  message.version = computed_from(b.sealed_from, b.sealed_sequence);
  message.writer = {options_.incarnation, b.sealed_sequence, b.sealed_clock};
  return true;
}

void Replicator::Impl::meet_life(Rank peer, Incarnation incarnation) {
  Peer& p = peers_[peer];
  if (incarnation <= p.known) return;
  p.known = incarnation;
  if (planted(Bug::kStaleAcknowledgement)) return;
  for (BlockId b = 0; b < blocks_.size(); ++b) at(peer, b) = {};
  p.control.clear();
  p.data.clear();
  p.in_flight_bytes = 0;
}

void Replicator::Impl::greet(Rank peer) {
  if (peers_[peer].connected == 0 || planted(Bug::kForgetLostMessages)) return;
  for (BlockId block = 0; block < blocks_.size(); ++block) {
    const Block& b = blocks_[block];
    PeerBlock& pb = at(peer, block);
    if (b.role == Role::kOwner && is_member(peer) && is_holder(peer, block) && pb.acked < b.version) {
      mark(peer, block, kPutBit);
    }
    // A writer whose delta came before its life was in the record was refused, and waits to hear of the owner.
    if (b.role == Role::kOwner && b.what.has_many_writers) mark(peer, block, kStatusBit);
    if (b.role == Role::kTakingOver && is_member(peer)) {
      if (!pb.has_answered_fence) mark(peer, block, kFenceBit);
      if (b.fetching_from == peer) mark(peer, block, kFetchBit);
    }
    if (b.owner == peer) {
      pb.answers |= kAsks;
      mark(peer, block, kStatusBit);
    }
  }
}

}  // namespace concerto
