// The communicator of devices against a fake NCCL that fails, hangs and lies when told to. What it does when all is
// well is in the conformance suite.
#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"

#include "nccl_ranks.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

TEST_F(Nccl, EndsInOrderWhenNothingIsPending) {
  make_all(3);
  each([&](Rank rank) { EXPECT_TRUE(ranks[rank]->wait(ranks[rank]->barrier(tag(0)))); });
  ranks.clear();
  const FakeNcclReport seen = report();
  EXPECT_EQ(seen.made, 15);
  EXPECT_EQ(seen.destroyed, 15);
  EXPECT_EQ(seen.aborted, 0);
  EXPECT_EQ(seen.misused, 0);
}

TEST_F(Nccl, NothingIsCalledOnACommunicatorInProgress) {
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.slow_polls = 20; });
  make_all(2);
  each([&](Rank rank) {
    Bytes buffer(1000 * (rank + 1));
    const std::vector<std::size_t> sizes{1000, 2000};
    Bytes received(rank == 0 ? 3000 : 0);
    for (std::uint64_t index = 0; index < 3; ++index) {
      EXPECT_TRUE(ranks[rank]->wait(ranks[rank]->gather(tag(index), 0, buffer, received, sizes)));
    }
  });
  ranks.clear();
  EXPECT_EQ(report().misused, 0);
  EXPECT_EQ(report().destroyed, 6);
}

TEST_F(Nccl, InputsAreTakenWhenTheirStreamHasMadeThem) {
  FakeStream compute;
  options.stream = &compute;
  make_all(2);
  Bytes given(100, std::byte{0});
  Bytes taken(100, std::byte{0});
  std::promise<void> may_compute;
  compute.put([&, ready = may_compute.get_future().share()] {
    ready.wait();
    std::fill(given.begin(), given.end(), std::byte{7});
  });
  const auto sent = ranks[0]->send(tag(0), 1, given);
  const auto received = ranks[1]->receive(tag(0), 0, taken);
  EXPECT_EQ(received->state(), OperationState::kPending);
  may_compute.set_value();
  EXPECT_TRUE(ranks[0]->wait(sent));
  EXPECT_TRUE(ranks[1]->wait(received));
  EXPECT_EQ(taken, Bytes(100, std::byte{7}));
  ranks.clear();
}

TEST_F(Nccl, AnErrorOfARemoteRankIsALossAndEverythingIsAborted) {
  limits.operation = milliseconds(2'000);
  make_all(3);
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.error_after = {{1, 3}}; });
  std::map<Rank, FailureKind> kinds;
  std::mutex mutex;
  each([&](Rank rank) {
    Bytes buffer(3000);
    const std::vector<GatherBlock> blocks{{0, 0, 1000}, {1, 1000, 500}, {2, 1500, 1500}};
    for (std::uint64_t index = 0;; ++index) {
      if (!ranks[rank]->wait(ranks[rank]->all_gather(tag(index), buffer, blocks))) break;
    }
    const std::lock_guard lock(mutex);
    kinds[rank] = ranks[rank]->failure()->failure.kind;
    if (rank == 1) {
      EXPECT_THAT(ranks[rank]->failure()->failure.message, HasSubstr("remote process"));
    }
  });
  EXPECT_EQ(kinds.at(1), FailureKind::kLost);
  EXPECT_EQ(kinds.at(0), FailureKind::kTimeout) << "NCCL told it nothing";
  EXPECT_EQ(kinds.at(2), FailureKind::kTimeout);
  ranks.clear();
  EXPECT_EQ(report().aborted, 15);
}

TEST_F(Nccl, AnErrorIsNoticedWhileNothingIsPending) {
  make_all(2);
  each([&](Rank rank) { EXPECT_TRUE(ranks[rank]->wait(ranks[rank]->barrier(tag(0)))); });
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.error_after = {{0, 0}}; });
  const auto operation = ranks[1]->barrier(tag(1));
  // Rank 0 has nothing to tell of; that it has failed shows when it is asked.
  while (!ranks[0]->failure()) std::this_thread::yield();
  EXPECT_EQ(ranks[0]->failure()->failure.kind, FailureKind::kLost);
  EXPECT_EQ(ranks[0]->barrier(tag(1))->state(), OperationState::kFailed);
  ranks[1]->abort("rank 0 is gone");
  EXPECT_FALSE(ranks[1]->wait(operation));
}

TEST_F(Nccl, WorkThatIsTakenAndNeverDoneIsATimeout) {
  limits.operation = milliseconds(200);
  make_all(2);
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.swallow_after = {{0, 0}}; });
  each([&](Rank rank) {
    Bytes buffer(10);
    const auto operation = rank == 0 ? ranks[0]->send(tag(0), 1, buffer) : ranks[1]->receive(tag(0), 0, buffer);
    const auto result = ranks[rank]->wait(operation);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.failure().kind, FailureKind::kTimeout);
    EXPECT_EQ(ranks[rank]->failure()->suspects, std::vector<Rank>{1 - rank});
  });
}

TEST_F(Nccl, AnAbortThatHangsIsToldOnce) {
  std::vector<std::string> told;
  options.abort_limit = milliseconds(50);
  options.on_hung_abort = [&](const std::string& what) { told.push_back(what); };
  make_all(2);
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.hang_abort = true; });
  Bytes buffer(10);
  const auto operation = ranks[0]->receive(tag(0), 1, buffer);
  ranks[0]->abort("enough");
  EXPECT_FALSE(ranks[0]->wait(operation));
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0], "NCCL did not give up a communicator within 50 ms after: enough");
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.hang_abort = false; });
  while (report().aborted < 3) std::this_thread::yield();
}

using NcclDeathTest = Nccl;

TEST_F(NcclDeathTest, AnAbortThatHangsEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        options.abort_limit = milliseconds(50);
        make_all(1);
        access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.hang_abort = true; });
        ranks[0]->abort("enough");
      },
      "NCCL did not give up a communicator within 50 ms after: enough");
}

TEST_F(Nccl, AnEndThatHangsIsAborted) {
  options.finish_limit = milliseconds(50);
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.hang_finalize = true; });
  make_all(2);
  ranks.clear();
  EXPECT_EQ(report().aborted, 6);
  EXPECT_EQ(report().destroyed, 0);
}

TEST_F(Nccl, RanksThatDoNotComeAreNamed) {
  limits.connect = milliseconds(50);
  const auto made = make(1, 3);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().kind, FailureKind::kTimeout);
  EXPECT_THAT(made.failure().message, HasSubstr("0, 2"));
}

TEST_F(Nccl, ConnectingThatGoesOnForeverIsATimeoutAndAborted) {
  limits.connect = milliseconds(300);
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.never_connects = 0; });
  ranks.resize(2);
  each([&](Rank rank) {
    const auto made = make(rank, 2);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.failure().kind, FailureKind::kTimeout);
  });
  EXPECT_EQ(report().made, report().aborted);
  ranks.clear();
}

TEST_F(Nccl, AConnectionThatIsRefusedIsSaid) {
  limits.connect = milliseconds(300);
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.refused_rank = 0; });
  const auto made = make(0, 1);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().kind, FailureKind::kUnreachable);
  EXPECT_THAT(made.failure().message, HasSubstr("NCCL cannot connect: fake error"));
}

TEST_F(Nccl, AnOldVersionIsRefused) {
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.version = 21'403; });
  try {
    const NcclLibrary library(CONCERTO_FAKE_NCCL);
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_EQ(error.message(), "NCCL is of version 21403: 21800 or later is needed");
  }
}

TEST_F(Nccl, WhatIsNoNcclIsRefused) {
  try {
    const LoadedLibrary library(CONCERTO_FAKE_NCCL, {}, "");
    void (*function)() = nullptr;
    library.resolve("ncclOfNoVersion", function);
    FAIL() << "it has everything";
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("has no ncclOfNoVersion"));
  }
  options.library = "/no/such/libnccl.so";
  EXPECT_THAT(nccl_obstacle(options), HasSubstr("'/no/such/libnccl.so' does not load"));
  EXPECT_THROW(LoadedLibrary("", {"libsuchlibraryisnowhere.so.2"}, "such"), Error);
}

// The table of functions against the real thing, where there is one. It needs no device.
TEST_F(Nccl, TheRealLibraryHasWhatIsUsed) {
  try {
    const NcclLibrary library("");
    EXPECT_GE(library.version(), nccl::kOldestVersion);
    nccl::UniqueId first{};
    nccl::UniqueId second{};
    ASSERT_EQ(library.api().get_unique_id(&first), nccl::Status::kSuccess);
    ASSERT_EQ(library.api().get_unique_id(&second), nccl::Status::kSuccess);
    EXPECT_NE(std::string(first.bytes, 128), std::string(second.bytes, 128));
    EXPECT_STRNE(library.api().error_string(nccl::Status::kRemoteError),
                 library.api().error_string(nccl::Status::kSuccess));
  } catch (const Error& error) {
    GTEST_SKIP() << "SKIPPED: " << error.message();
  }
}

}  // namespace
}  // namespace concerto
