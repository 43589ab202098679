// Schedules of all ranks of a group, run against each other: they end, bytes arrive where they belong, and no more are
// sent than have to be.
#include "schedule.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct Member {
  Schedule schedule;
  Bytes give;
  Bytes fill;
  bool is_one_buffer = true;  ///< sends are from `fill`
  std::size_t sent = 0;
  std::size_t received = 0;
  std::uint64_t bytes_sent = 0;
};

/// Every rank does what it can until none can do more. True if all are done.
bool run(std::vector<Member>& members) {
  std::map<std::pair<Rank, Rank>, std::deque<Bytes>> under_way;
  bool is_moving = true;
  while (is_moving) {
    is_moving = false;
    for (Rank self = 0; self < members.size(); ++self) {
      Member& member = members[self];
      const auto& [peers, neighbours, receives, sends] = member.schedule;
      for (; member.sent < sends.size() && sends[member.sent].after <= member.received; ++member.sent) {
        const Transfer& send = sends[member.sent];
        const Bytes& from = member.is_one_buffer ? member.fill : member.give;
        const auto begin = from.begin() + static_cast<std::ptrdiff_t>(send.offset);
        under_way[{self, send.peer}].emplace_back(begin, begin + static_cast<std::ptrdiff_t>(send.bytes));
        member.bytes_sent += send.bytes;
        is_moving = true;
      }
      if (member.received == receives.size()) continue;
      const Transfer& receive = receives[member.received];
      auto& queue = under_way[{receive.peer, self}];
      if (queue.empty()) continue;
      EXPECT_EQ(queue.front().size(), receive.bytes);
      std::ranges::copy(queue.front(), member.fill.begin() + static_cast<std::ptrdiff_t>(receive.offset));
      queue.pop_front();
      ++member.received;
      is_moving = true;
    }
  }
  return std::ranges::all_of(members, [](const Member& member) {
    return member.sent == member.schedule.sends.size() && member.received == member.schedule.receives.size();
  });
}

/// Headers are awaited from whom they are sent to.
void expect_mutual_peers(const std::vector<Member>& members) {
  for (Rank self = 0; self < members.size(); ++self) {
    const std::vector<Rank>& peers = members[self].schedule.peers;
    EXPECT_TRUE(std::ranges::is_sorted(peers));
    EXPECT_FALSE(std::ranges::binary_search(peers, self));
    if (members.size() > 1) {
      EXPECT_TRUE(std::ranges::binary_search(peers, (self + 1) % members.size()));
    }
    for (const Rank peer : peers) EXPECT_TRUE(std::ranges::binary_search(members[peer].schedule.peers, self));
    for (const Transfer& send : members[self].schedule.sends) EXPECT_TRUE(std::ranges::binary_search(peers, send.peer));
  }
}

Bytes pattern(std::size_t size, std::uint8_t salt) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + salt);
  return bytes;
}

class SchedulesOf : public ::testing::TestWithParam<Rank> {};

TEST_P(SchedulesOf, AllGatherFillsEveryBufferAndSendsWhatARingMust) {
  const Rank size = GetParam();
  Random random(size);
  for (int round = 0; round < 50; ++round) {
    std::vector<GatherBlock> blocks;
    std::vector<std::size_t> shares(size, 0);
    std::size_t total = 0;
    for (std::size_t count = random.below(9); count > 0; --count) {
      const GatherBlock block{static_cast<Rank>(random.below(size)), total + random.below(3), random.below(40)};
      blocks.push_back(block);
      shares[block.owner] += block.bytes;
      total = block.offset + block.bytes;
    }
    for (const std::uint32_t i : random_permutation(static_cast<std::uint32_t>(blocks.size()), round, 0)) {
      std::swap(blocks[i], blocks[0]);
    }
    const Bytes whole = pattern(total, static_cast<std::uint8_t>(round));
    std::vector<Member> members(size);
    for (Rank self = 0; self < size; ++self) {
      members[self].schedule = all_gather_schedule(self, size, blocks, 8);
      members[self].fill = Bytes(total, 0xee);
      for (const GatherBlock& block : blocks) {
        if (block.owner == self)
          std::copy_n(whole.data() + block.offset, block.bytes, members[self].fill.data() + block.offset);
      }
    }
    ASSERT_TRUE(run(members));
    expect_mutual_peers(members);
    for (Rank self = 0; self < size; ++self) {
      for (const GatherBlock& block : blocks) {
        ASSERT_TRUE(std::equal(whole.data() + block.offset, whole.data() + block.offset + block.bytes,
                               members[self].fill.data() + block.offset));
      }
      const std::size_t sum = std::accumulate(shares.begin(), shares.end(), std::size_t{0});
      EXPECT_EQ(members[self].bytes_sent, size == 1 ? 0 : sum - shares[(self + 1) % size]);
    }
  }
}

TEST_P(SchedulesOf, GatherBringsEverySizeToTheRoot) {
  const Rank size = GetParam();
  for (Rank root = 0; root < size; ++root) {
    std::vector<std::size_t> sizes(size);
    for (Rank rank = 0; rank < size; ++rank) sizes[rank] = (rank * 13 + root) % 29;
    std::vector<Member> members(size);
    Bytes whole;
    for (Rank self = 0; self < size; ++self) {
      Member& member = members[self];
      member.schedule = gather_schedule(self, size, root, sizes, 8);
      member.is_one_buffer = false;
      member.give = pattern(sizes[self], static_cast<std::uint8_t>(self));
      if (self == root) member.fill.resize(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}));
      whole.insert(whole.end(), member.give.begin(), member.give.end());
    }
    ASSERT_TRUE(run(members));
    expect_mutual_peers(members);
    const auto own = static_cast<std::ptrdiff_t>(std::accumulate(sizes.begin(), sizes.begin() + root, std::size_t{0}));
    std::ranges::copy(members[root].give, members[root].fill.begin() + own);  // stays where it is
    EXPECT_EQ(members[root].fill, whole);
  }
}

TEST_P(SchedulesOf, BroadcastReachesAllByTreeAndByChain) {
  const Rank size = GetParam();
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{100}, kTreeBytes, kTreeBytes + 1, 3 * kTreeBytes + 5}) {
    for (Rank root = 0; root < size; ++root) {
      const Bytes whole = pattern(bytes, static_cast<std::uint8_t>(root));
      std::vector<Member> members(size);
      std::uint64_t sent = 0;
      for (Rank self = 0; self < size; ++self) {
        members[self].schedule = broadcast_schedule(self, size, root, bytes, 10'000);
        members[self].fill = self == root ? whole : Bytes(bytes, 0xee);
      }
      ASSERT_TRUE(run(members));
      expect_mutual_peers(members);
      for (const Member& member : members) {
        EXPECT_EQ(member.fill, whole);
        sent += member.bytes_sent;
      }
      EXPECT_EQ(sent, bytes * (size - 1));
    }
  }
}

TEST_P(SchedulesOf, NobodyLeavesABarrierBeforeAllHaveEntered) {
  const Rank size = GetParam();
  for (Rank late = 0; late < size; ++late) {
    std::vector<Member> members(size);
    for (Rank self = 0; self < size; ++self) members[self].schedule = barrier_schedule(self, size);
    const Schedule late_schedule = std::exchange(members[late].schedule, {});
    const bool all_but_one_end = run(members);
    for (Rank self = 0; self < size; ++self) {
      if (self != late) {
        EXPECT_LT(members[self].received, members[self].schedule.receives.size());
      }
    }
    EXPECT_EQ(all_but_one_end, size == 1);
    members.assign(size, {});
    for (Rank self = 0; self < size; ++self) members[self].schedule = barrier_schedule(self, size);
    EXPECT_EQ(members[late].schedule.sends.size(), late_schedule.sends.size());
    EXPECT_TRUE(run(members));
    expect_mutual_peers(members);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SchedulesOf, ::testing::Values(1, 2, 3, 4, 5, 7, 8, 13));

TEST(Schedule, TransfersAreCutIntoSegments) {
  const Schedule send = send_schedule(4, 25, 10);
  const Schedule receive = receive_schedule(2, 25, 10);
  EXPECT_EQ(send.sends, (std::vector<Transfer>{{4, 0, 10, 0}, {4, 10, 10, 0}, {4, 20, 5, 0}}));
  EXPECT_TRUE(send.receives.empty());
  EXPECT_EQ(receive.receives, (std::vector<Transfer>{{2, 0, 10, 0}, {2, 10, 10, 0}, {2, 20, 5, 0}}));
  EXPECT_TRUE(receive.sends.empty());
  EXPECT_EQ(send.peers, std::vector<Rank>{4});
  EXPECT_EQ(receive.peers, std::vector<Rank>{2});
}

TEST(Schedule, BlocksOfOneOwnerSideBySideTravelTogether) {
  const std::vector<GatherBlock> blocks{{0, 4, 4}, {1, 8, 4}, {0, 0, 4}};
  EXPECT_EQ(all_gather_schedule(0, 2, blocks, 100).sends, (std::vector<Transfer>{{1, 0, 8, 0}}));
}

TEST(Schedule, ManySmallRunsArePackedOwnerByOwnerAndLargeOnesTravelAsTheyAre) {
  const std::vector<GatherBlock> small{{1, 10, 4}, {0, 0, 4}, {1, 6, 3}, {0, 20, 5}, {1, 30, 0}};
  const Packing packing = pack_small_blocks(3, small, 64);
  EXPECT_EQ(packing.bytes, 16U);
  ASSERT_EQ(packing.blocks.size(), 2U);
  std::size_t end = 0;
  for (const GatherBlock& block : packing.blocks) {
    EXPECT_EQ(block.offset, end);
    end += block.bytes;
  }
  EXPECT_EQ(end, packing.bytes);
  ASSERT_EQ(packing.moves.size(), 4U);
  const std::vector<std::array<std::size_t, 4>> expected{{0, 0, 0, 4}, {0, 20, 4, 5}, {1, 6, 9, 3}, {1, 10, 12, 4}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Packing::Move& move = packing.moves[i];
    EXPECT_EQ((std::array<std::size_t, 4>{move.owner, move.offset, move.packed, move.bytes}), expected[i]);
  }

  const std::vector<GatherBlock> large{{0, 0, 100}, {1, 100, 90}, {0, 190, 100}};
  EXPECT_TRUE(pack_small_blocks(2, large, 64).moves.empty());
  EXPECT_EQ(pack_small_blocks(2, large, 64).blocks.size(), large.size());
  const std::vector<GatherBlock> one_run_each{{0, 0, 8}, {1, 8, 8}};
  EXPECT_TRUE(pack_small_blocks(2, one_run_each, 64).moves.empty());
  EXPECT_TRUE(pack_small_blocks(2, {}, 64).blocks.empty());
}

}  // namespace
}  // namespace concerto
