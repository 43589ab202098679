// The contract's calls, membership and connections.
#include <algorithm>
#include <limits>

#include "replicator_impl.hpp"

namespace concerto {

Replicator::Impl::Impl(const ReplicatorOptions& options, std::span<const ReplicatedBlock> blocks)
    : options_(options),
      blocks_(blocks.size()),
      frontier_(blocks.size() * options.ranks),
      merged_at_(blocks.size() * options.ranks),
      peer_blocks_(blocks.size() * options.ranks) {
  CONCERTO_CHECK(options.self < options.ranks && options.incarnation != 0, "a rank of a run, in one of its lives");
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    CONCERTO_CHECK(!blocks[b].has_many_writers || blocks[b].is_read_by_all, "writers hold replicas");
    blocks_[b].what = blocks[b];
  }
  peers_.reserve(options.ranks);
  for (Rank r = 0; r < options.ranks; ++r) peers_.emplace_back(blocks.size());
  touched_.reserve(options.ranks);
}

void Replicator::Impl::membership(const Membership& record, ReplicaEffects& out) {
  CONCERTO_CHECK(record.members.size() == options_.ranks && record.places.size() == blocks_.size(),
                 "a record of another run");
  const Incarnation mine = record.members[options_.self];
  // Before this life is in the record it is nobody's business.
  if (record.epoch <= record_ || is_expelled_ || (mine < options_.incarnation && !is_self_member())) return;
  record_ = record.epoch;
  for (Rank r = 0; r < options_.ranks; ++r) {
    if (peers_[r].member == record.members[r]) continue;
    peers_[r].member = record.members[r];
    if (r != options_.self) meet_life(r, record.members[r]);
  }
  if (mine != options_.incarnation) {
    is_expelled_ = true;
    for (Block& block : blocks_) block.role = Role::kHolder;
    report(ReplicaEffectKind::kExpelled, options_.self, 0, out);
    return;
  }
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    Block& block = blocks_[b];
    const BlockPlace& place = record.places[b];
    const Term before = block.term;
    if (place.term > before) learn_term(b, place.term, place.owner, out);
    if (place.term == block.term) block.owner = place.owner;
    block.successor = place.successor;
    if (place.owner == options_.self && place.term == block.term && block.role == Role::kHolder) {
      if (place.term == 1) {
        block.role = Role::kOwner;  // initial values are everywhere
        ++ownership_changes_;
        successor_changed(b);
      } else {
        begin_take_over(b, out);
      }
    } else if (block.role == Role::kTakingOver) {
      go_on_taking_over(b, out);
    } else if (block.role == Role::kOwner) {
      successor_changed(b);
    }
  }
  for_each_other_member([&](Rank r) { greet(r); });
  flush(out);
}

void Replicator::Impl::connected(Rank peer, Incarnation incarnation, ReplicaEffects& out) {
  peers_[peer].connected = incarnation;
  meet_life(peer, incarnation);
  greet(peer);
  flush(out);
}

void Replicator::Impl::disconnected(Rank peer) {
  Peer& p = peers_[peer];
  p.connected = 0;
  p.in_flight_bytes = 0;
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    PeerBlock& pb = at(peer, b);
    pb.in_flight = 0;  // greet() has it sent again where that is needed
    pb.answers = 0;
  }
}

bool Replicator::Impl::received(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                                ReplicaEffects& out) {
  const bool has_frontier = message.kind == ReplicaMessageKind::kPut || message.kind == ReplicaMessageKind::kState;
  if (message.block >= blocks_.size() || peer >= options_.ranks || peer == options_.self ||
      frontier.size() != (has_frontier ? options_.ranks : 0)) {
    return false;
  }
  // An earlier life's words count no more; this one's have to wait until it is in the run.
  const bool is_past = peers_[peer].connected < peers_[peer].member && !planted(Bug::kIgnoreIncarnation);
  if (is_past || is_expelled_) return true;
  switch (message.kind) {
    case ReplicaMessageKind::kPut:
      on_put(peer, message, frontier, out);
      break;
    case ReplicaMessageKind::kDelta:
      on_delta(peer, message, out);
      break;
    case ReplicaMessageKind::kStatus:
      on_status(peer, message, out);
      break;
    case ReplicaMessageKind::kFence:
      on_fence(peer, message, out);
      break;
    case ReplicaMessageKind::kFetch:
      on_fetch(peer, message);
      break;
    case ReplicaMessageKind::kState:
      on_state(peer, message, frontier, out);
      break;
  }
  flush(out);
  return true;
}

SweepClock Replicator::Impl::clock(BlockId b) const noexcept {
  const Block& block = blocks_[b];
  if (!block.what.has_many_writers) return block.clock;
  constexpr SweepClock kNone = std::numeric_limits<SweepClock>::max();
  SweepClock least = kNone;
  SweepClock most = 0;
  for (Rank w = 0; w < options_.ranks; ++w) {
    if (!is_member(w)) continue;
    const SweepClock clock = w == options_.self ? written(b) : entry(b, w).clock;
    least = std::min(least, clock);
    most = std::max(most, clock);
  }
  if (planted(Bug::kClockOfFastest)) return most;
  return least == kNone ? 0 : least;
}

bool Replicator::Impl::may_read(BlockId b, SweepClock need, TableLevel level) const noexcept {
  if (planted(Bug::kLagOffByOne)) ++level.max_lag;
  if (level.level == Level::kEventual) return true;
  // What is computed from a block that nobody else has yet would outlive it: the serial schedule could not be resumed.
  const Block& block = blocks_[b];
  if (level.level == Level::kStrong && block.role == Role::kOwner && block.successor != kNoRank &&
      block.stable < block.version) {
    return false;
  }
  return allows(level, need, clock(b));
}

std::optional<BlockId> Replicator::Impl::first_lagging(Side table, SweepClock need,
                                                       const TableLevel& level) const noexcept {
  if (level.level == Level::kEventual) return std::nullopt;
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    if (blocks_[b].what.table == table && blocks_[b].what.is_read_by_all && !may_read(b, need, level)) return b;
  }
  return std::nullopt;
}

bool Replicator::Impl::is_settled() const noexcept {
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    if (block.role == Role::kTakingOver) return false;
    if (block.role != Role::kOwner) continue;
    for (Rank r = 0; r < options_.ranks; ++r) {
      if (r != options_.self && is_member(r) && is_holder(r, b) && at(r, b).acked < block.version) return false;
    }
  }
  return true;
}

Replicator::Replicator(const ReplicatorOptions& options, std::span<const ReplicatedBlock> blocks)
    : impl_(std::make_unique<Impl>(options, blocks)) {}
Replicator::~Replicator() = default;
Replicator::Replicator(Replicator&&) noexcept = default;
Replicator& Replicator::operator=(Replicator&&) noexcept = default;

void Replicator::membership(const Membership& record, ReplicaEffects& out) {
  impl_->membership(record, out);
}
void Replicator::connected(Rank peer, Incarnation incarnation, ReplicaEffects& out) {
  impl_->connected(peer, incarnation, out);
}
void Replicator::disconnected(Rank peer) {
  impl_->disconnected(peer);
}
bool Replicator::received(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                          ReplicaEffects& out) {
  return impl_->received(peer, message, frontier, out);
}
void Replicator::published(BlockId block, SweepClock clock, ReplicaEffects& out) {
  impl_->published(block, clock, out);
}
void Replicator::reads(BlockId block) noexcept {
  impl_->reads(block);
}
void Replicator::wrote(BlockId block, SweepClock clock, ReplicaEffects& out) {
  impl_->wrote(block, clock, out);
}
void Replicator::digest_compared(Rank peer, BlockId block, const Version& version, bool is_equal, ReplicaEffects& out) {
  impl_->digest_compared(peer, block, version, is_equal, out);
}
void Replicator::compare_digests(std::uint32_t blocks, ReplicaEffects& out) {
  impl_->compare_digests(blocks, out);
}
bool Replicator::owns(BlockId block) const noexcept {
  return impl_->blocks_[block].role == Impl::Role::kOwner;
}
Rank Replicator::owner(BlockId block) const noexcept {
  return impl_->blocks_[block].owner;
}
std::uint64_t Replicator::ownership_changes() const noexcept {
  return impl_->ownership_changes_;
}
Term Replicator::term(BlockId block) const noexcept {
  return impl_->blocks_[block].term;
}
Version Replicator::version(BlockId block) const noexcept {
  return impl_->blocks_[block].version;
}
SweepClock Replicator::clock(BlockId block) const noexcept {
  return impl_->clock(block);
}
SweepClock Replicator::written(BlockId block) const noexcept {
  return impl_->written(block);
}
bool Replicator::shows_sealed(BlockId block) const noexcept {
  return impl_->shows_sealed(block);
}
bool Replicator::has_sealed(BlockId block) const noexcept {
  return impl_->blocks_[block].sealed_sequence != 0;
}
bool Replicator::has_open(BlockId block) const noexcept {
  return impl_->blocks_[block].has_open;
}
std::span<const FrontierEntry> Replicator::frontier(BlockId block) const noexcept {
  return impl_->frontier(block);
}
bool Replicator::may_read(BlockId block, SweepClock need, const TableLevel& level) const noexcept {
  return impl_->may_read(block, need, level);
}
std::optional<BlockId> Replicator::first_lagging(Side table, SweepClock need, const TableLevel& level) const noexcept {
  return impl_->first_lagging(table, need, level);
}
bool Replicator::is_drained() const noexcept {
  return impl_->is_drained();
}
bool Replicator::is_settled() const noexcept {
  return impl_->is_settled();
}
std::uint64_t Replicator::in_flight_bytes(Rank peer) const noexcept {
  return impl_->peers_[peer].in_flight_bytes;
}
bool Replicator::is_member() const noexcept {
  return impl_->is_self_member() && !impl_->is_expelled_;
}

}  // namespace concerto
