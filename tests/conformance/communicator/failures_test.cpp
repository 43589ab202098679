// What happens when ranks do not agree, do not come, or give up: every rank ends, says why, and touches no buffer
// after.
#include <algorithm>
#include <future>
#include <map>
#include <optional>
#include <set>
#include <string>

#include <gmock/gmock.h>

#include "groups.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;
using Start = std::function<OperationHandle(Communicator&)>;

CommLimits hasty() {
  return {milliseconds(200), milliseconds(60'000)};
}

class CommunicatorFailures : public Communicators {};

/// Each rank starts one operation. Who failed and how, by rank.
std::map<Rank, CommFailure> failures_of(const Group& group, const Start& start) {
  std::vector<std::optional<CommFailure>> failures(group.ranks.size());
  group.each([&](Communicator& communicator) {
    const OperationHandle operation = start(communicator);
    const auto result = communicator.wait(operation);
    EXPECT_EQ(operation->state(), result ? OperationState::kDone : OperationState::kFailed);
    if (result) return;
    failures[communicator.rank()] = communicator.failure();
    ASSERT_TRUE(failures[communicator.rank()]);
    EXPECT_EQ(failures[communicator.rank()]->failure.message, result.failure().message);
  });
  std::map<Rank, CommFailure> by_rank;
  for (Rank rank = 0; rank < failures.size(); ++rank) {
    if (failures[rank]) by_rank[rank] = *failures[rank];
  }
  return by_rank;
}

/// The odd rank out is the last one: it and whoever deals with it say that they do not agree. Whoever hears of that
/// only by connections that end, has lost somebody; whoever has done its part before, may be done.
void expect_mismatch(const Group& group, const Start& start, const std::string& words) {
  const auto last = static_cast<Rank>(group.ranks.size() - 1);
  const std::map<Rank, CommFailure> failures = failures_of(group, start);
  std::ptrdiff_t mismatches = 0;
  EXPECT_TRUE(failures.contains(last));
  for (const auto& [rank, failure] : failures) {
    EXPECT_EQ(std::ranges::count(failure.suspects, rank), 0);
    if (failure.failure.kind != FailureKind::kMismatch) {
      EXPECT_EQ(failure.failure.kind, FailureKind::kLost) << failure.failure.message;
      continue;
    }
    ++mismatches;
    EXPECT_THAT(failure.failure.message, HasSubstr(words));
    EXPECT_TRUE(rank == last || failure.suspects == std::vector<Rank>{last}) << failure.failure.message;
  }
  EXPECT_GE(mismatches, 1);
}

TEST_P(CommunicatorFailures, AnotherTag) {
  const Group group(GetParam(), patient());
  const Layout layout = even_layout(size(), 1000);
  std::vector<Bytes> buffers(size(), layout.whole);
  expect_mismatch(
      group,
      [&](Communicator& communicator) {
        const bool is_odd = communicator.rank() == size() - 1;
        return communicator.all_gather(tag(is_odd ? 6 : 5), buffers[communicator.rank()], layout.blocks);
      },
      "at all-gather (epoch 1, step 7, table 0, operation 6)");
}

TEST_P(CommunicatorFailures, BothSidesNameBothTagsAndBothRanks) {
  const Group group(GetParam(), patient());
  std::vector<Bytes> buffers(size(), Bytes(100));
  const std::map<Rank, CommFailure> failures = failures_of(group, [&](Communicator& communicator) {
    const Rank self = communicator.rank();
    if (self == 0) return communicator.send(tag(1), 1, buffers[0]);
    if (self == 1) return communicator.receive(tag(2), 0, buffers[1]);
    communicator.abort("takes no part");
    return communicator.barrier(tag(0));
  });
  for (const Rank rank : {Rank{0}, Rank{1}}) {
    const CommFailure& failure = failures.at(rank);
    EXPECT_EQ(failure.failure.kind, FailureKind::kMismatch) << failure.failure.message;
    EXPECT_EQ(failure.suspects, std::vector<Rank>{1 - rank});
    EXPECT_EQ(failure.tag, tag(rank + 1));
    for (const char* part : {"rank 0", "rank 1", "operation 1", "operation 2"}) {
      EXPECT_THAT(failure.failure.message, HasSubstr(part));
    }
  }
}

TEST_P(CommunicatorFailures, AnotherKindOfOperation) {
  const Group group(GetParam(), patient());
  const std::vector<std::size_t> sizes(size(), 10);
  std::vector<Bytes> buffers(size(), Bytes(10));
  std::vector<Bytes> received(size(), Bytes(10 * size()));
  expect_mismatch(
      group,
      [&](Communicator& communicator) {
        const Rank self = communicator.rank();
        if (self == size() - 1) return communicator.barrier(tag(5));
        return communicator.gather(tag(5), 0, buffers[self], received[self], sizes);
      },
      "barrier");
}

TEST_P(CommunicatorFailures, AnotherSize) {
  const Group group(GetParam(), patient());
  std::vector<Bytes> buffers(size(), Bytes(3'000'000));
  expect_mismatch(
      group,
      [&](Communicator& communicator) {
        const std::size_t bytes = communicator.rank() == size() - 1 ? 1000 : 3'000'000;
        return communicator.broadcast(tag(5), 0, std::span(buffers[communicator.rank()]).first(bytes));
      },
      "bytes");
}

TEST_P(CommunicatorFailures, AnotherDivisionOfTheSameBytes) {
  const Group group(GetParam(), patient());
  std::vector<Bytes> buffers(size(), Bytes(1000 * size()));
  expect_mismatch(
      group,
      [&](Communicator& communicator) {
        Layout layout = even_layout(size(), 1000);
        if (communicator.rank() == size() - 1) std::swap(layout.blocks[0].owner, layout.blocks[1].owner);
        return communicator.all_gather(tag(5), buffers[communicator.rank()], layout.blocks);
      },
      "divided in different ways");
}

TEST_P(CommunicatorFailures, AnotherRoot) {
  const Group group(GetParam(), patient());
  std::vector<Bytes> buffers(size(), Bytes(1000));
  expect_mismatch(
      group,
      [&](Communicator& communicator) {
        return communicator.broadcast(tag(5), communicator.rank() == size() - 1, buffers[communicator.rank()]);
      },
      "roots");
}

TEST_P(CommunicatorFailures, ATransferOfAnotherSize) {
  const Group group(GetParam(), patient());
  std::vector<Bytes> buffers(size(), Bytes(2000));
  const std::map<Rank, CommFailure> failures = failures_of(group, [&](Communicator& communicator) {
    const Rank self = communicator.rank();
    if (self == 0) return communicator.send(tag(1), 1, buffers[0]);
    if (self == 1) return communicator.receive(tag(1), 0, std::span(buffers[1]).first(1000));
    communicator.abort("takes no part");
    return communicator.barrier(tag(0));
  });
  for (const Rank rank : {Rank{0}, Rank{1}}) {
    EXPECT_EQ(failures.at(rank).failure.kind, FailureKind::kMismatch);
    EXPECT_THAT(failures.at(rank).failure.message, HasSubstr("1000"));
  }
}

TEST_P(CommunicatorFailures, WhoeverDoesNotComeIsWaitedForUntilTheLimit) {
  const Group group(GetParam(), hasty());
  const Rank absent = size() - 1;
  std::vector<Bytes> buffers(size(), Bytes(1000 * size()));
  std::atomic<int> timeouts{0};
  group.each([&](Communicator& communicator) {
    const Rank self = communicator.rank();
    if (self == absent) return;
    const auto begin = std::chrono::steady_clock::now();
    const auto first = communicator.all_gather(tag(5), buffers[self], even_layout(size(), 1000).blocks);
    const auto second = communicator.barrier(tag(6));
    const auto result = communicator.wait(first);
    ASSERT_FALSE(result);
    const CommFailure failure = *communicator.failure();
    if (failure.failure.kind == FailureKind::kTimeout) {
      timeouts.fetch_add(1);
      EXPECT_GE(std::chrono::steady_clock::now() - begin, hasty().operation) << "counted from the call";
      EXPECT_EQ(failure.tag, tag(5)) << "the oldest";
      EXPECT_EQ(failure.suspects.size(), is_nccl(GetParam().kind) ? 0U : 1U) << "NCCL does not say who";
      EXPECT_THAT(failure.failure.message, HasSubstr("within 200 ms"));
    } else {
      EXPECT_EQ(failure.failure.kind, FailureKind::kLost) << failure.failure.message;
    }
    EXPECT_FALSE(communicator.wait(second));
  });
  EXPECT_GE(timeouts.load(), 1);
  EXPECT_FALSE(group.ranks[absent]->failure()) << "it has begun nothing";
}

TEST_P(CommunicatorFailures, AFailureIsFinal) {
  const Group group(GetParam(), hasty());
  group.ranks[0]->abort("enough");
  for (std::uint64_t index = 0; index < 3; ++index) {
    const auto operation = group.ranks[0]->barrier(tag(index));
    EXPECT_EQ(operation->state(), OperationState::kFailed);
    const auto result = group.ranks[0]->wait(operation);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.failure().kind, FailureKind::kAborted);
    EXPECT_EQ(result.failure().message, "enough");
  }
  group.ranks[0]->abort("again");
  EXPECT_EQ(group.ranks[0]->failure()->failure.message, "enough");
  for (Rank rank = 1; rank < size(); ++rank) {
    const auto result = group.ranks[rank]->wait(group.ranks[rank]->barrier(tag(0)));
    ASSERT_FALSE(result);
    const bool may_not_hear = is_nccl(GetParam().kind) && result.failure().kind == FailureKind::kTimeout;
    EXPECT_TRUE(result.failure().kind == FailureKind::kLost || may_not_hear) << result.failure().message;
  }
}

// The buffers are given back the moment abort() returns: a sanitizer sees whoever still uses them.
TEST_P(CommunicatorFailures, AbortFromAnotherThreadWakesEveryoneAndFreesTheBuffers) {
  for (int round = 0; round < 5; ++round) {
    const Group group(GetParam(), patient());
    const Layout layout = even_layout(size(), 3'000'000);
    group.each([&](Communicator& communicator) {
      const Rank self = communicator.rank();
      auto gathered = std::make_unique<Bytes>(layout.part_of(self));
      auto received = std::make_unique<Bytes>(1000);
      std::promise<OperationHandle> begun;
      std::thread waiter([&, started = begun.get_future()]() mutable {
        EXPECT_FALSE(communicator.wait(started.get())) << "nobody sends that";
      });
      const auto gathering = communicator.all_gather(tag(5), *gathered, layout.blocks);
      begun.set_value(communicator.receive(tag(6), (self + 1) % size(), *received));
      // In some rounds in the middle of the transfer, in some after it.
      if (round % 2 == 0) (void)communicator.wait(gathering);
      std::thread([&] {
        communicator.abort("given up");
        gathered.reset();
        received.reset();
      }).join();
      waiter.join();
      EXPECT_TRUE(communicator.failure());
    });
  }
}

TEST_P(CommunicatorFailures, AbortMayBeCalledByWhoIsToldOfAChange) {
  const Group group(GetParam(), patient());
  group.each([&](Communicator& communicator) {
    std::promise<void> aborted;
    std::atomic_flag is_told{};
    communicator.on_change([&] {
      if (is_told.test_and_set()) return;
      communicator.abort("as told");
      aborted.set_value();
    });
    (void)communicator.wait(communicator.barrier(tag(0)));
    aborted.get_future().wait();
    EXPECT_FALSE(communicator.wait(communicator.barrier(tag(1))));
  });
}

TEST_P(CommunicatorFailures, DestructionGivesUpWhatIsPending) {
  Group group(GetParam(), patient());
  auto received = std::make_unique<Bytes>(1000);
  const auto operation = group.ranks[0]->receive(tag(0), 1, *received);
  group.ranks[0].reset();
  received.reset();
  EXPECT_EQ(operation->state(), OperationState::kFailed);
}

INSTANTIATE_TEST_SUITE_P(Groups, CommunicatorFailures, ::testing::ValuesIn(cases_of({2, 3, 4, 8})),
                         ::testing::PrintToStringParamName());

TEST(InprocFaults, APausedRankIsOnlyLate) {
  const Group group({Kind::kInproc, 4}, patient());
  group.faults->pause(2);
  std::vector<OperationHandle> operations;
  for (const auto& rank : group.ranks) operations.push_back(rank->barrier(tag(0)));
  EXPECT_EQ(operations[0]->state(), OperationState::kPending) << "rank 2 is silent";
  group.faults->resume(2);
  for (Rank rank = 0; rank < 4; ++rank) EXPECT_TRUE(group.ranks[rank]->wait(operations[rank]));
}

TEST(InprocFaults, ARankThatStaysPausedIsATimeout) {
  const Group group({Kind::kInproc, 4}, hasty());
  group.faults->pause(2);
  std::set<FailureKind> kinds;
  std::vector<OperationHandle> operations;
  for (const auto& rank : group.ranks) operations.push_back(rank->barrier(tag(0)));
  for (Rank rank = 0; rank < 4; ++rank) {
    ASSERT_FALSE(group.ranks[rank]->wait(operations[rank]));
    kinds.insert(group.ranks[rank]->failure()->failure.kind);
  }
  EXPECT_TRUE(kinds.contains(FailureKind::kTimeout));
  kinds.erase(FailureKind::kTimeout);
  kinds.erase(FailureKind::kLost);
  EXPECT_TRUE(kinds.empty());
}

TEST(InprocFaults, ARankThatIsCutOffIsLostAndSuspectedByAll) {
  const Group group({Kind::kInproc, 4}, patient());
  group.faults->pause(2);
  std::vector<OperationHandle> operations;
  for (const auto& rank : group.ranks) operations.push_back(rank->barrier(tag(0)));
  group.faults->cut(2);
  for (const Rank rank : {0, 1, 3}) {
    ASSERT_FALSE(group.ranks[rank]->wait(operations[rank]));
    const CommFailure failure = *group.ranks[rank]->failure();
    EXPECT_EQ(failure.failure.kind, FailureKind::kLost);
    EXPECT_EQ(std::ranges::count(failure.suspects, 2), 1) << failure.failure.message;
  }
}

}  // namespace
}  // namespace concerto
