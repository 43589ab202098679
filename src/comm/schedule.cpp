// Schedules of operations, rank by rank.
#include "schedule.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace concerto {
namespace {

/// Cuts [offset, offset + bytes) into segments; none where it is empty.
void cut(Piece piece, std::size_t segment, std::vector<Piece>& pieces) {
  for (std::size_t done = 0; done < piece.bytes; done += segment) {
    pieces.push_back({piece.offset + done, std::min(segment, piece.bytes - done)});
  }
}

std::vector<Piece> segments_of(std::size_t offset, std::size_t bytes, std::size_t segment) {
  std::vector<Piece> pieces;
  cut({offset, bytes}, segment, pieces);
  return pieces;
}

Rank shifted(Rank rank, Rank size, Rank by) {
  return static_cast<Rank>((std::uint64_t{rank} + by) % size);
}

/// The schedule's partners and the two neighbours in the ring of ranks.
void set_peers(Schedule& schedule, Rank self, Rank size) {
  if (size > 1) schedule.neighbours = {shifted(self, size, size - 1)};
  if (size > 2) schedule.neighbours.push_back(shifted(self, size, 1));
  schedule.peers = schedule.neighbours;
  for (const Transfer& transfer : schedule.receives) schedule.peers.push_back(transfer.peer);
  for (const Transfer& transfer : schedule.sends) schedule.peers.push_back(transfer.peer);
  std::ranges::sort(schedule.peers);
  const auto repeated = std::ranges::unique(schedule.peers);
  schedule.peers.erase(repeated.begin(), repeated.end());
}

/// Receives all of `pieces` from `from` (kNoRank: has them), and passes each on to every rank of `to` as it comes.
Schedule relay(Rank from, std::span<const Rank> to, std::span<const Piece> pieces) {
  Schedule schedule;
  for (const Piece& piece : pieces) {
    if (from != kNoRank) schedule.receives.push_back({from, piece.offset, piece.bytes, 0});
    for (const Rank peer : to) {
      schedule.sends.push_back({peer, piece.offset, piece.bytes, schedule.receives.size()});
    }
  }
  return schedule;
}

}  // namespace

std::vector<std::vector<Piece>> all_gather_shares(Rank size, std::span<const GatherBlock> blocks, std::size_t segment) {
  std::vector<GatherBlock> sorted(blocks.begin(), blocks.end());
  std::ranges::sort(sorted, {}, [](const GatherBlock& block) { return std::pair(block.owner, block.offset); });
  std::vector<std::vector<Piece>> shares(size);
  for (std::size_t i = 0; i < sorted.size();) {
    Piece run{sorted[i].offset, 0};
    const Rank owner = sorted[i].owner;
    for (; i < sorted.size() && sorted[i].owner == owner && sorted[i].offset == run.offset + run.bytes; ++i) {
      run.bytes += sorted[i].bytes;
    }
    cut(run, segment, shares[owner]);
  }
  return shares;
}

Packing pack_small_blocks(Rank size, std::span<const GatherBlock> blocks, std::size_t below) {
  const auto shares = all_gather_shares(size, blocks, std::numeric_limits<std::size_t>::max());
  Packing packing;
  bool is_scattered = false;
  for (Rank owner = 0; owner < size; ++owner) {
    const std::size_t begin = packing.bytes;
    for (const Piece& run : shares[owner]) {
      packing.moves.push_back({owner, run.offset, packing.bytes, run.bytes});
      packing.bytes += run.bytes;
    }
    if (packing.bytes > begin) packing.blocks.push_back({owner, begin, packing.bytes - begin});
    is_scattered = is_scattered || shares[owner].size() > 1;
  }
  if (!is_scattered || packing.bytes >= below * packing.moves.size()) return {{blocks.begin(), blocks.end()}, {}, 0};
  return packing;
}

Schedule all_gather_schedule(Rank self, Rank size, std::span<const GatherBlock> blocks, std::size_t segment) {
  const std::vector<std::vector<Piece>> shares = all_gather_shares(size, blocks, segment);
  const Rank next = shifted(self, size, 1);
  const Rank before = shifted(self, size, size - 1);
  Schedule schedule;
  for (const Piece& piece : shares[self]) {
    if (size > 1) schedule.sends.push_back({next, piece.offset, piece.bytes, 0});
  }
  for (Rank distance = 1; distance < size; ++distance) {
    const Rank owner = shifted(self, size, size - distance);
    for (const Piece& piece : shares[owner]) {
      schedule.receives.push_back({before, piece.offset, piece.bytes, 0});
      if (owner != next) schedule.sends.push_back({next, piece.offset, piece.bytes, schedule.receives.size()});
    }
  }
  set_peers(schedule, self, size);
  return schedule;
}

Schedule gather_schedule(Rank self, Rank size, Rank root, std::span<const std::size_t> sizes, std::size_t segment) {
  Schedule schedule;
  if (self != root) {
    for (const Piece& piece : segments_of(0, sizes[self], segment)) {
      schedule.sends.push_back({root, piece.offset, piece.bytes, 0});
    }
  }
  std::size_t offset = 0;
  for (Rank rank = 0; rank < size && self == root; offset += sizes[rank++]) {
    if (rank == root) continue;
    for (const Piece& piece : segments_of(offset, sizes[rank], segment)) {
      schedule.receives.push_back({rank, piece.offset, piece.bytes, 0});
    }
  }
  set_peers(schedule, self, size);
  return schedule;
}

Schedule broadcast_schedule(Rank self, Rank size, Rank root, std::size_t bytes, std::size_t segment) {
  const Rank place = shifted(self, size, size - root);  // counted from the root
  const auto rank_at = [&](Rank other) { return shifted(other, size, root); };
  std::vector<Rank> to;
  Rank from = kNoRank;
  if (bytes > kTreeBytes) {
    if (place > 0) from = rank_at(place - 1);
    if (place + 1 < size) to.push_back(rank_at(place + 1));
  } else {
    // The parent is the place without its lowest one; children are the places with one more below it.
    Rank bit = 1;
    while (bit < size && (place & bit) == 0) bit <<= 1;
    if (place > 0) from = rank_at(place - bit);
    for (bit >>= 1; bit > 0; bit >>= 1) {
      if (place + bit < size) to.push_back(rank_at(place + bit));
    }
  }
  Schedule schedule = relay(from, to, segments_of(0, bytes, segment));
  set_peers(schedule, self, size);
  return schedule;
}

Schedule barrier_schedule(Rank self, Rank size) {
  Schedule schedule;
  for (Rank distance = 1; distance < size; distance <<= 1) {
    schedule.sends.push_back({shifted(self, size, distance), 0, 0, schedule.receives.size()});
    schedule.receives.push_back({shifted(self, size, size - distance), 0, 0, 0});
  }
  set_peers(schedule, self, size);
  return schedule;
}

Schedule send_schedule(Rank to, std::size_t bytes, std::size_t segment) {
  Schedule schedule = relay(kNoRank, std::span(&to, 1), segments_of(0, bytes, segment));
  schedule.peers = schedule.neighbours = {to};
  return schedule;
}

Schedule receive_schedule(Rank from, std::size_t bytes, std::size_t segment) {
  Schedule schedule = relay(from, {}, segments_of(0, bytes, segment));
  schedule.peers = schedule.neighbours = {from};
  return schedule;
}

}  // namespace concerto
