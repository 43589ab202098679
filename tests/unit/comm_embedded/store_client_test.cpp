// The embedded store's client and server over a network with faults: what the suite for all stores cannot do to each.
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "concerto/comm/stores.hpp"

#include "support/inproc_network.hpp"
#include "wire.hpp"

namespace concerto {
namespace {

using namespace std::chrono_literals;
using test::InprocHub;

constexpr auto kPatience = 30'000ms;

class StoreClientTest : public ::testing::Test {
 protected:
  std::unique_ptr<Network> network_of(Role role, std::uint32_t index, Incarnation incarnation = 1) {
    return hub_.network({"job", role, index, role == Role::kRank ? incarnation : 0});
  }

  InprocHub hub_;
  Identity server_id_{"job", Role::kLauncher, 0, 0};
  std::unique_ptr<Network> server_network_ = hub_.network(server_id_);
  std::unique_ptr<StoreServer> server_ = make_embedded_store_server(*server_network_, "127.0.0.1:0", "job");
  std::string address_ = server_->address();
  std::unique_ptr<Network> network_ = network_of(Role::kLauncher, 1);
  std::unique_ptr<Store> store_ = make_embedded_store(*network_, address_, server_id_);
};

TEST_F(StoreClientTest, TheServerKnowsWhoWrites) {
  const auto network = network_of(Role::kRank, 3);
  const auto rank = make_embedded_store(*network, address_, server_id_);
  EXPECT_TRUE(rank->put("ranks/3/address", "here").ok());
  EXPECT_EQ(rank->put("ranks/4/address", "there").failure().kind, FailureKind::kRefused);
  EXPECT_EQ(rank->compare_and_swap("members/3", 0, "").failure().kind, FailureKind::kRefused);
  EXPECT_EQ(rank->erase("members/3").failure().kind, FailureKind::kRefused);
  const LeaseId lease = store_->grant_lease(kPatience).value();
  EXPECT_EQ(rank->keep_alive(lease).failure().kind, FailureKind::kRefused);
  EXPECT_EQ(rank->lock("coordinator", rank->grant_lease(kPatience).value(), kPatience).failure().kind,
            FailureKind::kRefused);
  ASSERT_TRUE(store_->put("members/3", "").ok());
  EXPECT_EQ(rank->list("").value().entries.size(), 2U) << "everybody reads";
}

TEST_F(StoreClientTest, WhoIsNotTheServerIsRefusedAtOnce) {
  const auto mistaken = make_embedded_store(*network_, address_, {"job", Role::kLauncher, 7, 0}, {kPatience});
  EXPECT_EQ(mistaken->get("a").failure().kind, FailureKind::kRefused);
  EXPECT_EQ(mistaken->watch("a", 0).value()->next(kPatience).failure().kind, FailureKind::kRefused);
  const auto network = hub_.network({"other", Role::kLauncher, 1, 0});
  const auto stranger = make_embedded_store(*network, address_, server_id_, {kPatience});
  EXPECT_EQ(stranger->get("a").failure().kind, FailureKind::kRefused) << "a process of another job";
}

TEST_F(StoreClientTest, AnotherServerIsNotTheSameStore) {
  ASSERT_TRUE(store_->put("a", "1").ok());
  const auto watch = store_->watch("", 0).value();
  ASSERT_EQ(watch->next(kPatience).value().events.size(), 1U);
  server_.reset();
  hub_.cut(address_);
  server_ = make_embedded_store_server(*server_network_, address_, "job");
  EXPECT_EQ(store_->get("a").failure().kind, FailureKind::kLost);
  EXPECT_EQ(store_->put("a", "1").failure().kind, FailureKind::kLost) << "for good";
  EXPECT_EQ(watch->next(kPatience).failure().kind, FailureKind::kLost);
  EXPECT_EQ(make_embedded_store(*network_, address_, server_id_)->get("a").value(), std::nullopt) << "a new client";
}

TEST_F(StoreClientTest, AWatchNoticesASilentConnection) {
  const auto store = make_embedded_store(*network_, address_, server_id_, {.call = kPatience, .idle = 200ms});
  const auto watch = store->watch("w/", 0).value();
  EXPECT_TRUE(watch->next(50ms).value().events.empty());
  // The connection swallows everything, and nobody is told that it has ended.
  hub_.set_silent(address_, true);
  auto seen = std::async(std::launch::async, [&] { return watch->next(kPatience); });
  EXPECT_EQ(seen.wait_for(500ms), std::future_status::timeout);
  hub_.set_silent(address_, false);
  ASSERT_TRUE(store_->put("w/a", "1").ok());
  const auto batch = seen.get();
  ASSERT_TRUE(batch.ok()) << batch.failure().message;
  ASSERT_EQ(batch.value().events.size(), 1U);
  EXPECT_EQ(batch.value().events[0].entry.value, "1");
}

TEST_F(StoreClientTest, AQuietConnectionIsKept) {
  const auto store = make_embedded_store(*network_, address_, server_id_, {.call = kPatience, .idle = 40ms});
  const auto lease = store->grant_lease(kPatience).value();
  const auto held = store_->lock("l", store_->grant_lease(kPatience).value(), kPatience);
  ASSERT_TRUE(held.ok());
  // Ten times longer than a connection may be silent: it is asked, and answers.
  EXPECT_EQ(store->lock("l", lease, 400ms).failure().kind, FailureKind::kTimeout);
}

TEST_F(StoreClientTest, AWriteWhoseAnswerIsLostIsNotSentAgain) {
  ASSERT_TRUE(store_->put("a", "0").ok());
  hub_.set_delay(200ms);
  auto writing = std::async(std::launch::async, [&] { return store_->put("a", "1"); });
  auto reading = std::async(std::launch::async, [&] { return store_->get("a"); });
  EXPECT_EQ(writing.wait_for(50ms), std::future_status::timeout);
  hub_.cut(address_);
  hub_.set_delay(0ms);
  const auto written = writing.get();
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.failure().kind, FailureKind::kLost) << written.failure().message;
  const auto read = reading.get();
  ASSERT_TRUE(read.ok()) << "a read is: " << read.failure().message;
  EXPECT_EQ(read.value()->value, "0");
}

TEST_F(StoreClientTest, AReleaseThatWasLostFollowsTheNextConnection) {
  const auto hasty = make_embedded_store(*network_, address_, server_id_, {.call = 100ms});
  const LeaseId lease = hasty->grant_lease(kPatience).value();
  auto held = hasty->lock("l", lease, kPatience).value();
  hub_.set_reachable(address_, false);
  hub_.cut(address_);
  held.reset();
  hub_.set_reachable(address_, true);
  EXPECT_TRUE(hasty->keep_alive(lease).ok());
  EXPECT_TRUE(store_->lock("l", store_->grant_lease(kPatience).value(), kPatience).ok());
}

TEST_F(StoreClientTest, ManyCallersSurviveConnectionsThatAreCutAllTheTime) {
  std::atomic<bool> is_done = false;
  std::vector<std::thread> threads;
  std::atomic<int> confirmed = 0;
  std::atomic<int> unknown = 0;
  const auto watch = store_->watch("n/", 0).value();
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 60; ++k) {
        const auto outcome = store_->compare_and_swap("n/" + std::to_string(i) + "/" + std::to_string(k), 0, "x");
        (outcome.ok() && outcome.value().swapped ? confirmed : unknown) += 1;
      }
    });
  }
  std::thread cutter([&] {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable nobody;
    while (!is_done) {
      nobody.wait_for(lock, 1ms);
      hub_.cut(address_);
    }
  });
  for (std::thread& thread : threads) thread.join();
  is_done = true;
  cutter.join();
  const auto entries = store_->list("n/").value().entries;
  EXPECT_GE(entries.size(), static_cast<std::size_t>(confirmed)) << "what was confirmed is there";
  EXPECT_LE(entries.size(), static_cast<std::size_t>(confirmed + unknown));
  // Every change was told exactly once, in order, over all these connections.
  std::vector<Revision> told;
  while (told.size() < entries.size()) {
    const auto batch = watch->next(kPatience);
    ASSERT_TRUE(batch.ok()) << batch.failure().message;
    ASSERT_FALSE(batch.value().is_reset || batch.value().events.empty());
    for (const StoreEvent& event : batch.value().events) told.push_back(event.entry.modified);
  }
  EXPECT_EQ(told.size(), entries.size());
  for (std::size_t i = 1; i < told.size(); ++i) EXPECT_LT(told[i - 1], told[i]);
}

/// A peer that speaks for itself, to say what no client would.
struct RawPeer {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Message> received;
  bool is_closed = false;

  ChannelEvents events() {
    return {[this](Channel&, Message message) {
              const std::lock_guard guard(mutex);
              received.push_back(std::move(message));
              changed.notify_all();
            },
            [this](Channel&, const Failure&) {
              const std::lock_guard guard(mutex);
              is_closed = true;
              changed.notify_all();
            }};
  }
  template <class Condition>
  bool wait(const Condition& condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, kPatience, condition);
  }
};

TEST_F(StoreClientTest, TheServerCutsOffWhoTalksNonsense) {
  RawPeer peer;
  const auto network = network_of(Role::kRank, 5);
  const auto channel = network->connect(address_, server_id_, peer.events(), kPatience).value();
  Message nonsense;
  nonsense.type = embedded::kFirstRequest;
  nonsense.payload.resize(100, std::byte{0xff});
  ASSERT_TRUE(channel->send(nonsense).ok());
  EXPECT_TRUE(peer.wait([&] { return peer.is_closed; }));
  EXPECT_TRUE(store_->put("a", "1").ok()) << "others are served on";
}

TEST_F(StoreClientTest, AClientOfSomethingElseThanAStoreFailsClearly) {
  const auto network = network_of(Role::kLauncher, 9);
  const auto listener = network->listen("127.0.0.1:0", [](const std::shared_ptr<Channel>&) {
    return ChannelEvents{[](Channel& channel, const Message&) {
                           Message nonsense;
                           nonsense.type = 1;
                           (void)channel.send(nonsense).ok();
                         },
                         {}};
  });
  const auto client =
      make_embedded_store(*network_, listener->address(), {"job", Role::kLauncher, 9, 0}, {.call = 300ms});
  EXPECT_EQ(client->get("a").failure().kind, FailureKind::kUnreachable);
}

TEST_F(StoreClientTest, ManyServersAndClientsComeAndGo) {
  for (int round = 0; round < 20; ++round) {
    const auto network = network_of(Role::kLauncher, 20);
    auto server = make_embedded_store_server(*network, "127.0.0.1:0", "job");
    auto client = make_embedded_store(*network_, server->address(), {"job", Role::kLauncher, 20, 0});
    const auto watch = client->watch("", 0).value();
    ASSERT_TRUE(client->put("a", "1").ok());
    EXPECT_EQ(watch->next(kPatience).value().events.size(), 1U);
    auto waiting = std::async(std::launch::async, [&] { return watch->next(kPatience); });
    if (round % 2 == 0) server.reset();
    client.reset();
    EXPECT_EQ(waiting.get().failure().kind, FailureKind::kAborted);
  }
}

}  // namespace
}  // namespace concerto
