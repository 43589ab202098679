// From facts to findings, each problem with what mends it; and who measures with whom.
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/communicators.hpp"

#include "doctor/judge.hpp"
#include "doctor/page.hpp"
#include "doctor/probe.hpp"

namespace concerto::doctor {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A rank with which all is well, on a machine of its own.
Facts healthy(Rank rank = 0) {
  Facts facts;
  facts.rank = rank;
  const std::string address = "10.0.0." + std::to_string(rank + 1);
  facts.place = {"h" + std::to_string(rank), "boot-" + std::to_string(rank), address, "", "", ""};
  facts.interfaces = {"lo 127.0.0.1", "eth0 " + address};
  facts.name_addresses = {address};
  facts.open_files = 1024;
  facts.open_files_most = 1'048'576;
  facts.memory_available = std::uint64_t{8} << 30;
  facts.memory_held = std::uint64_t{10} << 20;
  facts.memory_needed = std::uint64_t{1} << 30;
  facts.memory_of = "training at rank 64";
  facts.cuda_obstacle = "no GPU";
  facts.store = "etcd at http://e:1";
  facts.store_ms = 1.0;
  return facts;
}

Expectations expecting(Rank ranks = 1) {
  Expectations expected;
  expected.ranks = ranks;
  expected.has_config = true;
  expected.config.data.train = "train";
  expected.config.output.model = "model";
  return expected;
}

/// What is not well.
std::vector<Finding> trouble(const Expectations& expected, const std::vector<Facts>& ranks) {
  std::vector<Finding> found = judge(expected, ranks);
  std::erase_if(found, [](const Finding& finding) { return finding.level == Level::kOk; });
  return found;
}

auto finding(Level level, const std::string& check, const std::vector<Rank>& ranks, const std::string& what,
             const std::string& mend) {
  return AllOf(Field(&Finding::level, level), Field(&Finding::check, check), Field(&Finding::ranks, ranks),
               Field(&Finding::what, HasSubstr(what)), Field(&Finding::mend, HasSubstr(mend)));
}

TEST(Doctor, AHealthyRankIsWell) {
  EXPECT_THAT(trouble(expecting(), {healthy()}), IsEmpty());
  EXPECT_THAT(trouble(expecting(2), {healthy(0), healthy(1)}), IsEmpty());
  Expectations bare;
  EXPECT_THAT(trouble(bare, {healthy()}), IsEmpty());
}

TEST(Doctor, ChecksComeInOrderAndWhatIsCommonOnce) {
  const auto found = judge(expecting(2), {healthy(0), healthy(1)});
  std::vector<std::string> checks;
  for (const Finding& one : found) {
    checks.push_back(one.check);
    EXPECT_EQ(one.ranks.size(), one.check == "encryption" ? 1U : 2U) << one.check;
  }
  EXPECT_THAT(checks, ElementsAre("ranks", "interfaces", "name", "store", "encryption", "gpu", "nccl", "memory",
                                  "open files", "data", "output"));
}

TEST(Doctor, AnInterfaceThatIsNotThere) {
  Expectations expected = expecting();
  expected.config.cluster.network_interface = "eth9";
  Facts facts = healthy();
  facts.place.address = "";
  facts.place.why = "no such interface";
  EXPECT_THAT(trouble(expected, {facts}),
              ElementsAre(finding(Level::kProblem, "interfaces", {0}, "no such interface",
                                  "cluster.network_interface = \"eth9\": there are lo 127.0.0.1, eth0 10.0.0.1")));
}

TEST(Doctor, ANameThatOthersCannotUseMattersBetweenMachines) {
  Facts looped = healthy(1);
  looped.name_addresses = {"127.0.1.1"};
  looped.place.address = "127.0.1.1";
  EXPECT_THAT(trouble(expecting(2), {healthy(0), looped}),
              ElementsAre(finding(Level::kProblem, "name", {1}, "h1 leads to 127.0.1.1, where other machines cannot",
                                  "cluster.network_interface, or the machine's line in /etc/hosts")));
  looped.rank = 0;
  EXPECT_THAT(trouble(expecting(), {looped}),
              ElementsAre(finding(Level::kWarning, "name", {0}, "it matters with", "")));
  Facts beside = looped;
  beside.rank = 1;
  EXPECT_THAT(trouble(expecting(2), {looped, beside}), IsEmpty());  // one machine
}

TEST(Doctor, TheStore) {
  Facts facts = healthy();
  facts.store_problem = "etcd at http://e:1 cannot be reached";
  EXPECT_THAT(trouble(expecting(), {facts}),
              ElementsAre(finding(Level::kProblem, "store", {0}, "cannot be reached", "cluster.store")));
  facts.store_problem = "";
  facts.store_ms = 300.0;
  EXPECT_THAT(trouble(expecting(), {facts}), ElementsAre(finding(Level::kWarning, "store", {0}, "300.0 ms", "nearer")));
}

TEST(Doctor, Certificates) {
  Facts facts = healthy();
  facts.certificates = {{"/a.pem", -100.0, -2.0, ""},
                        {"/b.pem", -1.0, 3.0, ""},
                        {"/c.pem", -1.0, 240.0, ""},
                        {"/d.pem", 0.5, 100.0, ""},
                        {"/e.pem", 0.0, 0.0, "no certificate (PEM)"}};
  EXPECT_THAT(trouble(expecting(), {facts}),
              ElementsAre(finding(Level::kProblem, "certificates", {0}, "/a.pem has ended 2 h ago", "new certificate"),
                          finding(Level::kProblem, "certificates", {0}, "/d.pem begins in 0.5 h", "new certificate"),
                          finding(Level::kProblem, "certificates", {0}, "/e.pem: no certificate (PEM)", "security"),
                          finding(Level::kWarning, "certificates", {0}, "/b.pem ends in 3.0 h", "new certificate")));
}

TEST(Doctor, Links) {
  std::vector<Facts> ranks{healthy(0), healthy(1), healthy(2)};
  ranks[0].links = {{1, 0.1, 1000.0}, {2, 0.1, 100.0}};
  ranks[1].links = {{2, 0.1, 1100.0}};
  EXPECT_THAT(trouble(expecting(3), ranks), ElementsAre(finding(Level::kWarning, "links", {0},
                                                                "with rank 2: 0.10 ms, 100 MB/s, where others reach "
                                                                "1000 MB/s",
                                                                "cable")));
  EXPECT_THAT(judge(expecting(3), ranks),
              Contains(finding(Level::kOk, "links", {0}, "3 measured; the slowest, ranks 0 and 2", "")));
  ranks[2].links_problem = "with rank 1: the connection ended";
  EXPECT_THAT(trouble(expecting(3), ranks), Contains(finding(Level::kProblem, "links", {2}, "ended", "firewall")));
}

TEST(Doctor, ClocksWithinWhatCouldBeMeasured) {
  const auto with = [](double offset, double uncertainty) {
    Facts facts = healthy(1);
    facts.has_clock = true;
    facts.clock_offset_ms = offset;
    facts.clock_uncertainty_ms = uncertainty;
    return trouble(expecting(2), {healthy(0), facts});
  };
  EXPECT_THAT(with(900.0, 1.0), IsEmpty());
  EXPECT_THAT(with(-1'500.0, 600.0), IsEmpty());
  EXPECT_THAT(with(-1'500.0, 1.0), ElementsAre(finding(Level::kWarning, "clock", {1}, "-1500.0 ms", "NTP")));
  EXPECT_THAT(with(4e6, 1.0), ElementsAre(finding(Level::kProblem, "clock", {1}, "beyond an hour", "NTP")));
}

TEST(Doctor, AGpuMattersWhereItIsAskedFor) {
  Expectations expected = expecting();
  expected.config.compute.backend = "cuda";
  EXPECT_THAT(trouble(expected, {healthy()}),
              ElementsAre(finding(Level::kProblem, "gpu", {0}, "no NVIDIA driver; no GPU", "compute.backend")));
  Facts equipped = healthy();
  equipped.driver = "NVRM version: 580";
  equipped.cuda_driver = "13.0";
  equipped.cuda_runtime = "12.8";
  equipped.cuda_obstacle = "";
  EXPECT_THAT(
      judge(expected, {equipped}),
      Contains(finding(Level::kOk, "gpu", {0}, "NVRM version: 580, for CUDA up to 13.0, CUDA runtime 12.8", "")));
  expected.config.compute.backend = "auto";
  EXPECT_THAT(judge(expected, {healthy()}),
              Contains(finding(Level::kOk, "gpu", {0}, "no NVIDIA driver; auto takes the cpu: no GPU", "")));
}

TEST(Doctor, NcclMattersWhereItIsAskedFor) {
  Expectations expected = expecting();
  Facts facts = healthy();
  facts.nccl = "2.28.9";
  facts.nccl_obstacle = "device 0: no device";
  EXPECT_THAT(judge(expected, {facts}),
              Contains(finding(Level::kOk, "nccl", {0}, "2.28.9; device 0: no device; ranks use gloo", "")));
  expected.config.cluster.collectives = "nccl";
  EXPECT_THAT(trouble(expected, {facts}),
              ElementsAre(finding(Level::kProblem, "nccl", {0}, "2.28.9; device 0: no device",
                                  "cluster.collectives = \"gloo\"")));
  facts.nccl_obstacle = "";
  EXPECT_THAT(trouble(expected, {facts}), IsEmpty());
}

TEST(Doctor, MemoryOfARankAndOfItsMachine) {
  Expectations expected = expecting();
  expected.config.compute.memory_limit_bytes = std::uint64_t{1} << 30;  // what is held already is too much
  EXPECT_THAT(trouble(expected, {healthy()}),
              ElementsAre(finding(Level::kProblem, "memory", {0}, "beyond compute.memory_limit_bytes = 1073741824",
                                  "compute.memory_limit_bytes of at least 1084227584")));
  Facts crowded = healthy();
  crowded.local_size = 9;
  EXPECT_THAT(trouble(expecting(), {crowded}),
              ElementsAre(finding(Level::kProblem, "memory", {0}, "on each of 9 ranks, and 8.0 GiB are available",
                                  "fewer ranks a machine")));
}

TEST(Doctor, OpenFilesGrowWithRanks) {
  EXPECT_LT(open_files_needed(1), open_files_needed(64));
  Facts facts = healthy();
  facts.open_files = 16;
  EXPECT_THAT(trouble(expecting(), {facts}), ElementsAre(finding(Level::kProblem, "open files", {0}, "16 are allowed",
                                                                 "ulimit -n 68, before concerto-launch")));
  facts.open_files_most = 16;
  EXPECT_THAT(trouble(expecting(), {facts}),
              ElementsAre(finding(Level::kProblem, "open files", {0}, "16 are allowed", "limits.conf")));
}

TEST(Doctor, DataAndOutput) {
  Facts facts = healthy(1);
  facts.data_problem = "data.train: train does not exist";
  facts.is_output_shared = false;
  EXPECT_THAT(trouble(expecting(2), {healthy(0), facts}),
              ElementsAre(finding(Level::kProblem, "data", {1}, "train does not exist", "path"),
                          finding(Level::kWarning, "output", {1}, "another file system than rank 0's", "share")));
  facts.output_problem = "output.model: there is no folder";
  EXPECT_THAT(trouble(expecting(2), {healthy(0), facts}),
              Contains(finding(Level::kProblem, "output", {1}, "there is no folder", "output.model")));
}

TEST(Doctor, EncryptionThatIsRequiredAndRanksThatDidNotCome) {
  Expectations expected = expecting(2);
  expected.config.security.require_encryption = true;
  EXPECT_THAT(trouble(expected, {healthy(0), healthy(1)}),
              ElementsAre(finding(Level::kProblem, "encryption", {0}, "in the clear over 10.0.0.1 - 10.0.0.2",
                                  "security.require_encryption")));
  std::vector<Facts> certified{healthy(0), healthy(1)};
  for (Facts& facts : certified) facts.store = "embedded at 10.0.0.1:1";
  EXPECT_THAT(judge(expected, certified),
              Contains(finding(Level::kOk, "encryption", {0}, "encrypted over 1 link, by channel", "")));
  EXPECT_THAT(trouble(expecting(3), {healthy(0), healthy(2)}),
              ElementsAre(finding(Level::kProblem, "ranks", {1}, "did not come", "")));
}

TEST(Doctor, FactsGoThroughTheStoreAndBack) {
  Facts facts = healthy(3);
  facts.links = {{1, 0.5, 10.0}};
  facts.certificates = {{"/a", -1.0, 2.0, ""}};
  EXPECT_EQ(to_json(parse_facts(to_json(facts))), to_json(facts));
  EXPECT_THROW((void)parse_facts("{}"), Error);
}

TEST(Doctor, EveryPairMeasuresOnceAndNobodyTwiceAtATime) {
  for (Rank ranks = 2; ranks <= 9; ++ranks) {
    std::set<std::pair<Rank, Rank>> pairs;
    for (Rank round = 0; round < rounds_of(ranks); ++round) {
      for (Rank rank = 0; rank < ranks; ++rank) {
        const Rank partner = partner_of(rank, ranks, round);
        if (partner == kNoRank) continue;
        ASSERT_LT(partner, ranks);
        EXPECT_EQ(partner_of(partner, ranks, round), rank);
        if (rank > partner) continue;
        EXPECT_TRUE(pairs.emplace(rank, partner).second) << ranks;
      }
    }
    EXPECT_EQ(pairs.size(), std::size_t{ranks} * (ranks - 1) / 2) << ranks;
  }
}

TEST(Doctor, LinksAndClocksOfAGroup) {
  constexpr Rank kRanks = 3;
  InprocGroup group = make_inproc_group(kRanks, {});
  std::vector<Facts> facts(kRanks);
  std::vector<std::thread> threads;
  for (Rank rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] { probe_links(*group.ranks[rank], facts[rank]); });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<Rank> peers;
  for (const LinkFacts& link : facts[0].links) peers.insert(link.peer);
  EXPECT_THAT(peers, ElementsAre(1U, 2U));
  ASSERT_EQ(facts[1].links.size(), 1U);
  EXPECT_EQ(facts[1].links[0].peer, 2U);
  EXPECT_GT(facts[1].links[0].megabytes_per_second, 0.0);
  EXPECT_FALSE(facts[0].has_clock);
  for (const Rank rank : {1U, 2U}) {
    EXPECT_TRUE(facts[rank].has_clock);
    EXPECT_EQ(facts[rank].links_problem, "");
  }
}

TEST(Doctor, ARankThatIsGoneEndsTheMeasuring) {
  InprocGroup group = make_inproc_group(2, {});
  group.faults->cut(1);
  Facts facts;
  probe_links(*group.ranks[0], facts);
  EXPECT_THAT(facts.links_problem, HasSubstr("with rank 1: "));
}

TEST(DoctorPage, RanksAreShort) {
  EXPECT_EQ(ranks_text({3}), "rank 3");
  EXPECT_EQ(ranks_text({0, 1, 2, 5}), "ranks 0-2 and 5");
  EXPECT_EQ(ranks_text({0, 2, 4}), "ranks 0, 2 and 4");
}

}  // namespace
}  // namespace concerto::doctor
