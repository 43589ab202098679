// What launchers tell each other through a store: in its order, once, and also when one goes without a word.
#include "peer_link.hpp"

#include <gmock/gmock.h>
#include <poll.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/stores.hpp"

#include "support/inproc_network.hpp"

namespace concerto {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr milliseconds kPatience{30'000};

std::string text_of(const PeerEvent& event) {
  if (const auto* ended = std::get_if<PeerEnded>(&event)) return "ended " + std::to_string(ended->node);
  if (const auto* left = std::get_if<PeerLeft>(&event)) return "left " + std::to_string(left->node);
  if (const auto* lost = std::get_if<PeerLost>(&event))
    return "lost " + std::to_string(lost->node) + ": " + lost->evidence;
  return "failed: " + std::get<JobFailed>(event).failure.message;
}

class PeerLinkTest : public ::testing::Test {
 protected:
  /// A launcher with a client of its own.
  struct Launcher {
    std::unique_ptr<Network> network;
    std::unique_ptr<Store> store;
    std::unique_ptr<PeerLink> link;
    std::vector<std::string> heard;

    /// Until so many events have been heard.
    void listen(std::size_t count) {
      const auto end = std::chrono::steady_clock::now() + kPatience;
      while (heard.size() < count && std::chrono::steady_clock::now() < end) {
        pollfd ready{link->wake_descriptor(), POLLIN, 0};
        poll(&ready, 1, 100);
        for (const PeerEvent& event : link->take_events()) heard.push_back(text_of(event));
      }
    }
  };

  PeerLinkTest()
      : serving_(hub_.network(identity(0))), server_(make_embedded_store_server(*serving_, "store:1", "job")) {}

  static Identity identity(std::uint32_t node) { return {"job", Role::kLauncher, node, 0}; }

  Launcher launcher(std::uint32_t node, std::uint32_t nodes, milliseconds join_limit = kPatience,
                    milliseconds lost_after = milliseconds(5'000)) {
    Launcher launcher;
    launcher.network = hub_.network(identity(node));
    StoreLimits limits;
    limits.call = milliseconds(1'000);
    launcher.store = make_embedded_store(*launcher.network, server_->address(), identity(0), limits);
    launcher.link = std::make_unique<PeerLink>(*launcher.store, PeerLinkOptions{node, nodes, lost_after, join_limit});
    return launcher;
  }

  test::InprocHub hub_;
  std::unique_ptr<Network> serving_;
  std::unique_ptr<StoreServer> server_;
};

TEST_F(PeerLinkTest, WordsArriveInTheirOrder) {
  Launcher first = launcher(0, 2);
  Launcher second = launcher(1, 2);
  second.link->publish_failure({1, 3, 7, "it broke", {"a line", "\xff not UTF-8"}});
  second.link->publish_ended();
  second.link->publish_left();
  first.listen(3);
  EXPECT_THAT(first.heard, ElementsAre("failed: it broke", "ended 1", "left 1"));
  EXPECT_TRUE(first.link->have_all_joined());
  second.link.reset();
  first.listen(4);
  EXPECT_THAT(first.heard.back(), StartsWith("lost 1: "));  // after "left" this means nothing to a supervisor
}

TEST_F(PeerLinkTest, WhoComesLateHearsWhatWasSaidBefore) {
  Launcher first = launcher(0, 2);
  first.link->publish_failure({0, kNoRank, 1, "early", {}});
  first.listen(1);
  Launcher second = launcher(1, 2);
  second.listen(1);
  EXPECT_THAT(second.heard, ElementsAre("failed: early"));
}

TEST_F(PeerLinkTest, TheFirstFailureIsEverybodys) {
  std::vector<Launcher> launchers;
  for (std::uint32_t node = 0; node < 4; ++node) launchers.push_back(launcher(node, 4));
  for (std::uint32_t node = 0; node < 4; ++node) {
    launchers[node].link->publish_failure({node, kNoRank, 1, "of " + std::to_string(node), {}});
    launchers[node].link->publish_ended();
  }
  for (Launcher& one : launchers) one.listen(5);
  std::vector<std::string> failures;
  for (const Launcher& one : launchers) {
    for (const std::string& event : one.heard) {
      if (event.starts_with("failed")) failures.push_back(event);
    }
  }
  EXPECT_EQ(failures.size(), 4U);
  EXPECT_EQ(std::set<std::string>(failures.begin(), failures.end()).size(), 1U);
}

TEST_F(PeerLinkTest, WhoDoesNotComeIsLost) {
  Launcher first = launcher(0, 3, milliseconds(300));
  Launcher second = launcher(1, 3);
  first.listen(1);
  EXPECT_THAT(first.heard, ElementsAre("lost 2: it has not joined within 0.3 s"));
  EXPECT_FALSE(first.link->have_all_joined());
}

TEST_F(PeerLinkTest, AStoreThatIsGoneIsTheJobsFailure) {
  Launcher second = launcher(1, 2, kPatience, milliseconds(1'000));
  hub_.set_reachable("store:1", false);
  hub_.cut("store:1");
  second.listen(1);
  EXPECT_THAT(second.heard, ElementsAre(StartsWith("failed: the job's store, in launcher 0, is lost: ")));
}

TEST_F(PeerLinkTest, TwoOfOneNumberAreRefused) {
  Launcher first = launcher(0, 2);
  EXPECT_THROW((void)launcher(0, 2), Error);
}

TEST(JobFailureText, GoesThroughAndBack) {
  const JobFailure failure{2, 7, 139, "rank 7 ended", {"one", "two"}};
  EXPECT_EQ(parse_job_failure(to_json(failure)), failure);
  EXPECT_THROW((void)parse_job_failure("{}"), Error);
  EXPECT_THROW((void)parse_job_failure("no"), Error);
}

}  // namespace
}  // namespace concerto
