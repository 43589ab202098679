// The service of the embedded store: rights by role, requests that wait, connections that come and go.
#include "store_service.hpp"

#include <gtest/gtest.h>

namespace concerto::embedded {
namespace {

constexpr ClientId kLauncher = 1;
constexpr ClientId kRank3 = 2;
constexpr ClientId kRank4 = 3;

class StoreServiceTest : public ::testing::Test {
 protected:
  StoreServiceTest() {
    connect(kLauncher, {"job", Role::kLauncher, 1, 0});
    connect(kRank3, {"job", Role::kRank, 3, 1});
    connect(kRank4, {"job", Role::kRank, 4, 1});
  }

  void connect(ClientId client, const Identity& identity) {
    service_.connect(client, identity);
    ASSERT_TRUE(std::holds_alternative<Welcome>(ask(client, Hello{})));
  }

  /// The answer to the client itself; answers to others are kept in others_.
  AnswerBody ask(ClientId client, RequestBody body) {
    auto reply = send(client, 1'000'000 + ++id_, std::move(body));
    EXPECT_TRUE(reply.has_value()) << "no answer";
    return reply ? *reply : AnswerBody{Done{}};
  }

  std::optional<AnswerBody> send(ClientId client, std::uint64_t id, RequestBody body) {
    std::optional<AnswerBody> mine;
    for (Outgoing& out : service_.handle(client, {id, std::move(body)}, now_)) {
      if (out.to == client && out.answer.id == id) {
        EXPECT_FALSE(mine.has_value()) << "answered twice";
        mine = std::move(out.answer.body);
      } else {
        others_.push_back(std::move(out));
      }
    }
    return mine;
  }

  static std::optional<FailureKind> failure(const AnswerBody& body) {
    const auto* failed = std::get_if<Failed>(&body);
    return failed == nullptr ? std::nullopt : std::optional(failed->kind);
  }

  static MachineLimits limits() {
    MachineLimits limits;
    limits.history_events = 8;
    return limits;
  }

  StoreService service_{"job", "name", limits()};
  StoreTime now_{1};
  std::uint64_t id_ = 0;
  std::vector<Outgoing> others_;
};

TEST_F(StoreServiceTest, ARankWritesOnlyItsOwnKeys) {
  EXPECT_EQ(ask(kRank3, Put{"ranks/3/address", "x", 0}), AnswerBody{Written{1}});
  EXPECT_EQ(failure(ask(kRank3, Put{"ranks/4/address", "x", 0})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(kRank3, Swap{"members/3", 0, "x", 0})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(kRank4, Erase{"ranks/3/address"})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(kRank3, Lock{"coordinator", "t", 1})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(kRank3, Unlock{"coordinator", "t"})), FailureKind::kRefused);
  EXPECT_EQ(ask(kRank4, Get{"ranks/3/address"}), AnswerBody(Found{StoreEntry{"ranks/3/address", "x", 1, 1, 0}}));
  EXPECT_EQ(ask(kLauncher, Put{"members/3", "x", 0}), AnswerBody{Written{2}}) << "what was refused changed nothing";
  EXPECT_EQ(ask(kLauncher, Erase{"ranks/3/address"}), AnswerBody{Erased{true}});
}

TEST_F(StoreServiceTest, ARankUsesOnlyItsOwnLeases) {
  const AnswerBody granted = ask(kRank3, Grant{1'000});
  const LeaseId lease = std::get<Granted>(granted).lease;
  EXPECT_EQ(failure(ask(kRank4, KeepAlive{lease})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(kRank4, Revoke{lease})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(kRank4, Put{"ranks/4/a", "", lease})), FailureKind::kRefused);
  constexpr ClientId kNewLife = 9;
  connect(kNewLife, {"job", Role::kRank, 3, 2});
  EXPECT_EQ(failure(ask(kNewLife, KeepAlive{lease})), FailureKind::kRefused) << "another life of the rank";
  EXPECT_EQ(ask(kRank3, KeepAlive{lease}), AnswerBody{Kept{1'000}});
  EXPECT_EQ(ask(kRank3, Put{"ranks/3/a", "", lease}), AnswerBody{Written{1}});
  EXPECT_EQ(ask(kLauncher, Revoke{lease}), AnswerBody{Done{}}) << "launchers end what ranks left behind";
  EXPECT_EQ(ask(kLauncher, Get{"ranks/3/a"}), AnswerBody{Found{}});
  EXPECT_EQ(failure(ask(kRank3, KeepAlive{lease})), FailureKind::kLost);
  EXPECT_EQ(ask(kRank3, Revoke{lease}), AnswerBody{Done{}}) << "ended already";
  EXPECT_EQ(failure(ask(kRank3, Grant{0})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(kRank3, Grant{~std::uint64_t{0}})), FailureKind::kRefused);
}

TEST_F(StoreServiceTest, OtherJobsOtherVersionsAndTheUngreetedAreRefused) {
  service_.connect(10, {"other", Role::kLauncher, 0, 0});
  EXPECT_EQ(failure(ask(10, Hello{})), FailureKind::kRefused);
  service_.connect(11, {"job", Role::kLauncher, 0, 0});
  EXPECT_EQ(failure(ask(11, Get{"a"})), FailureKind::kRefused);
  EXPECT_EQ(failure(ask(11, Hello{kProtocolVersion + 1})), FailureKind::kMismatch);
  EXPECT_EQ(failure(ask(11, Get{"a"})), FailureKind::kRefused);
  EXPECT_EQ(ask(11, Hello{}), AnswerBody(Welcome{kProtocolVersion, "name"}));
  EXPECT_EQ(ask(11, Get{"a"}), AnswerBody{Found{}});
  EXPECT_TRUE(service_.handle(99, {1, Ping{}}, now_).empty()) << "somebody who never came";
}

TEST_F(StoreServiceTest, APollWaitsForAChangeOfItsPrefix) {
  EXPECT_EQ(send(kRank3, 50, Poll{"members/", 0}), std::nullopt);
  (void)ask(kLauncher, Put{"config", "", 0});
  EXPECT_TRUE(others_.empty());
  (void)ask(kLauncher, Put{"members/1", "x", 0});
  ASSERT_EQ(others_.size(), 1U);
  EXPECT_EQ(others_[0].to, kRank3);
  const StoreEvent event{false, {"members/1", "x", 2, 2, 0}};
  EXPECT_EQ(others_[0].answer, (Answer{50, Changed{false, 2, {event}}}));
  others_.clear();
  (void)ask(kLauncher, Put{"members/2", "x", 0});
  EXPECT_TRUE(others_.empty()) << "a poll is answered once";
  EXPECT_EQ(ask(kRank3, Poll{"members/", 0}),
            AnswerBody(Changed{false, 3, {event, {false, {"members/2", "x", 3, 3, 0}}}}));
}

TEST_F(StoreServiceTest, APollOfAQuietPrefixIsAnsweredBeforeHistoryLeavesItBehind) {
  EXPECT_EQ(send(kRank3, 50, Poll{"members/", 0}), std::nullopt);
  for (int i = 0; i < 5; ++i) (void)ask(kLauncher, Put{"config", "", 0});
  ASSERT_EQ(others_.size(), 1U);
  EXPECT_EQ(others_[0].answer, (Answer{50, Changed{false, 5, {}}}));
}

TEST_F(StoreServiceTest, APollFromBeforeTheHistoryIsReset) {
  (void)ask(kLauncher, Put{"b", "kept", 0});
  (void)ask(kLauncher, Put{"a", "kept", 0});
  for (int i = 0; i < 20; ++i) (void)ask(kLauncher, Put{"other", "", 0});
  (void)ask(kLauncher, Put{"b", "kept", 0});
  const auto changed = std::get<Changed>(ask(kRank3, Poll{"", 1}));
  EXPECT_TRUE(changed.is_reset);
  EXPECT_EQ(changed.through, 23U);
  ASSERT_EQ(changed.events.size(), 3U);
  EXPECT_EQ(changed.events[0].entry.key, "a") << "in the order of revisions";
  EXPECT_EQ(changed.events[2].entry, (StoreEntry{"b", "kept", 1, 23, 0}));
}

TEST_F(StoreServiceTest, CancelledAndDisconnectedPollsAreForgotten) {
  EXPECT_EQ(send(kRank3, 50, Poll{"", 0}), std::nullopt);
  EXPECT_EQ(send(kRank4, 50, Poll{"", 0}), std::nullopt);
  EXPECT_EQ(ask(kRank3, Cancel{50}), AnswerBody{Done{}});
  service_.disconnect(kRank4);
  (void)ask(kLauncher, Put{"a", "", 0});
  EXPECT_TRUE(others_.empty());
}

TEST_F(StoreServiceTest, RequestsThatWaitAreBounded) {
  for (std::uint64_t i = 0; i < 1'024; ++i) ASSERT_EQ(send(kRank3, i, Poll{"", 0}), std::nullopt);
  EXPECT_EQ(failure(ask(kRank3, Poll{"", 0})), FailureKind::kRefused);
  EXPECT_EQ(ask(kRank3, Cancel{5}), AnswerBody{Done{}});
  EXPECT_EQ(send(kRank3, 5, Poll{"", 0}), std::nullopt);
  (void)ask(kLauncher, Put{"a", "", 0});
  EXPECT_EQ(others_.size(), 1'024U);
  EXPECT_EQ(send(kRank3, 5, Poll{"", 1}), std::nullopt) << "answered ones make room";
}

TEST_F(StoreServiceTest, LocksAreHandedOverInOrder) {
  const LeaseId lease = std::get<Granted>(ask(kLauncher, Grant{1'000})).lease;
  constexpr ClientId kSecond = 20;
  connect(kSecond, {"job", Role::kLauncher, 2, 0});
  const LeaseId second = std::get<Granted>(ask(kSecond, Grant{5'000})).lease;
  EXPECT_EQ(ask(kLauncher, Lock{"l", "a", lease}), AnswerBody{Locked{1}});
  EXPECT_EQ(ask(kLauncher, Lock{"l", "a", lease}), AnswerBody{Locked{1}}) << "asked again after a lost connection";
  EXPECT_EQ(send(kSecond, 60, Lock{"l", "b", second}), std::nullopt);
  EXPECT_EQ(send(kSecond, 61, Lock{"l", "c", second}), std::nullopt);
  service_.disconnect(kSecond);
  EXPECT_EQ(ask(kLauncher, Unlock{"l", "a"}), AnswerBody{Done{}});
  EXPECT_TRUE(others_.empty());
  connect(kSecond, {"job", Role::kLauncher, 2, 0});
  EXPECT_EQ(ask(kSecond, Lock{"l", "b", second}), AnswerBody{Locked{2}}) << "its place outlived its connection";
  EXPECT_EQ(send(kSecond, 62, Lock{"l", "c", second}), std::nullopt);
  EXPECT_EQ(ask(kSecond, Unlock{"l", "b"}), AnswerBody{Done{}});
  ASSERT_EQ(others_.size(), 1U);
  EXPECT_EQ(others_[0].answer, (Answer{62, Locked{3}}));
}

TEST_F(StoreServiceTest, TimeEndsLeasesAndWakesThoseWhoWait) {
  const LeaseId lease = std::get<Granted>(ask(kLauncher, Grant{1'000})).lease;
  const LeaseId other = std::get<Granted>(ask(kLauncher, Grant{2'000})).lease;
  (void)ask(kLauncher, Put{"members/1", "", lease});
  EXPECT_EQ(ask(kLauncher, Lock{"l", "a", lease}), AnswerBody{Locked{2}});
  EXPECT_EQ(send(kLauncher, 70, Lock{"l", "b", other}), std::nullopt);
  EXPECT_EQ(send(kLauncher, 71, Lock{"l", "c", lease}), std::nullopt);
  EXPECT_EQ(send(kRank3, 72, Poll{"members/", 1}), std::nullopt);
  EXPECT_EQ(service_.next_end(), StoreTime{1'001});
  const auto out = service_.tick(StoreTime{1'001});
  ASSERT_EQ(out.size(), 3U);
  EXPECT_EQ(out[0].answer, (Answer{70, Locked{3}}));
  EXPECT_EQ(out[1].answer.id, 71U);
  EXPECT_EQ(failure(out[1].answer.body), FailureKind::kLost) << "a waiter whose own lease has ended";
  EXPECT_EQ(out[2].answer, (Answer{72, Changed{false, 5, {{true, {"members/1", "", 0, 5, 0}}}}}));
}

}  // namespace
}  // namespace concerto::embedded
