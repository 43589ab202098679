// Who owns what as members come and go.
#include "concerto/replication/membership.hpp"

#include "concerto/base/check.hpp"
#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

/// The member, other than `owner`, with the highest random weight for the block: who it is changes only where that one
/// goes or a higher one comes. Source: Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates".
Rank choose(const PlacedBlock& block, const std::vector<Incarnation>& members, Rank owner) {
  constexpr std::uint64_t kStream = 3;
  Rank best = kNoRank;
  std::uint64_t best_weight = 0;
  for (Rank r = 0; r < members.size(); ++r) {
    if (members[r] == 0 || r == owner) continue;
    const auto words =
        philox({static_cast<std::uint32_t>(block.key), static_cast<std::uint32_t>(block.key >> 32), r, 0}, kStream);
    const std::uint64_t weight = std::uint64_t{words[0]} << 32 | words[1];
    if (best == kNoRank || weight > best_weight) {
      best = r;
      best_weight = weight;
    }
  }
  return best;
}

}  // namespace

Membership first_membership(std::span<const PlacedBlock> blocks, std::vector<Incarnation> members,
                            std::span<const Rank> owners) {
  std::vector<Rank> placed;
  if (owners.empty()) {
    std::vector<Rank> ranks;
    for (Rank r = 0; r < members.size(); ++r) {
      if (members[r] != 0) ranks.push_back(r);
    }
    placed = place_blocks(blocks, ranks);
    owners = placed;
  }
  CONCERTO_CHECK(owners.size() == blocks.size(), "an owner for each block");
  Membership record;
  record.members = std::move(members);
  record.places.resize(blocks.size());
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    record.places[b] = {owners[b], choose(blocks[b], record.members, owners[b]), 1};
  }
  return record;
}

Membership next_membership(const Membership& before, std::span<const PlacedBlock> blocks,
                           std::vector<Incarnation> members) {
  CONCERTO_CHECK(before.places.size() == blocks.size(), "a record of other blocks");
  Membership record;
  record.epoch = before.epoch + 1;
  record.members = std::move(members);
  record.places = before.places;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    BlockPlace& place = record.places[b];
    const bool stays = record.has(place.owner);
    const bool is_same_life = stays && record.members[place.owner] == before.members[place.owner];
    if (!stays) {
      const bool can_succeed = place.successor != kNoRank && record.has(place.successor);
      place.owner = can_succeed ? place.successor : choose(blocks[b], record.members, kNoRank);
      CONCERTO_CHECK(place.owner != kNoRank, "a record without members");
    }
    if (!is_same_life) place.term = record.epoch;
    // The second copy stays where it is while it can, or stability would have to be reached anew.
    const bool has_successor =
        place.successor != kNoRank && place.successor != place.owner && record.has(place.successor);
    if (!has_successor) place.successor = choose(blocks[b], record.members, place.owner);
  }
  return record;
}

}  // namespace concerto
