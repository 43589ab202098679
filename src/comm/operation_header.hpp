// What ranks tell each other before the bytes of an operation move: which operation they think it is.
//
// One header goes each way between a rank and each of its peers in an operation, in operations among all ranks also
// between neighbours of the ring of ranks, whoever else it talks to: wherever ranks disagree, some two neighbours do,
// and both see it. No payload is received before the header of its sender has been found to agree, so that sizes that
// differ can neither write past a buffer nor wait for bytes that nobody sends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/communicator.hpp"

namespace concerto {

struct OperationHeader {
  OperationKind kind = OperationKind::kBarrier;  ///< kSend on both sides of a transfer between two ranks
  Rank root = 0;                                 ///< of a gather or broadcast; the sender of a transfer; else 0
  Rank sender = 0;                               ///< of this header
  OperationTag tag;
  std::uint64_t bytes = 0;   ///< all payload of the operation
  std::uint64_t layout = 0;  ///< a digest of how it is divided
  std::uint64_t group = 0;   ///< which group of ranks: a digest of its name
  friend bool operator==(const OperationHeader&, const OperationHeader&) = default;
};

inline constexpr std::size_t kHeaderBytes = 72;
using HeaderBytes = std::array<std::byte, kHeaderBytes>;

/// Little-endian, fixed places, the last eight bytes a checksum of those before.
[[nodiscard]] HeaderBytes encode(const OperationHeader& header) noexcept;
/// Nothing for bytes that encode() did not make.
[[nodiscard]] std::optional<OperationHeader> decode(const HeaderBytes& bytes) noexcept;

/// The digest of an all-gather's blocks within a buffer, or of the sizes of a gather.
[[nodiscard]] std::uint64_t layout_digest(std::size_t buffer_bytes, std::span<const GatherBlock> blocks);
[[nodiscard]] std::uint64_t layout_digest(std::span<const std::size_t> sizes);

/// Nothing if `received`, from `peer`, belongs to the same operation as `mine`; else kMismatch, naming both ranks and
/// both operations, or kCorrupt.
[[nodiscard]] std::optional<Failure> disagreement(const OperationHeader& mine, const HeaderBytes& received, Rank peer);

/// "all-gather (epoch 1, step 12, table 0, operation 3)"
[[nodiscard]] std::string describe(OperationKind kind, const OperationTag& tag);

}  // namespace concerto
