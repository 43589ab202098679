// Who is in a run and who owns which block: a record that the launcher writes to the store and every rank reads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/replication/placement.hpp"
#include "concerto/replication/version.hpp"

namespace concerto {

/// Where a block is: who owns it in which term, and who has the second copy that makes it stable.
struct BlockPlace {
  Rank owner = kNoRank;
  Rank successor = kNoRank;  ///< kNoRank: there is nobody else
  Term term = 1;
  friend bool operator==(const BlockPlace&, const BlockPlace&) = default;
};

struct Membership {
  std::uint64_t epoch = 1;           ///< rises with each change
  std::vector<Incarnation> members;  ///< by rank; 0: not in the run
  std::vector<BlockPlace> places;    ///< by block

  [[nodiscard]] bool has(Rank rank) const noexcept { return members[rank] != 0; }
};

/// The first record: incarnation `members[r]` of each rank, all blocks in term 1. Initial values are the same
/// everywhere, so nobody has anything to take over. `owners`, one a block, or place_blocks' where there are none.
[[nodiscard]] Membership first_membership(std::span<const PlacedBlock> blocks, std::vector<Incarnation> members,
                                          std::span<const Rank> owners = {});

/// The record after a change of members. A block stays with its owner while that one lives in the same incarnation. The
/// blocks of one that is gone go to their successors, those of one that came back as another incarnation stay with it;
/// either is a new term, the record's epoch, because the new owner has to take over. At least one member.
[[nodiscard]] Membership next_membership(const Membership& before, std::span<const PlacedBlock> blocks,
                                         std::vector<Incarnation> members);

}  // namespace concerto
