// Placement: bounded load on even and skewed weights, one result whatever the order, little moved by a change of
// members.
#include "concerto/replication/placement.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

std::vector<Rank> ranks(Rank count) {
  std::vector<Rank> result(count);
  std::iota(result.begin(), result.end(), 0U);
  return result;
}

/// Weights as Zipf(1) gives them, in a drawn order.
std::vector<PlacedBlock> zipf_blocks(std::uint32_t count, std::uint64_t seed) {
  const auto order = random_permutation(count, seed, 0);
  std::vector<PlacedBlock> blocks(count);
  for (std::uint32_t b = 0; b < count; ++b) blocks[b] = {b, 1000.0 / (order[b] + 1.0)};
  return blocks;
}

std::map<Rank, double> loads(const std::vector<PlacedBlock>& blocks, const std::vector<Rank>& owners) {
  std::map<Rank, double> result;
  for (std::size_t b = 0; b < blocks.size(); ++b) result[owners[b]] += blocks[b].weight;
  return result;
}

void expect_bounded(const std::vector<PlacedBlock>& blocks, const std::vector<Rank>& owners,
                    const std::vector<Rank>& members) {
  const double capacity = placement_capacity(blocks, members.size());
  for (const auto& [rank, load] : loads(blocks, owners)) {
    EXPECT_TRUE(std::ranges::find(members, rank) != members.end()) << "rank " << rank << " is no member";
    EXPECT_LE(load, capacity * (1 + 1e-12)) << "rank " << rank;
  }
}

TEST(Placement, CapacityIsTheLargerOfATenthMoreAndOneBlockMore) {
  const std::vector<PlacedBlock> even(100, {0, 1.0});
  EXPECT_DOUBLE_EQ(placement_capacity(even, 4), 27.5);
  EXPECT_DOUBLE_EQ(placement_capacity(std::vector<PlacedBlock>{{0, 90.0}, {1, 5.0}, {2, 5.0}}, 2), 140.0);
}

TEST(Placement, LoadsAreBoundedWhateverTheWeights) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const Rank members : {1U, 2U, 3U, 8U, 64U}) {
      const auto skewed = zipf_blocks(200, seed);
      expect_bounded(skewed, place_blocks(skewed, ranks(members)), ranks(members));
      std::vector<PlacedBlock> even(97);
      for (std::size_t b = 0; b < even.size(); ++b) even[b] = {seed * 1000 + b, 1.0};
      expect_bounded(even, place_blocks(even, ranks(members)), ranks(members));
    }
  }
}

TEST(Placement, ManyBlocksEndWithinAFiftiethOfTheMean) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const Rank members : {2U, 3U, 8U}) {
      std::vector<PlacedBlock> blocks(40 * members);
      Random random(seed);
      double mean = 0.0;
      for (std::size_t b = 0; b < blocks.size(); ++b) {
        blocks[b] = {seed * 1000 + b, 0.5 + random.uniform()};
        mean += blocks[b].weight / members;
      }
      for (const auto& [rank, load] : loads(blocks, place_blocks(blocks, ranks(members)))) {
        EXPECT_NEAR(load, mean, 0.02 * mean) << members << " members, seed " << seed << ", rank " << rank;
      }
    }
  }
}

TEST(Placement, FewerBlocksThanMembersAndWeightsOfZeroArePlaced) {
  const std::vector<PlacedBlock> blocks = {{7, 0.0}, {9, 0.0}};
  for (const Rank owner : place_blocks(blocks, ranks(5))) EXPECT_LT(owner, 5U);
  EXPECT_TRUE(place_blocks({}, ranks(5)).empty());
}

TEST(Placement, DoesNotDependOnTheOrderOfBlocksAndMembers) {
  const auto blocks = zipf_blocks(120, 3);
  const auto owners = place_blocks(blocks, ranks(6));
  std::vector<PlacedBlock> shuffled;
  const auto order = random_permutation(120, 9, 0);
  for (const auto b : order) shuffled.push_back(blocks[b]);
  const auto again = place_blocks(shuffled, std::vector<Rank>{5, 3, 0, 4, 1, 2});
  for (std::size_t b = 0; b < order.size(); ++b) EXPECT_EQ(again[b], owners[order[b]]);
}

TEST(Placement, AMemberThatLeavesMovesItsBlocksAndFewOthers) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<PlacedBlock> blocks(400);
    Random random(seed);
    for (std::size_t b = 0; b < blocks.size(); ++b) blocks[b] = {b, 0.5 + random.uniform()};
    const auto before = place_blocks(blocks, ranks(8));
    const std::vector<Rank> left = {0, 1, 2, 4, 5, 6, 7};
    const auto after = place_blocks(blocks, left, before);
    expect_bounded(blocks, after, left);
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      if (before[b] != 3) {
        EXPECT_EQ(after[b], before[b]) << "block " << b << " moved without need";
      }
    }
  }
}

TEST(Placement, AMemberThatJoinsTakesBlocksOnlyFromThoseBeyondTheirCapacity) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto blocks = zipf_blocks(400, seed);
    const auto before = place_blocks(blocks, ranks(4));
    const auto after = place_blocks(blocks, ranks(5), before);
    expect_bounded(blocks, after, ranks(5));
    double total = 0.0;
    double moved = 0.0;
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      total += blocks[b].weight;
      if (after[b] != before[b]) moved += blocks[b].weight;
    }
    EXPECT_LE(moved, 0.25 * total);  // a fifth is what the new member's even share is
  }
}

TEST(Placement, TheSameInputsGiveTheSameOwnersAsEver) {
  // Written down once: a change of the hash moves every block of every stored run.
  std::vector<PlacedBlock> blocks(12);
  for (std::size_t b = 0; b < blocks.size(); ++b) blocks[b] = {b, 1.0};
  EXPECT_EQ(place_blocks(blocks, ranks(3)), (std::vector<Rank>{0, 1, 2, 0, 2, 2, 0, 1, 1, 2, 0, 1}));
}

}  // namespace
}  // namespace concerto
