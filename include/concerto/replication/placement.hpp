// Which rank owns which block: consistent hashing with bounded load. A pure function of blocks, weights, members and
// the placement before, so that every rank computes the same one and a change of members moves only what it must.
//
// Blocks are hashed to points of a ring, members to many points each. A block that has an owner stays with it up to the
// allowed capacity, max(1.10 x mean, mean + largest weight), so that little moves. The others, the heaviest first, go
// to the first member at or after their point whose load stays within the mean, or where there is none to the one with
// the least load: loads end a small block's weight above the mean, since ranks wait for the one that has most. Source:
// Mirrokni, Thorup and Zadimoghaddam 2018, "Consistent Hashing with Bounded Loads".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto {

/// What the ring places. `key` names a block for good (table and first chunk); `weight` is its predicted work.
struct PlacedBlock {
  std::uint64_t key = 0;
  double weight = 0.0;
};

/// The largest load that placement allows a member: max(1.10 x mean, mean + largest weight).
[[nodiscard]] double placement_capacity(std::span<const PlacedBlock> blocks, std::size_t members);

/// The owner of each block. Keys are distinct; members are distinct, at least one, in any order. `previous` (an owner a
/// block, kNoRank: none; or empty) keeps a block where it is while its owner is a member and has room for it.
/// O(blocks log blocks + members log members) expected.
[[nodiscard]] std::vector<Rank> place_blocks(std::span<const PlacedBlock> blocks, std::span<const Rank> members,
                                             std::span<const Rank> previous = {});

}  // namespace concerto
