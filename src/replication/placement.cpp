// Consistent hashing with bounded load.
#include "concerto/replication/placement.hpp"

#include <algorithm>
#include <functional>

#include "concerto/base/check.hpp"
#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

/// Points of a member on the ring: the share of it that falls to a member varies by about 1 / sqrt(kPoints).
constexpr std::uint32_t kPoints = 128;
constexpr double kSlack = 1.10;

/// A fixed, well-mixed function of (stream, a, b): where something lies on the ring.
std::uint64_t point_of(std::uint64_t stream, std::uint32_t a, std::uint32_t b) {
  const auto words = philox({a, b, 0, 0}, stream);
  return std::uint64_t{words[0]} << 32 | words[1];
}
std::uint64_t point_of_block(std::uint64_t key) {
  constexpr std::uint64_t kBlockStream = 1;
  return point_of(kBlockStream, static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32));
}

/// A member's point on the ring.
struct RingPoint {
  std::uint64_t point = 0;
  std::uint32_t member = 0;  ///< index into the sorted members
  friend auto operator<=>(const RingPoint&, const RingPoint&) = default;
};

std::vector<RingPoint> make_ring(std::span<const Rank> members) {
  constexpr std::uint64_t kMemberStream = 2;
  std::vector<RingPoint> ring;
  ring.reserve(members.size() * kPoints);
  for (std::uint32_t m = 0; m < members.size(); ++m) {
    for (std::uint32_t i = 0; i < kPoints; ++i) ring.push_back({point_of(kMemberStream, members[m], i), m});
  }
  std::ranges::sort(ring);
  return ring;
}

struct Loads {
  double mean = 0.0;
  double largest = 0.0;
};

Loads loads_of(std::span<const PlacedBlock> blocks, std::size_t members) {
  Loads loads;
  for (const PlacedBlock& block : blocks) {
    loads.mean += block.weight;
    loads.largest = std::max(loads.largest, block.weight);
  }
  loads.mean /= static_cast<double>(members);
  return loads;
}

}  // namespace

double placement_capacity(std::span<const PlacedBlock> blocks, std::size_t members) {
  const Loads loads = loads_of(blocks, members);
  return std::max(kSlack * loads.mean, loads.mean + loads.largest);
}

std::vector<Rank> place_blocks(std::span<const PlacedBlock> blocks, std::span<const Rank> members,
                               std::span<const Rank> previous) {
  CONCERTO_CHECK(!members.empty(), "nobody to place blocks on");
  CONCERTO_CHECK(previous.empty() || previous.size() == blocks.size(), "a previous owner for each block, or none");
  std::vector<Rank> sorted(members.begin(), members.end());
  std::ranges::sort(sorted);
  const std::vector<RingPoint> ring = make_ring(sorted);

  // The order in which blocks are placed is that of the ring, so that it does not depend on how they were listed.
  std::vector<std::pair<std::uint64_t, std::uint32_t>> order;
  order.reserve(blocks.size());
  for (std::uint32_t b = 0; b < blocks.size(); ++b) order.emplace_back(point_of_block(blocks[b].key), b);
  std::ranges::sort(order, [&](const auto& a, const auto& b) {
    return std::pair(a.first, blocks[a.second].key) < std::pair(b.first, blocks[b.second].key);
  });

  std::vector<Rank> owners(blocks.size(), kNoRank);
  std::vector<double> load(sorted.size(), 0.0);
  const double allowed = placement_capacity(blocks, sorted.size());
  for (const auto& [point, b] : order) {
    if (previous.empty() || previous[b] == kNoRank) continue;
    const auto owner = std::ranges::lower_bound(sorted, previous[b]);
    if (owner == sorted.end() || *owner != previous[b]) continue;
    double& its_load = load[static_cast<std::size_t>(owner - sorted.begin())];
    if (its_load + blocks[b].weight > allowed) continue;
    its_load += blocks[b].weight;
    owners[b] = *owner;
  }

  // The heaviest first, so that small ones fill what is left; a block goes where it does not lift a load above the
  // mean, and one that would do so everywhere to whoever has least.
  std::ranges::stable_sort(order, std::greater{}, [&](const auto& entry) { return blocks[entry.second].weight; });
  const double room = loads_of(blocks, sorted.size()).mean;
  for (const auto& [point, b] : order) {
    if (owners[b] != kNoRank) continue;
    const auto begin = std::ranges::lower_bound(ring, RingPoint{point, 0});
    auto chosen = static_cast<std::size_t>(std::ranges::min_element(load) - load.begin());
    for (std::size_t i = 0; i < ring.size() && load[chosen] + blocks[b].weight <= room; ++i) {
      const std::size_t at = (static_cast<std::size_t>(begin - ring.begin()) + i) % ring.size();
      if (load[ring[at].member] + blocks[b].weight <= room) {
        chosen = ring[at].member;
        break;
      }
    }
    load[chosen] += blocks[b].weight;
    owners[b] = sorted[chosen];
  }
  return owners;
}

}  // namespace concerto
