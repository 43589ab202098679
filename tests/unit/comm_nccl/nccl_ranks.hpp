// Ranks over the fake NCCL, for the tests of this folder.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/comm/communicators.hpp"

#include "nccl_factory.hpp"
#include "support/fake_nccl/fake_device.hpp"
#include "support/fake_nccl/fake_nccl.hpp"
#include "support/folder_store.hpp"

namespace concerto {

using std::chrono::milliseconds;
using Bytes = std::vector<std::byte>;

inline void access(const std::function<void(FakeNcclOrders&, FakeNcclReport&)>& body) {
  const LoadedLibrary library(CONCERTO_FAKE_NCCL, {}, "");
  FakeNcclAccess function = nullptr;
  library.resolve("fake_nccl_access", function);
  function(body);
}

class Nccl : public ::testing::Test {
 protected:
  Nccl() {
    access([](FakeNcclOrders& orders, FakeNcclReport& report) {
      orders = {};
      report = {};
    });
  }

  virtual Result<std::unique_ptr<Communicator>> make(Rank rank, Rank size) {
    FolderStore store(folder.path());
    return connect_nccl(store, NcclLibrary(CONCERTO_FAKE_NCCL), std::make_unique<FakeDevice>(), rank, size, options,
                        limits);
  }
  void make_all(Rank size) {
    ranks.resize(size);
    each([&](Rank rank) {
      auto made = make(rank, size);
      ASSERT_TRUE(made) << made.failure().message;
      ranks[rank] = std::move(made.value());
    });
  }
  void each(const std::function<void(Rank)>& body) const {
    std::vector<std::thread> threads;
    for (Rank rank = 0; rank < ranks.size(); ++rank) threads.emplace_back([&, rank] { body(rank); });
    for (std::thread& thread : threads) thread.join();
  }
  static FakeNcclReport report() {
    FakeNcclReport copy;
    access([&](FakeNcclOrders&, const FakeNcclReport& now) { copy = now; });
    return copy;
  }

  TemporaryFolder folder;
  NcclOptions options;
  CommLimits limits{milliseconds(60'000), milliseconds(60'000)};
  std::vector<std::unique_ptr<Communicator>> ranks;
};

inline OperationTag tag(std::uint64_t index) {
  return {1, 0, 0, index};
}

}  // namespace concerto
