// What only a store on etcd promises: several endpoints, certificates, users and tokens, on real etcds.
#include <fstream>

#include <gtest/gtest.h>

#include "concerto/comm/stores.hpp"

#include "support/etcd_process.hpp"

namespace concerto::test {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 20'000ms;
/// Where nobody listens: the port is reserved.
constexpr const char* kNowhere = "http://127.0.0.1:1";

EtcdConfig config_for(std::vector<std::string> endpoints) {
  EtcdConfig config;
  config.endpoints = std::move(endpoints);
  config.job = "job";
  config.limits.call = kPatience;
  return config;
}

TEST(EtcdStore, EndpointsAreTriedInTurn) {
  const std::string reason = EtcdProcess::why_not({});
  if (!reason.empty()) GTEST_SKIP() << reason;
  EtcdProcess first({});
  EtcdProcess second({});
  EtcdConfig config = config_for({kNowhere, first.endpoint(), second.endpoint()});
  config.limits.call = 3'000ms;
  const auto store = make_etcd_store(config);
  ASSERT_TRUE(store->put("a", "1").ok());
  const auto watch = store->watch("", 0).value();
  EXPECT_EQ(watch->next(kPatience).value().events.size(), 1U);
  // Two clusters of one member each stand for two members of one: what matters is where the client goes.
  const auto other = make_etcd_store(config_for({second.endpoint()}));
  EXPECT_EQ(other->get("a").value(), std::nullopt) << "the first that answers is used";
  first.freeze();
  EXPECT_TRUE(store->get("a").ok()) << "an endpoint that is silent leaves time for the others";
  EXPECT_TRUE(store->put("b", "2").ok()) << "the one that answered last comes first";
  first.thaw();
  first.kill();
  EXPECT_TRUE(store->put("c", "3").ok());
  EXPECT_EQ(other->list("").value().entries.size(), 2U);
}

TEST(EtcdStore, AnotherServerThanEtcdIsAMismatch) {
  const std::string reason = EtcdProcess::why_not({});
  if (!reason.empty()) GTEST_SKIP() << reason;
  EtcdProcess process({});
  // Its port for other members speaks HTTP too, but has no gateway.
  const auto store = make_etcd_store(config_for({process.peer_endpoint()}));
  EXPECT_EQ(store->get("a").failure().kind, FailureKind::kMismatch);
  EXPECT_EQ(store->watch("a", 0).value()->next(kPatience).failure().kind, FailureKind::kMismatch);
}

class SecureEtcd : public ::testing::Test {
 protected:
  static constexpr EtcdProcess::Options kOptions{true, 2};

  void SetUp() override {
    const std::string reason = EtcdProcess::why_not(kOptions);
    if (!reason.empty()) GTEST_SKIP() << reason;
    process_ = std::make_unique<EtcdProcess>(kOptions);
    process_->enable_authentication();
  }

  EtcdConfig config() {
    EtcdConfig config = config_for({process_->endpoint()});
    config.authority = process_->certificates().authority;
    config.certificate = process_->certificates().client_certificate;
    config.private_key = process_->certificates().client_key;
    config.credentials = process_->login();
    return config;
  }

  /// The failure of a call and of a watch, which must be refusals, at once, and tell no secret.
  static void expect_refused(const EtcdConfig& config, const char* why) {
    const auto store = make_etcd_store(config);
    const auto got = store->get("a");
    ASSERT_FALSE(got.ok()) << why;
    EXPECT_EQ(got.failure().kind, FailureKind::kRefused) << why << ": " << got.failure().message;
    EXPECT_EQ(got.failure().message.find("secret"), std::string::npos);
    const auto watched = store->watch("a", 0).value()->next(kPatience);
    ASSERT_FALSE(watched.ok()) << why;
    EXPECT_EQ(watched.failure().kind, FailureKind::kRefused) << why << ": " << watched.failure().message;
    EXPECT_EQ(watched.failure().message.find("secret"), std::string::npos);
  }

  std::filesystem::path login(const std::string& content) {
    const auto path = process_->folder() / "another-login";
    std::ofstream(path) << content;
    std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    return path;
  }

  std::unique_ptr<EtcdProcess> process_;
};

TEST_F(SecureEtcd, WhoIsNotTrustedIsRefused) {
  ASSERT_TRUE(make_etcd_store(config())->put("a", "1").ok());
  EtcdConfig one = config();
  one.authority.clear();
  expect_refused(one, "a server of an authority that the system does not know");
  one = config();
  one.authority = process_->certificates().stranger_certificate;
  expect_refused(one, "a server of another authority");
  one = config();
  one.certificate = process_->certificates().stranger_certificate;
  one.private_key = process_->certificates().stranger_key;
  expect_refused(one, "a client of another authority");
  one = config();
  one.certificate.clear();
  one.private_key.clear();
  expect_refused(one, "a client without a certificate");
  one = config();
  one.credentials = login("concerto:wrong-secret\n");
  expect_refused(one, "a wrong password");
  one.credentials = login("nobody:secret\n");
  expect_refused(one, "an unknown user");
  one.credentials.clear();
  expect_refused(one, "no user at all");
}

TEST_F(SecureEtcd, ARoleReachesItsOwnPrefixOnly) {
  process_->add_user("narrow", "narrow-secret", "/concerto/job/");
  EtcdConfig one = config();
  one.credentials = login("narrow:narrow-secret\n");
  ASSERT_TRUE(make_etcd_store(one)->put("a", "1").ok());
  one.job = "job2";
  expect_refused(one, "the prefix of another job");
}

TEST_F(SecureEtcd, TokensThatEndAreReplaced) {
  EtcdConfig one = config();
  one.token_renewal = 3'600'000ms;  // never by age: only where it is refused
  const auto store = make_etcd_store(one);
  const Revision before = store->put("a", "0").value();
  const auto watch = store->watch("", before).value();
  EXPECT_TRUE(watch->next(10ms).value().events.empty());
  // Tokens that are not used live two seconds, and all end with the process.
  process_->kill();
  process_->start();
  EXPECT_EQ(store->get("a").value()->value, "0");
  ASSERT_TRUE(store->put("a", "1").ok()) << "what was refused for its token was not executed";
  std::vector<StoreEvent> seen;
  for (int i = 0; i < 20 && seen.empty(); ++i) seen = watch->next(1'000ms).value().events;
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].entry.value, "1");
}

TEST_F(SecureEtcd, TokensAreReplacedByAge) {
  EtcdConfig one = config();
  one.token_renewal = 1ms;
  const auto store = make_etcd_store(one);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(store->put("a", std::to_string(i)).ok());
  const LeaseId lease = store->grant_lease(kPatience).value();
  EXPECT_TRUE(store->lock("l", lease, kPatience).ok());
}

}  // namespace
}  // namespace concerto::test
