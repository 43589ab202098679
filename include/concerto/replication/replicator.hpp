// The replication of a run's blocks, one rank's part: a state machine without clock, thread or socket.
//
// Every block has one owner, who alone publishes versions of it. Writers give the owner deltas, which it merges by
// addition, knowing how much of others each was computed without; the owner puts its state to the holders of replicas;
// whoever is not up to date is so after one more put. Everything that is sent says what is so now, never what has
// happened: a message that is lost, doubled or late changes nothing but when. What is exact is said below.
//
// Exactly once. A delta is *sealed* when it is sent: its number and bytes never change from then on. A writer has at
// most one sealed and one open delta a block; writing adds to the open one. It keeps the sealed one until it is
// *stable*, in a version that the block's successor holds too, and in the state held here. An owner merges delta n + 1
// after n and refuses any other. A new owner first fences the older term at every member, takes the highest version
// that any of them holds, and then accepts. This holds for the loss of any one rank at a time; what is lost beyond it
// is an event.
//
// Session floor. Versions held here never go back; and what was written here is in what steps read, in the state or
// on top of it.
//
// Memory. For each peer one window of bytes in flight and one entry a block in a queue. A block that waits in the queue
// is sent as it is when its turn comes, so that a newer version takes the older one's place.
//
// The bytes are the driver's. For each block it has *state* (of version()), *sealed* and *open*; the effects say what
// to do with them, in order. What steps read is state, plus sealed where shows_sealed(), plus open where has_open().
//
// Costs: a constant time an event, but for connected(), membership() (blocks) and first_lagging() (the table's
// blocks, times ranks where there are many writers). No allocation once the buffers have grown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/replication/level.hpp"
#include "concerto/replication/membership.hpp"
#include "concerto/replication/message.hpp"
#include "concerto/replication/version.hpp"

namespace concerto {

struct ReplicatedBlock {
  Side table = Side::kItems;
  std::uint32_t bytes = 0;        ///< of a payload, state or delta alike
  bool has_many_writers = false;  ///< every member contributes to each sweep; else the owner alone writes
  bool is_read_by_all = true;     ///< every member holds a replica; else the successor alone. Of many writers: true
};

struct ReplicatorOptions {
  Rank self = 0;
  Rank ranks = 1;  ///< ids of ranks are below this
  Incarnation incarnation = 1;
  std::uint64_t window_bytes = std::uint64_t{4} << 20;  ///< in flight to one peer; one block at least
};

enum class ReplicaEffectKind : std::uint8_t {
  kSend,           ///< `message` to `peer`, with the payload that it names as it is now
  kInstall,        ///< state becomes the payload of the message that is being received
  kReplace,        ///< state becomes the result of sweep `message.clock`
  kMergeReceived,  ///< state += the payload of the delta that is being received
  kMergeWritten,   ///< state += what was just written, as `message.writer`: this rank is the owner
  kMergeSealed,    ///< state += sealed, and sealed is dropped: this rank has become the owner
  kMergeOpen,      ///< state += open, and open is dropped
  kAddToOpen,      ///< open += what was just written; there may be none yet
  kSeal,           ///< open becomes sealed, as `message.writer`; there is no sealed one
  kDropSealed,     ///< `message.writer` is stable, and in state
  kCompareDigest,  ///< of state with the one in the message that is being received; answer by digest_compared()
  // What happened, for report and log.
  kTookOver,    ///< this rank owns the block in `message.version`'s term
  kFenced,      ///< this rank owned it and does not any more
  kLostDeltas,  ///< of `peer`, from the frontier's up to `message.writer.sequence`: no member has them any more
  kDamaged,     ///< `peer` holds `message.version` with other bytes; it is sent again
  kExpelled,    ///< the run goes on without this incarnation
};

/// `message.version` of what changes state is the version that it then has.
struct ReplicaEffect {
  ReplicaEffectKind kind = ReplicaEffectKind::kSend;
  BlockId block = 0;
  Rank peer = kNoRank;
  std::uint32_t frontier = 0;  ///< kSend of puts and states: where in ReplicaEffects::frontiers its entries begin
  /// Merges: versions by other writers since the one that the contribution was computed from. What they did and what it
  /// does may be the same correction, made twice.
  std::uint32_t unseen = 0;
  ReplicaMessage message;
};

/// What is to be done, in order. Reused: clear() keeps the memory.
struct ReplicaEffects {
  std::vector<ReplicaEffect> list;
  std::vector<FrontierEntry> frontiers;
  void clear() noexcept {
    list.clear();
    frontiers.clear();
  }
};

class Replicator {
 public:
  /// Every rank gives the same blocks. There is no membership yet: nothing is sent and nothing may be read.
  Replicator(const ReplicatorOptions& options, std::span<const ReplicatedBlock> blocks);
  ~Replicator();
  Replicator(Replicator&&) noexcept;
  Replicator& operator=(Replicator&&) noexcept;

  // -- events; what is to be done is appended to `out` --

  /// A record has been read. Older ones than the last are ignored.
  void membership(const Membership& record, ReplicaEffects& out);
  void connected(Rank peer, Incarnation incarnation, ReplicaEffects& out);
  /// What was on its way may be lost; nothing is to be done before the next connection.
  void disconnected(Rank peer);
  /// The message's payload is at hand until the effects have been performed. `frontier`: of puts and states, else
  /// empty. What no correct peer sends (an unknown block, a frontier of another length) is false: cut it off.
  [[nodiscard]] bool received(Rank peer, const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                              ReplicaEffects& out);
  /// The owner's state has been replaced by the result of sweep `clock` (blocks of one writer). Only while owns().
  void published(BlockId block, SweepClock clock, ReplicaEffects& out);
  /// A step that is to contribute to the block begins, and reads it as it is now.
  void reads(BlockId block) noexcept;
  /// A contribution to sweep `clock` (blocks of many writers), computed from what was read last; clocks of one block
  /// never fall.
  void wrote(BlockId block, SweepClock clock, ReplicaEffects& out);
  void digest_compared(Rank peer, BlockId block, const Version& version, bool is_equal, ReplicaEffects& out);
  /// Asks the owners of the next `blocks` blocks whether what is held here is right.
  void compare_digests(std::uint32_t blocks, ReplicaEffects& out);

  // -- what is so --

  [[nodiscard]] bool owns(BlockId block) const noexcept;
  [[nodiscard]] Rank owner(BlockId block) const noexcept;
  /// Rises whenever what this rank owns changes.
  [[nodiscard]] std::uint64_t ownership_changes() const noexcept;
  /// The highest that is known here; messages of lower ones are refused.
  [[nodiscard]] Term term(BlockId block) const noexcept;
  [[nodiscard]] Version version(BlockId block) const noexcept;
  /// Of what steps read here.
  [[nodiscard]] SweepClock clock(BlockId block) const noexcept;
  /// The last sweep that this rank has contributed to the block, in this life or an earlier one.
  [[nodiscard]] SweepClock written(BlockId block) const noexcept;
  [[nodiscard]] bool shows_sealed(BlockId block) const noexcept;
  [[nodiscard]] bool has_sealed(BlockId block) const noexcept;
  [[nodiscard]] bool has_open(BlockId block) const noexcept;
  [[nodiscard]] std::span<const FrontierEntry> frontier(BlockId block) const noexcept;
  /// Whether `level` lets a step that needs sweep `need` read the block. Strong asks of own blocks that they are
  /// stable.
  [[nodiscard]] bool may_read(BlockId block, SweepClock need, const TableLevel& level) const noexcept;
  /// The first block of `table`, of those that every rank holds, that such a step may not read.
  [[nodiscard]] std::optional<BlockId> first_lagging(Side table, SweepClock need,
                                                     const TableLevel& level) const noexcept;
  /// Every delta of this rank is stable.
  [[nodiscard]] bool is_drained() const noexcept;
  /// What this rank owns is with all its holders, and nothing is being taken over.
  [[nodiscard]] bool is_settled() const noexcept;
  [[nodiscard]] std::uint64_t in_flight_bytes(Rank peer) const noexcept;
  [[nodiscard]] bool is_member() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace concerto
