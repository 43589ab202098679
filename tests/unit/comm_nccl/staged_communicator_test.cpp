// Buffers of the host over devices: what becomes of device memory, and of failures on the way. What the communicator
// does when all is well is in the conformance suite.
#include <algorithm>
#include <limits>

#include <gmock/gmock.h>

#include "nccl_communicator.hpp"
#include "nccl_ranks.hpp"
#include "staging.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

Bytes counted(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + (i >> 11));
  return bytes;
}

class Staged : public Nccl {
 protected:
  Result<std::unique_ptr<Communicator>> make(Rank rank, Rank size) override {
    FolderStore store(folder.path());
    auto device = std::make_unique<FakeDevice>(FakeDevice::Copies::kOwnMemory, capacity);
    {
      const std::lock_guard lock(mutex_);
      devices.resize(std::max<std::size_t>(devices.size(), size));
      devices[rank] = device.get();
    }
    return connect_staged_nccl(store, NcclLibrary(CONCERTO_FAKE_NCCL), std::make_unique<FakeDevice>(),
                               std::move(device), rank, size, options, limits);
  }

  std::size_t capacity = std::numeric_limits<std::size_t>::max();
  std::vector<FakeDevice*> devices;

 private:
  std::mutex mutex_;
};

TEST_F(Staged, MemoryOfTheDeviceGrowsOnceAndIsUsedAgain) {
  make_all(2);
  std::vector<std::size_t> after_first;
  for (std::uint64_t round = 0; round < 10; ++round) {
    each([&](Rank rank) {
      Bytes buffer(300'000);
      const std::vector<GatherBlock> blocks{{0, 0, 100'000}, {1, 100'000, 200'000}};
      ASSERT_TRUE(ranks[rank]->wait(ranks[rank]->all_gather(tag(2 * round), buffer, blocks)));
      ASSERT_TRUE(ranks[rank]->wait(ranks[rank]->broadcast(tag(2 * round + 1), 0, std::span(buffer).first(70'000))));
    });
    if (round == 0) after_first = {devices[0]->allocated(), devices[1]->allocated()};
    EXPECT_EQ(devices[0]->allocated(), after_first[0]);
    EXPECT_EQ(devices[1]->allocated(), after_first[1]);
  }
  // The smaller one fits in what the larger one has left.
  EXPECT_EQ(after_first, (std::vector<std::size_t>{524'288, 524'288}));
}

TEST_F(Staged, ADeviceThatIsFullEndsTheRunWithItsWords) {
  capacity = 100'000;
  limits.operation = milliseconds(2'000);
  make_all(2);
  each([&](Rank rank) {
    Bytes buffer(1'000'000);
    const auto done = ranks[rank]->wait(ranks[rank]->broadcast(tag(0), 0, buffer));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.failure().kind, FailureKind::kLost);
    EXPECT_EQ(done.failure().message,
              "broadcast (epoch 1, step 0, table 0, operation 0): device 0 cannot allocate memory: out of memory");
    EXPECT_FALSE(ranks[rank]->wait(ranks[rank]->barrier(tag(1))));
  });
  ranks.clear();
  EXPECT_EQ(report().aborted, 6);
}

TEST_F(Staged, AFailureBelowIsTheFailure) {
  limits.operation = milliseconds(2'000);
  make_all(2);
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.error_after = {{1, 2}}; });
  each([&](Rank rank) {
    Bytes buffer(1000);
    std::uint64_t index = 0;
    while (ranks[rank]->wait(ranks[rank]->broadcast(tag(index), 0, buffer))) ++index;
    if (rank == 0) return;
    const CommFailure failure = *ranks[1]->failure();
    EXPECT_EQ(failure.failure.kind, FailureKind::kLost);
    EXPECT_THAT(failure.failure.message, HasSubstr("remote process"));
  });
  ranks.clear();
  EXPECT_EQ(report().aborted, 6);
}

TEST_F(Staged, AFailureBelowIsNoticedWhileNothingIsPending) {
  make_all(1);
  ASSERT_TRUE(ranks[0]->wait(ranks[0]->barrier(tag(0))));
  access([](FakeNcclOrders& orders, FakeNcclReport&) { orders.error_after = {{0, 0}}; });
  while (!ranks[0]->failure()) std::this_thread::yield();
  EXPECT_EQ(ranks[0]->failure()->failure.kind, FailureKind::kLost);
}

TEST_F(Staged, WorkThatIsTakenAndNeverDoneIsATimeoutOfWhoIsWaitedFor) {
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

TEST(NcclLanes, InALaneARankSendsOrReceives) {
  for (const Rank size : {1U, 2U, 3U, 8U, 13U, 64U}) {
    for (std::size_t lane = 1; lane < nccl_lanes(size); ++lane) {
      for (Rank rank = 0; rank < size; ++rank) {
        bool sends = false;
        bool receives = false;
        for (Rank peer = 0; peer < size; ++peer) {
          if (peer == rank) continue;
          ASSERT_LT(nccl_transfer_lane(rank, peer), nccl_lanes(size));
          ASSERT_NE(nccl_transfer_lane(rank, peer), 0U);
          sends = sends || nccl_transfer_lane(rank, peer) == lane;
          receives = receives || nccl_transfer_lane(peer, rank) == lane;
        }
        EXPECT_FALSE(sends && receives) << "rank " << rank << " of " << size << ", lane " << lane;
      }
    }
  }
}

TEST(StagingPath, CopiesWhatIsLongerThanAllItsPieces) {
  FakeDevice device(FakeDevice::Copies::kOwnMemory);
  StagingBuffers buffers(device);
  StagingPath up(device);
  StagingPath down(device);
  const auto never = [] { return false; };
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, StagingPath::kPieceBytes, 6 * StagingPath::kPieceBytes + 17}) {
    const Bytes given = counted(size);
    Bytes taken(size);
    const std::span<std::byte> memory = buffers.take(size);
    ASSERT_TRUE(up.upload(memory.data(), given, never));
    NcclDevice::Mark there = device.mark(up.stream());
    device.follow(down.stream(), there);
    ASSERT_TRUE(down.download(taken, memory.data(), never));
    device.release(there);
    EXPECT_TRUE(taken == given);
    buffers.give_back(memory);
  }
}

TEST(StagingPath, LetsGoOfACopyThatIsGivenUp) {
  FakeDevice device(FakeDevice::Copies::kOwnMemory);
  StagingBuffers buffers(device);
  StagingPath path(device);
  const Bytes given = counted(10 * StagingPath::kPieceBytes);
  const std::span<std::byte> memory = buffers.take(given.size());
  int asked = 0;
  EXPECT_FALSE(path.upload(memory.data(), given, [&] { return ++asked > 7; }));
}

}  // namespace
}  // namespace concerto
