// What replicators say to each other. Values; a driver adds payloads and carries them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/replication/version.hpp"

namespace concerto {

enum class ReplicaMessageKind : std::uint8_t {
  kPut,     ///< owner to holder: the block's state. Payload: its bytes.
  kDelta,   ///< writer to owner: contributions. Payload: their bytes.
  kStatus,  ///< what the sender holds; answers what it names
  kFence,   ///< a new owner to all: nothing of an older term is to be taken from here on; answered by a status
  kFetch,   ///< a new owner to who has the highest version: give it to me
  kState,   ///< the answer. Payload: as of a put.
};

/// All of them about one block. Puts and states come with the block's frontier, an entry a rank.
struct ReplicaMessage {
  ReplicaMessageKind kind = ReplicaMessageKind::kStatus;
  bool answers_put = false;     ///< kStatus: a put or state of the receiver has been dealt with
  bool answers_delta = false;   ///< kStatus: a delta of the receiver has been dealt with
  bool answers_fence = false;   ///< kStatus
  bool is_owner = false;        ///< kStatus: the sender owns the block in `term`, and takes deltas
  bool asks = false;            ///< kStatus: the receiver shall answer by a status
  bool carries_digest = false;  ///< kStatus: the driver adds the digest of the state
  bool is_forced = false;       ///< kPut: takes the place of an equal version, whose bytes are wrong
  BlockId block = 0;
  Term term = 0;         ///< kPut: the version's; else the highest that the sender knows of for the block
  Version version;       ///< kPut, kState: of the payload; kStatus: of what the sender holds; kFetch: what is wanted;
                         ///< kDelta: what of others it was computed from, its writer's own merges counted as seen
  SweepClock clock = 0;  ///< kPut, kState: of the payload
  FrontierEntry writer;  ///< kDelta: what it is; kStatus: the receiver's entry in the sender's frontier
  std::uint64_t stable = 0;  ///< kStatus of an owner: the receiver's delta up to which all are stable
  friend bool operator==(const ReplicaMessage&, const ReplicaMessage&) = default;
};

/// As it travels: little-endian numbers, then the frontier; what it carries follows.
[[nodiscard]] std::vector<std::byte> encode(const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                                            std::uint64_t digest);

struct ParsedReplicaMessage {
  ReplicaMessage message;
  std::uint64_t digest = 0;  ///< where the message says that it carries one
  std::vector<FrontierEntry> frontier;
  std::span<const std::byte> body;
};
/// Exactly what encode() writes, and what follows it. Nothing for anything else.
[[nodiscard]] std::optional<ParsedReplicaMessage> parse_replica_message(std::span<const std::byte> bytes);

}  // namespace concerto
