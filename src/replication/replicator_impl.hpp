// The state of a replicator, and which file does what with it:
//   replicator.cpp  the contract's calls; membership and connections
//   peers.cpp       queues and windows: what is sent to whom, when
//   owner.cpp       publishing, merging, stability, repair
//   holder.cpp      taking puts, answering
//   writer.cpp      deltas from writing to stable
//   take_over.cpp   from fencing to owning
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/check.hpp"
#include "concerto/replication/replicator.hpp"

#include "planted.hpp"

namespace concerto {

class Replicator::Impl {
 public:
  Impl(const ReplicatorOptions& options, std::span<const ReplicatedBlock> blocks);

  void membership(const Membership& record, ReplicaEffects& out);
  void connected(Rank peer, Incarnation incarnation, ReplicaEffects& out);
  void disconnected(Rank peer);
  [[nodiscard]] bool received(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                              ReplicaEffects& out);
  void published(BlockId block, SweepClock clock, ReplicaEffects& out);
  void reads(BlockId block) noexcept;
  void wrote(BlockId block, SweepClock clock, ReplicaEffects& out);
  void digest_compared(Rank peer, BlockId block, const Version& version, bool is_equal, ReplicaEffects& out);
  void compare_digests(std::uint32_t blocks, ReplicaEffects& out);

  [[nodiscard]] SweepClock clock(BlockId block) const noexcept;
  [[nodiscard]] SweepClock written(BlockId block) const noexcept;
  [[nodiscard]] bool shows_sealed(BlockId block) const noexcept;
  [[nodiscard]] bool may_read(BlockId block, SweepClock need, TableLevel level) const noexcept;
  [[nodiscard]] std::optional<BlockId> first_lagging(Side table, SweepClock need,
                                                     const TableLevel& level) const noexcept;
  [[nodiscard]] bool is_drained() const noexcept;
  [[nodiscard]] bool is_settled() const noexcept;

 private:
  friend class Replicator;

  enum class Role : std::uint8_t { kHolder, kTakingOver, kOwner };

  /// What a step read of a block.
  struct Read {
    Version version;
    std::uint64_t own_sequence = 0;  ///< of this rank's deltas, up to which it contained them
  };

  struct Block {
    ReplicatedBlock what;
    Role role = Role::kHolder;
    bool has_open = false;
    bool is_sealed_stable = false;
    Rank owner = kNoRank;
    Rank successor = kNoRank;
    Rank fetching_from = kNoRank;  ///< kTakingOver
    Term term = 0;                 ///< the highest known; messages of lower ones are refused
    Version version{1, 0};         ///< of the state held here
    SweepClock clock = 0;          ///< of the state held here, where one writes
    SweepClock open_clock = 0;
    Version stable;                     ///< kOwner: the highest that the successor holds
    std::uint64_t next_sequence = 1;    ///< of this rank's deltas
    std::uint64_t sealed_sequence = 0;  ///< 0: nothing is sealed
    SweepClock sealed_clock = 0;
    // Of many writers: from what a contribution is computed.
    Read now;          ///< the step that is under way
    Read open_from;    ///< the earliest that the open delta contains
    Read sealed_from;  ///< and the sealed one
  };

  // What waits to be sent to a peer about a block, and what has been and is not answered.
  static constexpr std::uint8_t kStatusBit = 1;
  static constexpr std::uint8_t kFenceBit = 2;
  static constexpr std::uint8_t kFetchBit = 4;
  static constexpr std::uint8_t kPutBit = 8;
  static constexpr std::uint8_t kDeltaBit = 16;
  static constexpr std::uint8_t kStateBit = 32;
  static constexpr std::uint8_t kControlBits = kStatusBit | kFenceBit | kFetchBit;
  static constexpr std::uint8_t kDataBits = kPutBit | kDeltaBit | kStateBit;
  // What the next status is to say.
  static constexpr std::uint8_t kAnswersPut = 1;
  static constexpr std::uint8_t kAnswersDelta = 2;
  static constexpr std::uint8_t kAnswersFence = 4;
  static constexpr std::uint8_t kAsks = 8;
  static constexpr std::uint8_t kDigest = 16;

  struct PeerBlock {
    Version acked;  ///< the peer has said that it holds this one
    std::uint8_t pending = 0;
    std::uint8_t in_flight = 0;
    std::uint8_t answers = 0;
    bool is_queued_control = false;
    bool is_queued_data = false;
    bool has_answered_fence = false;  ///< of the block's term
    bool is_forced = false;           ///< it holds wrong bytes
  };

  /// Blocks that wait, each at most once, in the order in which they began to.
  class Ring {
   public:
    explicit Ring(std::size_t capacity) : blocks_(capacity) {}
    [[nodiscard]] bool is_empty() const noexcept { return size_ == 0; }
    [[nodiscard]] BlockId front() const noexcept { return blocks_[head_]; }
    void push(BlockId block) {
      CONCERTO_CHECK(size_ < blocks_.size(), "a block waits twice");
      blocks_[(head_ + size_++) % blocks_.size()] = block;
    }
    void pop() noexcept {
      head_ = (head_ + 1) % blocks_.size();
      --size_;
    }
    void clear() noexcept { size_ = 0; }
    /// For a planted bug: what is newly due loses its place.
    void move_to_end(BlockId block) {
      std::vector<BlockId> kept;
      for (; !is_empty(); pop()) {
        if (front() != block) kept.push_back(front());
      }
      for (const BlockId b : kept) push(b);
      push(block);
    }

   private:
    std::vector<BlockId> blocks_;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
  };

  struct Peer {
    explicit Peer(std::size_t blocks) : control(blocks), data(blocks) {}
    Incarnation member = 0;     ///< as the record says
    Incarnation connected = 0;  ///< of who is at the other end; 0: nobody
    Incarnation known = 0;      ///< the latest life, of which the peer's blocks tell
    std::uint64_t in_flight_bytes = 0;
    Ring control;
    Ring data;
    bool is_touched = false;
  };

  [[nodiscard]] PeerBlock& at(Rank peer, BlockId block) noexcept {
    return peer_blocks_[std::size_t{peer} * blocks_.size() + block];
  }
  [[nodiscard]] const PeerBlock& at(Rank peer, BlockId block) const noexcept {
    return peer_blocks_[std::size_t{peer} * blocks_.size() + block];
  }
  [[nodiscard]] FrontierEntry& entry(BlockId block, Rank writer) noexcept {
    return frontier_[std::size_t{block} * options_.ranks + writer];
  }
  [[nodiscard]] const FrontierEntry& entry(BlockId block, Rank writer) const noexcept {
    return frontier_[std::size_t{block} * options_.ranks + writer];
  }
  /// The serial, within the owner's term, since which the writer's last delta is in.
  [[nodiscard]] std::uint64_t& merged_at(BlockId block, Rank writer) noexcept {
    return merged_at_[std::size_t{block} * options_.ranks + writer];
  }
  [[nodiscard]] std::span<const FrontierEntry> frontier(BlockId block) const noexcept {
    return {&frontier_[std::size_t{block} * options_.ranks], options_.ranks};
  }
  [[nodiscard]] bool is_member(Rank rank) const noexcept { return peers_[rank].member != 0; }
  [[nodiscard]] bool is_self_member() const noexcept { return peers_[options_.self].member == options_.incarnation; }
  template <class Do>
  void for_each_other_member(Do&& what) {
    for (Rank r = 0; r < options_.ranks; ++r) {
      if (r != options_.self && is_member(r)) what(r);
    }
  }

  // peers.cpp
  void mark(Rank peer, BlockId block, std::uint8_t bits);
  void queue_if_waiting(Rank peer, BlockId block);
  /// Sends what may be sent to all peers that something was marked for.
  void flush(ReplicaEffects& out);
  void pump(Rank peer, ReplicaEffects& out);
  void answered(Rank peer, BlockId block, std::uint8_t bits);
  /// What an earlier life held and was told is nothing to a new one.
  void meet_life(Rank peer, Incarnation incarnation);
  /// Tells a peer whatever it may not know.
  void greet(Rank peer);
  ReplicaMessage& send(Rank peer, BlockId block, ReplicaMessageKind kind, ReplicaEffects& out);
  void send_status(Rank peer, BlockId block, ReplicaEffects& out);
  void send_control(Rank peer, BlockId block, std::uint8_t bits, ReplicaEffects& out);
  void send_data(Rank peer, BlockId block, ReplicaEffects& out);
  [[nodiscard]] bool send_state_of(Rank peer, BlockId block, ReplicaMessageKind kind, ReplicaEffects& out);
  [[nodiscard]] bool send_delta(Rank peer, BlockId block, ReplicaEffects& out);

  // owner.cpp
  [[nodiscard]] bool is_holder(Rank peer, BlockId block) const noexcept {
    return blocks_[block].what.is_read_by_all || blocks_[block].successor == peer;
  }
  void put_to_holders(BlockId block);
  /// A delta is in the state, by an effect of this kind: a new version.
  void merge(ReplicaEffectKind kind, BlockId block, Rank writer, const FrontierEntry& delta, const Version& from,
             ReplicaEffects& out);
  void on_delta(Rank peer, const ReplicaMessage& message, ReplicaEffects& out);
  void on_replica(Rank peer, const ReplicaMessage& message);
  void compare_with(Rank peer, const ReplicaMessage& message, ReplicaEffects& out);
  void advance_stable(BlockId block, const Version& version);
  void successor_changed(BlockId block);
  void report(ReplicaEffectKind kind, Rank peer, BlockId block, ReplicaEffects& out);

  // holder.cpp
  /// A term that is higher than what is known: whoever owned the block does not any more.
  void learn_term(BlockId block, Term term, Rank owner, ReplicaEffects& out);
  void on_put(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier, ReplicaEffects& out);
  void on_status(Rank peer, const ReplicaMessage& message, ReplicaEffects& out);
  void on_fence(Rank peer, const ReplicaMessage& message, ReplicaEffects& out);
  void on_fetch(Rank peer, const ReplicaMessage& message);
  void install(const ReplicaMessage& message, std::span<const FrontierEntry> frontier, ReplicaEffects& out);
  [[nodiscard]] bool is_newer(const Version& a, const Version& b) const noexcept;

  // writer.cpp
  /// The version that a delta was computed from, as if its writer's deltas before it were in that already.
  [[nodiscard]] static Version computed_from(const Read& read, std::uint64_t sequence) noexcept;
  [[nodiscard]] bool contains_sealed(const Block& block, const FrontierEntry& mine) const noexcept;
  void offer(BlockId block);
  void hear_owner(BlockId block, const FrontierEntry& mine, std::uint64_t stable, ReplicaEffects& out);
  /// Once it is stable and in the state held here.
  void drop_sealed_if_over(BlockId block, ReplicaEffects& out);

  // take_over.cpp
  void begin_take_over(BlockId block, ReplicaEffects& out);
  void go_on_taking_over(BlockId block, ReplicaEffects& out);
  void on_state(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier, ReplicaEffects& out);
  void become_owner(BlockId block, ReplicaEffects& out);
  void merge_own_deltas(BlockId block, ReplicaEffects& out);

  ReplicatorOptions options_;
  std::vector<Block> blocks_;
  std::vector<FrontierEntry> frontier_;   ///< by block, rank
  std::vector<std::uint64_t> merged_at_;  ///< by block, rank
  std::vector<PeerBlock> peer_blocks_;    ///< by rank, block
  std::vector<Peer> peers_;
  std::vector<Rank> touched_;
  std::uint64_t record_ = 0;  ///< epoch of the last membership
  BlockId next_compared_ = 0;
  std::uint64_t ownership_changes_ = 0;
  bool is_expelled_ = false;
};

}  // namespace concerto
