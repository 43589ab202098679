// The board over a store whose answers are lost: heartbeats, failures and the end reach the others all the same, and a
// store that refuses is told of.
#include "rank_board.hpp"

#include <atomic>
#include <chrono>
#include <future>

#include <gtest/gtest.h>

#include "concerto/comm/stores.hpp"

#include "support/inproc_network.hpp"

namespace concerto {
namespace {

using namespace std::chrono_literals;

/// Another store, but that some writes fail, after they were made and before in turn; or all are refused.
class UncertainStore final : public Store {
 public:
  explicit UncertainStore(Store& store) : store_(store) {}
  std::atomic<int> losses{0};
  std::atomic<bool> refuses{false};

  [[nodiscard]] std::string description() const override { return store_.description(); }
  [[nodiscard]] Result<Revision> put(std::string_view key, std::string_view value, LeaseId lease) override {
    if (refuses) return Failure{FailureKind::kRefused, "not for this rank"};
    const int left = losses.load();
    if (left == 0) return store_.put(key, value, lease);
    losses = left - 1;
    if (left % 2 == 0) (void)store_.put(key, value, lease).ok();
    return Failure{FailureKind::kLost, "the connection was lost before the answer"};
  }
  [[nodiscard]] Result<std::optional<StoreEntry>> get(std::string_view key) override { return store_.get(key); }
  [[nodiscard]] Result<Listing> list(std::string_view prefix) override { return store_.list(prefix); }
  [[nodiscard]] Result<SwapOutcome> compare_and_swap(std::string_view key, Revision expected, std::string_view value,
                                                     LeaseId lease) override {
    return store_.compare_and_swap(key, expected, value, lease);
  }
  [[nodiscard]] Result<bool> erase(std::string_view key) override { return store_.erase(key); }
  [[nodiscard]] Result<LeaseId> grant_lease(std::chrono::milliseconds time_to_live) override {
    return store_.grant_lease(time_to_live);
  }
  [[nodiscard]] Result<std::chrono::milliseconds> keep_alive(LeaseId lease) override {
    return store_.keep_alive(lease);
  }
  [[nodiscard]] Result<void> revoke(LeaseId lease) override { return store_.revoke(lease); }
  [[nodiscard]] Result<std::unique_ptr<StoreWatch>> watch(std::string_view prefix, Revision after) override {
    return store_.watch(prefix, after);
  }
  [[nodiscard]] Result<std::unique_ptr<StoreLock>> lock(std::string_view name, LeaseId lease,
                                                        std::chrono::milliseconds limit) override {
    return store_.lock(name, lease, limit);
  }

 private:
  Store& store_;
};

class RankBoardTest : public ::testing::Test {
 protected:
  static inline const Identity kLauncher{"job", Role::kLauncher, 0, 0};
  test::InprocHub hub_;
  std::unique_ptr<Network> server_network_ = hub_.network(kLauncher);
  std::unique_ptr<StoreServer> server_ = make_embedded_store_server(*server_network_, "127.0.0.1:0", "job");
  std::unique_ptr<Network> networks_[2] = {hub_.network({"job", Role::kRank, 0, 1}),
                                           hub_.network({"job", Role::kRank, 1, 1})};
  std::unique_ptr<Store> stores_[2] = {make_embedded_store(*networks_[0], server_->address(), kLauncher),
                                       make_embedded_store(*networks_[1], server_->address(), kLauncher)};
  UncertainStore uncertain_{*stores_[0]};

  static BoardEvents deaf() {
    BoardEvents events;
    events.heard = [](Rank, const Heartbeat&) {};
    events.lost = [](Rank, const std::string&) {};
    events.finished = [](Rank) {};
    events.failed = [](Rank, Rank, const std::string&) {};
    events.store_lost = [](const std::string& message) { ADD_FAILURE() << message; };
    return events;
  }
};

TEST_F(RankBoardTest, LostAnswersDoNotEndTheRunAndTheOthersHearInTheEnd) {
  std::promise<Heartbeat> heard;
  std::promise<void> finished;
  std::atomic<bool> has_heard{false};
  BoardEvents listening = deaf();
  listening.heard = [&](Rank rank, const Heartbeat& heartbeat) {
    EXPECT_EQ(rank, 0U);
    if (heartbeat.epoch == 9 && !has_heard.exchange(true)) heard.set_value(heartbeat);
  };
  listening.finished = [&](Rank) { finished.set_value(); };
  RankBoard other(*stores_[1], 1, 2, 60s, listening);
  RankBoard board(uncertain_, 0, 2, 60s, deaf());
  uncertain_.losses = 3;
  auto told = heard.get_future();
  while (told.wait_for(1ms) != std::future_status::ready || uncertain_.losses > 0) board.publish({1, 9, 3, 4, true});
  EXPECT_EQ(told.get().operation, 3U);
  uncertain_.losses = 1;
  board.finish();
  finished.get_future().get();
}

TEST_F(RankBoardTest, AFailureIsPublishedAgainWhereItsAnswerWasLost) {
  std::promise<std::string> failed;
  BoardEvents listening = deaf();
  listening.failed = [&](Rank rank, Rank blamed, const std::string& message) {
    EXPECT_EQ(rank, 0U);
    EXPECT_EQ(blamed, 1U);
    failed.set_value(message);
  };
  RankBoard other(*stores_[1], 1, 2, 60s, listening);
  RankBoard board(uncertain_, 0, 2, 60s, deaf());
  uncertain_.losses = 1;  // and the store does not have it
  board.publish_failure(1, "rank 1 is dead");
  EXPECT_EQ(failed.get_future().get(), "rank 1 is dead");
}

TEST_F(RankBoardTest, AStoreThatRefusesIsToldOf) {
  std::promise<std::string> lost;
  BoardEvents listening = deaf();
  listening.store_lost = [&](const std::string& message) { lost.set_value(message); };
  RankBoard board(uncertain_, 0, 2, 60s, listening);
  uncertain_.refuses = true;
  board.publish({});
  EXPECT_EQ(lost.get_future().get(), "not for this rank");
}

}  // namespace
}  // namespace concerto
