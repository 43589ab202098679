// Which bytes go from whom to whom, in which order, in an operation among ranks: pure functions of its arguments, the
// same on every rank. They move nothing: lanes (lane.hpp) execute a schedule over whatever carries bytes.
//
// An all-gather is a ring: each rank passes on to the next what came from the one before, so that every byte crosses
// each link of the ring once and a rank sends (size - 1) / size of all bytes, the least possible for equal shares. A
// barrier is by dissemination (Hensgen, Finkel and Manber 1988), log2(size) rounds. A broadcast of many bytes is a
// chain in segments, in which all links work at a time; of few bytes a binomial tree, which takes log2(size) hops. A
// gather goes straight to its root.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/comm/communicator.hpp"

namespace concerto {

/// Large blocks are cut into segments of this many bytes: what is passed on while the rest is still coming, and the
/// grain of progress counters.
inline constexpr std::size_t kSegmentBytes = std::size_t{1} << 20;
/// An all-gather whose runs of bytes are smaller than this on average goes through a buffer in which they lie side by
/// side: a message costs some 25 us on a host, as copying this many bytes twice does.
inline constexpr std::size_t kPackBelow = std::size_t{64} << 10;
/// Broadcasts up to this size go by a tree.
inline constexpr std::size_t kTreeBytes = std::size_t{64} << 10;

/// One message. Offsets are within the operation's buffers: of sends within what it gives, of receives within what it
/// fills (the same buffer in all-gather and broadcast).
struct Transfer {
  Rank peer = 0;
  std::size_t offset = 0;
  std::size_t bytes = 0;
  /// Of a send: it may start once this many receives of the schedule, from the first, are complete.
  std::size_t after = 0;
  friend bool operator==(const Transfer&, const Transfer&) = default;
};

/// One rank's part of an operation. Messages between two ranks are received in the order in which they are sent.
struct Schedule {
  std::vector<Rank> peers;  ///< with whom headers are exchanged, ascending; if A has B, B has A
  /// Those of the peers that send a header whatever operation they think it is: theirs are looked at before anything is
  /// awaited from the others.
  std::vector<Rank> neighbours;
  std::vector<Transfer> receives;
  std::vector<Transfer> sends;
};

/// A run of bytes in a buffer.
struct Piece {
  std::size_t offset = 0;
  std::size_t bytes = 0;
};
/// What each rank gives to an all-gather, by rank, cut into segments. Blocks of one rank that lie side by side go
/// together, empty ones not at all.
[[nodiscard]] std::vector<std::vector<Piece>> all_gather_shares(Rank size, std::span<const GatherBlock> blocks,
                                                                std::size_t segment);

/// How the blocks of an all-gather travel.
struct Packing {
  /// A run of bytes of the caller's buffer and its place in the packed one.
  struct Move {
    Rank owner = 0;
    std::size_t offset = 0;
    std::size_t packed = 0;
    std::size_t bytes = 0;
  };
  std::vector<GatherBlock> blocks;  ///< in the packed buffer, or the caller's where nothing is packed
  std::vector<Move> moves;          ///< none: nothing is packed
  std::size_t bytes = 0;            ///< of the packed buffer
};
[[nodiscard]] Packing pack_small_blocks(Rank size, std::span<const GatherBlock> blocks, std::size_t below = kPackBelow);

[[nodiscard]] Schedule all_gather_schedule(Rank self, Rank size, std::span<const GatherBlock> blocks,
                                           std::size_t segment = kSegmentBytes);
[[nodiscard]] Schedule gather_schedule(Rank self, Rank size, Rank root, std::span<const std::size_t> sizes,
                                       std::size_t segment = kSegmentBytes);
[[nodiscard]] Schedule broadcast_schedule(Rank self, Rank size, Rank root, std::size_t bytes,
                                          std::size_t segment = kSegmentBytes);
[[nodiscard]] Schedule barrier_schedule(Rank self, Rank size);
[[nodiscard]] Schedule send_schedule(Rank to, std::size_t bytes, std::size_t segment = kSegmentBytes);
[[nodiscard]] Schedule receive_schedule(Rank from, std::size_t bytes, std::size_t segment = kSegmentBytes);

}  // namespace concerto
