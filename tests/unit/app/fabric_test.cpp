// Which addresses ranks use, what of it leaves a machine, and what is refused.
#include "../src/app/fabric.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

template <class Call>
std::string error_of(const Call& call) {
  try {
    (void)call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    return error.what();
  }
  return "none";
}

// Two machines of one name, as containers often are.
const RankPlace kHere{"node", "boot-1 net:[1]", "10.0.0.1", "", "", ""};
const RankPlace kThere{"node", "boot-2 net:[1]", "10.0.0.2", "", "", ""};
const RankPlace kBeside{"node", "boot-1 net:[2]", "10.0.0.3", "", "", ""};  // another namespace of the first

RankPlace with_device(RankPlace place, const std::string& device) {
  place.device = device;
  return place;
}

RankPlace without_device(RankPlace place, const std::string& why) {
  place.no_device = why;
  return place;
}

TEST(Fabric, AutoIsNcclWhereEachRankHasADeviceOfItsOwn) {
  ClusterConfig cluster;
  const RankPlace first = with_device(kHere, "0000:17:00.0");
  const RankPlace second = with_device(kHere, "0000:65:00.0");
  const RankPlace elsewhere = with_device(kThere, "0000:17:00.0");
  EXPECT_EQ(choose_collectives(cluster, {first, second, elsewhere}).name, "nccl");
  const CollectivesChoice shared = choose_collectives(cluster, {first, elsewhere, first});
  EXPECT_EQ(shared.name, "gloo");
  EXPECT_THAT(shared.why, HasSubstr("ranks 0 and 2 on node share the GPU at 0000:17:00.0"));
  const CollectivesChoice lacking = choose_collectives(cluster, {first, without_device(kThere, "no NCCL")});
  EXPECT_EQ(lacking.name, "gloo");
  EXPECT_EQ(lacking.why, "rank 1 on node: no NCCL");
  cluster.collectives = "gloo";
  EXPECT_EQ(choose_collectives(cluster, {first, second}).name, "gloo");
}

TEST(Fabric, NcclByItsNameNeedsADeviceForEachRank) {
  ClusterConfig cluster;
  cluster.collectives = "nccl";
  const RankPlace first = with_device(kHere, "0000:17:00.0");
  EXPECT_EQ(choose_collectives(cluster, {first}).name, "nccl");
  EXPECT_THAT(error_of([&] {
                return choose_collectives(cluster, {first, first});
              }),
              HasSubstr("ranks 0 and 1 on node"));
  try {
    (void)choose_collectives(cluster, {first, without_device(kThere, "no NCCL")});
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_EQ(std::string(error.what()), "cluster.collectives = \"nccl\": rank 1 on node: no NCCL");
  }
}

TEST(Fabric, OnlyWhoMayNeedADeviceLooksForOne) {
  ClusterConfig cluster;
  RankPlace place = kHere;
  find_device(place, cluster, false);
  EXPECT_EQ(place.no_device, "it does not compute on a GPU");
  cluster.collectives = "gloo";
  find_device(place, cluster, true);
  EXPECT_EQ(place.no_device, "NCCL is not asked for");
  EXPECT_EQ(place.device, "");
}

TEST(Fabric, RanksThatShareALoopbackUseIt) {
  RankPlace nameless = kHere;
  nameless.address = "";
  nameless.why = "the name leads nowhere";
  const std::vector<RankPlace> places{kHere, nameless};
  EXPECT_THAT(addresses_used(places, {}), ElementsAre("127.0.0.1", "127.0.0.1"));
  EXPECT_THAT(links_between_machines(places, addresses_used(places, {})), IsEmpty());
}

TEST(Fabric, AConfiguredInterfaceIsUsedAlsoWithinAMachine) {
  ClusterConfig cluster;
  cluster.network_interface = "eth0";
  const std::vector<RankPlace> places{kHere, kHere};
  EXPECT_THAT(addresses_used(places, cluster), ElementsAre("10.0.0.1", "10.0.0.1"));
  EXPECT_THAT(links_between_machines(places, addresses_used(places, cluster)), IsEmpty());
}

TEST(Fabric, EqualNamesAreNotOneMachine) {
  const std::vector<RankPlace> places{kHere, kThere, kHere, kBeside};
  const auto addresses = addresses_used(places, {});
  EXPECT_THAT(addresses, ElementsAre("10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.3"));
  EXPECT_THAT(links_between_machines(places, addresses),
              ElementsAre("10.0.0.1 - 10.0.0.2", "10.0.0.1 - 10.0.0.3", "10.0.0.2 - 10.0.0.3"));
}

TEST(Fabric, AnAddressThatOthersCannotReachIsRefused) {
  RankPlace looped = kThere;
  looped.address = "127.0.1.1";
  EXPECT_THAT(
      error_of([&] {
        return addresses_used({kHere, looped}, {});
      }),
      HasSubstr("cluster.network_interface: rank 1 would be reached at 127.0.1.1, to which the name node leads"));
  RankPlace nameless = kThere;
  nameless.address = "";
  nameless.why = "ranks cannot be listened for at 'node'";
  EXPECT_THAT(error_of([&] {
                return addresses_used({kHere, nameless}, {});
              }),
              HasSubstr("rank 1 on node: ranks cannot be listened for at 'node'"));
}

TEST(Fabric, EncryptionIsRequiredOfWhatLeavesAMachine) {
  SecurityConfig security;
  security.require_encryption = true;
  const std::vector<std::string> links{"10.0.0.1 - 10.0.0.2", "10.0.0.1 - 10.0.0.3"};
  const auto refusal = [&](const std::vector<std::string>& some) {
    return error_of([&] {
      require_allowed(security, "gloo", some);
      return 0;
    });
  };
  EXPECT_EQ(
      refusal(links),
      "security.require_encryption: gloo would send factors in the clear over 10.0.0.1 - 10.0.0.2 and 1 more; set "
      "security.trusted_fabric = true if nobody listens on that network");
  EXPECT_EQ(refusal({}), "none");
  security.trusted_fabric = true;
  EXPECT_EQ(refusal(links), "none");
  security = {};
  EXPECT_EQ(refusal(links), "none");
}

TEST(Fabric, AutoIsAChannelWhereEncryptionIsRequiredOfLinksBetweenMachines) {
  Config config;
  const std::vector<RankPlace> apart{kHere, kThere};
  const auto chosen = [&](const std::vector<RankPlace>& places, bool has_certificates) {
    return choose_links(places, config, has_certificates);
  };
  EXPECT_EQ(chosen(apart, true).collectives, "gloo");
  EXPECT_THAT(chosen(apart, true).in_the_clear, ElementsAre("10.0.0.1 - 10.0.0.2"));
  EXPECT_THAT(chosen(apart, true).addresses, ElementsAre("10.0.0.1", "10.0.0.2"));
  config.security.require_encryption = true;
  EXPECT_EQ(chosen(apart, true).collectives, "channel");
  EXPECT_THAT(chosen(apart, true).in_the_clear, IsEmpty());
  EXPECT_EQ(chosen({kHere, kHere}, true).collectives, "gloo");
  EXPECT_THAT(error_of([&] { return chosen(apart, false); }), HasSubstr("gloo would send factors in the clear"));
  config.security.plain_channel = true;
  EXPECT_THAT(error_of([&] { return chosen(apart, true); }), HasSubstr("gloo would send factors in the clear"));
  config.security.trusted_fabric = true;
  EXPECT_EQ(chosen(apart, true).collectives, "gloo");
}

TEST(Fabric, LinksOfNcclAreThoseOfGloo) {
  Config config;
  const std::vector<RankPlace> both{with_device(kHere, "0000:17:00.0"), with_device(kThere, "0000:17:00.0")};
  EXPECT_EQ(choose_links(both, config, true).collectives, "nccl");
  EXPECT_THAT(choose_links(both, config, true).in_the_clear, ElementsAre("10.0.0.1 - 10.0.0.2"));
  config.security.require_encryption = true;
  EXPECT_EQ(choose_links(both, config, true).collectives, "channel");
  config.cluster.collectives = "nccl";
  EXPECT_THAT(error_of([&] { return choose_links(both, config, true); }),
              HasSubstr("nccl would send factors in the clear"));
  EXPECT_THAT(error_of([&] {
                return choose_links({kHere, kThere}, without_nccl(config), true);
              }),
              HasSubstr("gloo would send factors in the clear"));
}

TEST(Fabric, AChannelIsPlainOnlyWhereThatIsSaidAndAllowed) {
  Config config;
  config.cluster.collectives = "channel";
  const std::vector<RankPlace> apart{kHere, kThere};
  EXPECT_THAT(choose_links(apart, config, true).in_the_clear, IsEmpty());
  EXPECT_THAT(error_of([&] { return choose_links(apart, config, false); }),
              HasSubstr("cluster.collectives: channels show the certificates"));
  config.security.plain_channel = true;
  EXPECT_THAT(choose_links(apart, config, false).in_the_clear, ElementsAre("10.0.0.1 - 10.0.0.2"));
  config.security.require_encryption = true;
  EXPECT_THAT(error_of([&] { return choose_links(apart, config, true); }),
              HasSubstr("security.require_encryption: channel, with security.plain_channel, would send factors in the "
                        "clear over 10.0.0.1 - 10.0.0.2"));
  EXPECT_EQ(choose_links({kHere, kHere}, config, true).collectives, "channel");
  config.security.trusted_fabric = true;
  EXPECT_THAT(choose_links(apart, config, true).in_the_clear, ElementsAre("10.0.0.1 - 10.0.0.2"));
}

TEST(Fabric, ThisProcessHasAPlace) {
  const RankPlace place = place_of_this_process({});
  EXPECT_EQ(place, place_of_this_process({}));
  EXPECT_FALSE(place.network.empty());
  EXPECT_NE(place.address.empty(), place.why.empty());
  ClusterConfig cluster;
  cluster.network_interface = "lo";
  EXPECT_TRUE(is_loopback(place_of_this_process(cluster).address));
  cluster.network_interface = "no-such-0";
  EXPECT_THAT(place_of_this_process(cluster).why, HasSubstr("no-such-0"));
}

}  // namespace
}  // namespace concerto
