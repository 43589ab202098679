// What operations do when all ranks take part: bytes, order, counters.
#include <algorithm>
#include <atomic>
#include <numeric>

#include "groups.hpp"
#include "operation_header.hpp"

namespace concerto {
namespace {

/// Takes part in one all-gather and expects every byte.
void expect_all_gathered(Communicator& communicator, const Layout& layout, std::uint64_t index) {
  Bytes buffer = layout.part_of(communicator.rank());
  const auto operation = communicator.all_gather(tag(index), buffer, layout.blocks);
  const auto done = communicator.wait(operation);
  ASSERT_TRUE(done) << done.failure().message;
  EXPECT_EQ(operation->state(), OperationState::kDone);
  EXPECT_TRUE(buffer == layout.whole) << "rank " << communicator.rank();
}

TEST_P(Communicators, KnowTheirPlace) {
  const Group group(GetParam(), patient());
  for (Rank rank = 0; rank < size(); ++rank) {
    EXPECT_EQ(group.ranks[rank]->rank(), rank);
    EXPECT_EQ(group.ranks[rank]->size(), size());
    EXPECT_EQ(group.ranks[rank]->name(), name_of(GetParam().kind));
    EXPECT_FALSE(group.ranks[rank]->failure());
  }
}

TEST_P(Communicators, AllGatherUnevenEmptyAndLargeBlocksInAnyOrder) {
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    for (std::uint64_t seed = 0; seed < 4; ++seed) expect_all_gathered(communicator, uneven_layout(size(), seed), seed);
  });
}

TEST_P(Communicators, AllGatherOfNothing) {
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    expect_all_gathered(communicator, {}, 0);
    expect_all_gathered(communicator, even_layout(size(), 0), 1);
  });
}

TEST_P(Communicators, AllGatherLeavesGapsAlone) {
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    Layout layout = even_layout(size(), 10);
    Bytes buffer = layout.part_of(communicator.rank());
    for (GatherBlock& block : layout.blocks) block = {block.owner, block.offset + 2, 5};
    const std::byte before = buffer[0];
    ASSERT_TRUE(communicator.wait(communicator.all_gather(tag(0), buffer, layout.blocks)));
    for (Rank rank = 0; rank < size(); ++rank) {
      EXPECT_TRUE(std::equal(&buffer[10 * rank + 2], &buffer[10 * rank + 7], &layout.whole[10 * rank + 2]));
      if (rank != communicator.rank()) {
        EXPECT_EQ(buffer[10 * rank + 8], std::byte{0x5a});
      }
    }
    EXPECT_EQ(buffer[0], before);
  });
}

// Headers go to both neighbours; of devices to all ranks.
TEST_P(Communicators, AnAllGatherSendsTheLeastPossibleBesidesHeaders) {
  const std::size_t share = 2'500'000;
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    const Layout layout = even_layout(size(), share);
    Bytes buffer = layout.part_of(communicator.rank());
    const auto operation = communicator.all_gather(tag(0), buffer, layout.blocks);
    ASSERT_TRUE(communicator.wait(operation));
    const CommCounters counters = communicator.counters();
    EXPECT_EQ(counters.bytes_sent, share * (size() - 1));
    EXPECT_EQ(counters.bytes_received, share * (size() - 1));
    EXPECT_EQ(counters.header_bytes_sent,
              kHeaderBytes * (is_nccl(GetParam().kind) ? size() - 1 : std::min<Rank>(size() - 1, 2)));
    EXPECT_EQ(counters.operations, 1U);
    EXPECT_EQ(operation->bytes_moved(), 2 * share * (size() - 1));
  });
}

TEST_P(Communicators, GatherToEachRoot) {
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    for (Rank root = 0; root < size(); ++root) {
      std::vector<std::size_t> sizes(size());
      Bytes whole;
      for (Rank rank = 0; rank < size(); ++rank) {
        sizes[rank] = rank == (root + 1) % 3 ? 0 : 1'200'000 / (rank + 1);
        const Bytes part = pattern(sizes[rank], rank);
        whole.insert(whole.end(), part.begin(), part.end());
      }
      const Bytes mine = pattern(sizes[communicator.rank()], communicator.rank());
      Bytes received(communicator.rank() == root ? whole.size() : 0);
      ASSERT_TRUE(communicator.wait(communicator.gather(tag(root), root, mine, received, sizes)));
      if (communicator.rank() == root) {
        EXPECT_TRUE(received == whole);
      }
    }
  });
}

TEST_P(Communicators, BroadcastFromEachRoot) {
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    std::uint64_t index = 0;
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{2'345'678}}) {
      for (Rank root = 0; root < size(); ++root, ++index) {
        const Bytes whole = pattern(bytes, root);
        Bytes buffer = communicator.rank() == root ? whole : Bytes(bytes);
        ASSERT_TRUE(communicator.wait(communicator.broadcast(tag(index), root, buffer)));
        EXPECT_TRUE(buffer == whole);
      }
    }
  });
}

TEST_P(Communicators, NobodyLeavesABarrierBeforeAllHaveEntered) {
  const Group group(GetParam(), patient());
  std::atomic<std::uint64_t> entered{0};
  group.each([&](Communicator& communicator) {
    for (std::uint64_t round = 0; round < 50; ++round) {
      entered.fetch_add(1);
      ASSERT_TRUE(communicator.wait(communicator.barrier(tag(2 * round))));
      EXPECT_EQ(entered.load(), (round + 1) * size());
      ASSERT_TRUE(communicator.wait(communicator.barrier(tag(2 * round + 1))));  // nobody enters the next one early
    }
  });
}

TEST_P(Communicators, SendsAndReceivesCross) {
  const Group group(GetParam(), patient());
  constexpr std::size_t kLong = 3'000'000;
  group.each([&](Communicator& communicator) {
    const Rank self = communicator.rank();
    std::vector<OperationHandle> operations;
    std::vector<Bytes> received;
    std::vector<Bytes> sent;
    received.reserve(2 * size());
    sent.reserve(2 * size());
    // Of two to the same rank one is empty.
    const auto send_to = [&](Rank peer) {
      for (std::uint64_t index = 0; index < 2; ++index) {
        sent.push_back(pattern(index * kLong, self * 8 + peer));
        operations.push_back(communicator.send(tag(index), peer, sent.back()));
      }
    };
    const auto receive_from = [&](Rank peer) {
      for (std::uint64_t index = 0; index < 2; ++index) {
        received.emplace_back(index * kLong);
        operations.push_back(communicator.receive(tag(index), peer, received.back()));
      }
    };
    // Every rank starts all sends, then all receives. Devices go by shifts: some of their transfers keep an order.
    const bool is_by_shifts = is_nccl(GetParam().kind);
    for (Rank shift = 1; shift < size(); ++shift) {
      send_to((self + shift) % size());
      if (is_by_shifts) receive_from((self + size() - shift) % size());
    }
    for (Rank shift = 1; shift < size() && !is_by_shifts; ++shift) receive_from((self + size() - shift) % size());
    for (const OperationHandle& operation : operations) ASSERT_TRUE(communicator.wait(operation));
    for (Rank shift = 1; shift < size(); ++shift) {
      const Rank peer = (self + size() - shift) % size();
      for (std::uint64_t index = 0; index < 2; ++index) {
        EXPECT_TRUE(received[2 * (shift - 1) + index] == pattern(index * kLong, peer * 8 + self));
      }
    }
    EXPECT_EQ(communicator.counters().bytes_sent, (size() - 1) * kLong);
  });
}

TEST_P(Communicators, AReceiveDoesNotHoldUpWhatItWaitsFor) {
  if (size() < 2) return;  // nobody to receive from
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    Bytes answer(4);
    Bytes question = pattern(4, 1);
    if (communicator.rank() == 0) {
      const auto late = communicator.receive(tag(0), 1, answer);
      ASSERT_TRUE(communicator.wait(communicator.send(tag(1), 1, question)));
      ASSERT_TRUE(communicator.wait(late));
      EXPECT_TRUE(answer == pattern(4, 2));
    } else if (communicator.rank() == 1) {
      ASSERT_TRUE(communicator.wait(communicator.receive(tag(1), 0, answer)));
      EXPECT_TRUE(answer == question);
      question = pattern(4, 2);
      ASSERT_TRUE(communicator.wait(communicator.send(tag(0), 0, question)));
    }
  });
}

// What rank 1 waits for comes round only once it has sent.
TEST_P(Communicators, AReceiveDoesNotHoldUpARoundThatComesBackToIt) {
  if (size() < 3) return;  // no round
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    const Rank self = communicator.rank();
    Bytes taken(1000);
    const Bytes given = pattern(1000, self);
    const Rank from = (self + 1) % size();
    const Rank to = (self + size() - 1) % size();
    const auto receiving = communicator.receive(tag(from), from, taken);
    if (self != 1) {
      ASSERT_TRUE(communicator.wait(receiving));
    }
    ASSERT_TRUE(communicator.wait(communicator.send(tag(self), to, given)));
    ASSERT_TRUE(communicator.wait(receiving));
    EXPECT_TRUE(taken == pattern(1000, from));
  });
}

TEST_P(Communicators, ManyOperationsInFlightEndInTheirOrder) {
  const Group group(GetParam(), patient());
  constexpr std::uint64_t kRounds = 20;
  group.each([&](Communicator& communicator) {
    const Rank self = communicator.rank();
    std::vector<OperationHandle> operations;
    std::vector<Bytes> gathered;
    std::vector<Bytes> spread;
    gathered.reserve(kRounds);
    spread.reserve(kRounds);
    const auto layout_of = [&](std::uint64_t round) {
      Layout layout = even_layout(size(), 1 + 997 * round);
      layout.whole = pattern(layout.whole.size(), round);
      return layout;
    };
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      const Layout layout = layout_of(round);
      const Rank root = static_cast<Rank>(round % size());
      gathered.push_back(layout.part_of(self));
      spread.push_back(root == self ? pattern(100 * round, root) : Bytes(100 * round));
      operations.push_back(communicator.all_gather(tag(3 * round), gathered.back(), layout.blocks));
      operations.push_back(communicator.broadcast(tag(3 * round + 1), root, spread.back()));
      operations.push_back(communicator.barrier(tag(3 * round + 2)));
    }
    ASSERT_TRUE(communicator.wait(operations.back()));
    for (const OperationHandle& operation : operations) EXPECT_EQ(operation->state(), OperationState::kDone);
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      EXPECT_TRUE(gathered[round] == layout_of(round).whole);
      EXPECT_TRUE(spread[round] == pattern(100 * round, round % size()));
    }
    EXPECT_EQ(communicator.counters().operations, 3 * kRounds);
  });
}

TEST_P(Communicators, TellOfChangesAfterTheyHappened) {
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    std::atomic<int> told{0};
    communicator.on_change([&] { told.fetch_add(1); });
    OperationHandle operation;
    for (std::uint64_t index = 0; index < 5; ++index) {
      operation = communicator.barrier(tag(index));
      ASSERT_TRUE(communicator.wait(operation));
    }
    communicator.abort("the end");  // after it nobody is told of those five any more
    EXPECT_GE(told.load(), 4);
    EXPECT_LE(told.load(), 5);
    EXPECT_EQ(operation->state(), OperationState::kDone);
    EXPECT_TRUE(communicator.wait(operation)) << "what was done stays done";
  });
}

// Whoever has done its part leaves at once; what it has sent still arrives.
TEST_P(Communicators, ARankThatIsDoneMayLeave) {
  for (int round = 0; round < 5; ++round) {
    Group group(GetParam(), patient());
    group.each([&](Rank rank) {
      const std::unique_ptr<Communicator> communicator = std::move(group.ranks[rank]);
      const Bytes whole = pattern(6'000'000, 1);
      Bytes buffer = rank == 0 ? whole : Bytes(whole.size());
      const auto done = communicator->wait(communicator->broadcast(tag(0), 0, buffer));
      ASSERT_TRUE(done) << done.failure().message;
      EXPECT_TRUE(buffer == whole);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, Communicators, ::testing::ValuesIn(cases_of({1, 2, 3, 4, 8})),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace concerto
