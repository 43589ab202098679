// Joining: from a token to credentials over a real network; and everybody who is sent away.
#include "concerto/comm/join.hpp"

#include <condition_variable>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/networks.hpp"

namespace concerto {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr milliseconds kPatience{20'000};
constexpr JoinShape kShape{3, 2};

ChannelEvents nothing(const std::shared_ptr<Channel>& /*channel*/) {
  return {};
}

/// A first launcher: its desk and what it serves.
class JoinTest : public ::testing::Test {
 protected:
  JoinTest() : desk_(authority_, token_, kShape) {
    network_ = make_tls_network(authority_.issue({"job", Role::kLauncher, 0, 0}), {},
                                [this](std::shared_ptr<Channel> channel) { return desk_.accept(std::move(channel)); });
    listener_ = network_->listen("127.0.0.1:0", [this](const std::shared_ptr<Channel>& channel) {
      const std::lock_guard lock(mutex_);
      accepted_.push_back(channel->peer());
      changed_.notify_all();
      return ChannelEvents{};
    });
    token_.address = listener_->address();
  }
  ~JoinTest() override { network_.reset(); }

  /// Who has been let in to what the launcher serves, once there are so many.
  std::vector<Identity> accepted(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [&] { return accepted_.size() >= count; });
    return accepted_;
  }

  Failure refusal(const JoinToken& token, std::uint32_t node = 1, const JoinShape& shape = kShape) {
    const auto joined = join(token, node, shape, kPatience);
    EXPECT_FALSE(joined.ok());
    return joined.ok() ? Failure{} : joined.failure();
  }
  /// Of a server of its own at the address of the token.
  Failure refusal_of(Network& server) {
    const auto listener = server.listen("127.0.0.1:0", nothing);
    JoinToken there = token_;
    there.address = listener->address();
    Failure failure = refusal(there);
    if (const auto at = failure.message.find(there.address); at != std::string::npos) {
      failure.message.replace(at, there.address.size(), "THERE");
    }
    return failure;
  }

  JobAuthority authority_{"job"};
  JoinToken token_{"job", "nowhere:1", authority_.fingerprint(), draw_join_secret(), 32'503'680'000};
  JoinDesk desk_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Identity> accepted_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Listener> listener_;
};

TEST_F(JoinTest, ALauncherGetsCertificatesForItselfAndItsRanks) {
  auto joined = join(parse_join_token(format_join_token(token_), "here"), 2, kShape, kPatience);
  ASSERT_TRUE(joined.ok()) << joined.failure().message;
  const JoinedCredentials& mine = joined.value();
  ASSERT_EQ(mine.ranks.size(), 2U);
  EXPECT_EQ(mine.launcher.authority, authority_.certificate());
  EXPECT_NE(mine.ranks.at(4).private_key, mine.ranks.at(5).private_key);
  EXPECT_TRUE(accepted(0).empty());  // whoever comes without a certificate gets to the desk and no further
  std::size_t count = 0;
  for (const Credentials* one : {&mine.launcher, &mine.ranks.at(4), &mine.ranks.at(5)}) {
    const auto client = make_tls_network(*one);
    const auto channel = client->connect(listener_->address(), {"job", Role::kLauncher, 0, 0}, {}, kPatience);
    ASSERT_TRUE(channel.ok()) << channel.failure().message;
    EXPECT_EQ(accepted(++count).size(), count);
  }
  EXPECT_EQ(accepted(3), (std::vector<Identity>{
                             {"job", Role::kLauncher, 2, 0}, {"job", Role::kRank, 4, 1}, {"job", Role::kRank, 5, 1}}));
}

TEST_F(JoinTest, EachLauncherIsLetInOnce) {
  ASSERT_TRUE(join(token_, 1, kShape, kPatience).ok());
  const Failure again = refusal(token_);
  EXPECT_EQ(again.kind, FailureKind::kRefused);
  EXPECT_EQ(again.message, token_.address + ": launcher 1 has joined already");
  EXPECT_TRUE(join(token_, 2, kShape, kPatience).ok());
}

TEST_F(JoinTest, AWrongSecretIsRefused) {
  JoinToken wrong = token_;
  wrong.secret = draw_join_secret();
  const Failure failure = refusal(wrong);
  EXPECT_EQ(failure.kind, FailureKind::kRefused);
  EXPECT_EQ(failure.message, token_.address + ": the secret of the join token is not this job's");
  EXPECT_TRUE(join(token_, 1, kShape, kPatience).ok());
}

TEST_F(JoinTest, AnotherAuthorityIsNotTold) {
  JoinToken wrong = token_;
  wrong.fingerprint = JobAuthority("job").fingerprint();
  const Failure failure = refusal(wrong);
  EXPECT_EQ(failure.kind, FailureKind::kMismatch);
  EXPECT_EQ(failure.message,
            token_.address + " is not of the job of the join token: its authority has another fingerprint");
}

TEST_F(JoinTest, AnAuthorityThatIsMerelySentAlongCertifiesNothing) {
  // A server that shows the right authority's certificate, which is no secret, beside one of another's.
  Credentials forged = JobAuthority("job").issue({"job", Role::kLauncher, 0, 0});
  forged.authority = authority_.certificate();
  const auto impostor = make_tls_network(forged, {}, nothing);
  EXPECT_THAT(refusal_of(*impostor).message, HasSubstr("the certificate of THERE is refused"));
}

TEST_F(JoinTest, OnlyTheFirstLauncherIsAsked) {
  const auto rank = make_tls_network(authority_.issue({"job", Role::kRank, 3, 1}), {}, nothing);
  EXPECT_EQ(refusal_of(*rank).message, "THERE is rank 3, not launcher 0");
  const auto without_desk = make_tls_network(authority_.issue({"job", Role::kLauncher, 0, 0}));
  EXPECT_NE(refusal_of(*without_desk).kind, FailureKind::kTimeout);  // refused, and at once
}

TEST_F(JoinTest, OtherPlansAndNobodysNumbersAreRefused) {
  const Failure plan = refusal(token_, 1, {4, 2});
  EXPECT_EQ(plan.kind, FailureKind::kConflict);
  EXPECT_THAT(plan.message, HasSubstr("launcher 0 was told of 3 launchers and 6 ranks, launcher 1 of 4 and 8"));
  EXPECT_THAT(refusal(token_, 0).message, HasSubstr("there is no launcher 0 to join"));
  EXPECT_THAT(refusal(token_, 3).message, HasSubstr("there is no launcher 3 to join"));
}

TEST_F(JoinTest, TheDeskDecidesByTheClockItIsGiven) {
  JoinToken token = token_;
  token.expires_s = 1'000;
  JoinDesk desk(authority_, token, kShape);
  JoinRequest request{token.secret, 1, kShape, {"", "", ""}};
  const auto at = [](int seconds) { return WallTime(std::chrono::seconds(seconds)); };
  EXPECT_EQ(desk.decide(request, at(1'000)).failure().message, "the join token has expired, 0 s ago");
  EXPECT_EQ(desk.decide(request, at(1'060)).failure().message, "the join token has expired, 60 s ago");
  EXPECT_EQ(desk.decide(request, at(999)).failure().message, "what was sent is no certificate request");
  request.requests.pop_back();
  EXPECT_EQ(desk.decide(request, at(999)).failure().message, "what was sent is no request to join");
  request.secret = std::string(64, '0');  // is looked at first: nobody learns the rest without it
  EXPECT_EQ(desk.decide(request, at(1'060)).failure().message, "the secret of the join token is not this job's");
}

TEST_F(JoinTest, AnExpiredTokenIsRefused) {
  JoinToken expired = token_;
  expired.expires_s = 1'000;
  JoinDesk desk(authority_, expired, kShape);
  const auto late = make_tls_network(authority_.issue({"job", Role::kLauncher, 0, 0}), {},
                                     [&](std::shared_ptr<Channel> channel) { return desk.accept(std::move(channel)); });
  const Failure failure = refusal_of(*late);  // whose token says another date, which convinces nobody
  EXPECT_EQ(failure.kind, FailureKind::kRefused);
  EXPECT_THAT(failure.message, HasSubstr("THERE: the join token has expired, "));
}

TEST_F(JoinTest, NobodyThere) {
  listener_.reset();
  network_.reset();
  EXPECT_EQ(refusal(token_).kind, FailureKind::kUnreachable);
}

TEST(JoinToken, EachWrongPartIsNamedAndTheSecretIsNot) {
  const JoinToken token{"job", "[::1]:29500", std::string(64, 'a'), std::string(64, '5'), 1'700'000'000};
  const std::string text = format_join_token(token);
  EXPECT_EQ(text, "concerto-join://[::1]:29500/job?expires=1700000000&authority=" + std::string(64, 'a') +
                      "&secret=" + std::string(64, '5'));
  EXPECT_EQ(parse_join_token(text + "\n", "here"), token);
  const auto error_of = [](const std::string& wrong) -> std::string {
    try {
      (void)parse_join_token(wrong, "here");
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), Not(HasSubstr("555")));
      return error.what();
    }
    return "none";
  };
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    return error_of(changed.replace(changed.find(from), from.size(), to));
  };
  EXPECT_EQ(error_of(""), "here: no join token: it does not begin with concerto-join://");
  EXPECT_EQ(with("29500", "0"), "here: no join token: the address is no HOST:PORT");
  EXPECT_EQ(with("/job", "/a b"), "here: no join token: the job's name is none");
  EXPECT_EQ(with("1700000000", "soon"), "here: no join token: the expiry is no number of seconds since 1970");
  EXPECT_EQ(with("authority", "aut"), "here: no join token: 'authority' is missing or not in its place");
  EXPECT_THAT(with("aaa", "AAA"), HasSubstr("fingerprint is not 64 lower-case hexadecimal digits"));
  EXPECT_THAT(error_of(text.substr(0, text.size() - 1)), HasSubstr("was it cut off?"));
  EXPECT_THAT(error_of(text + "&x=1"), HasSubstr("something follows the secret"));
}

}  // namespace
}  // namespace concerto
