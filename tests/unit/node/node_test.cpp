// Nodes run against each other in one thread: every rank reads what the serial schedule shows it, exchanges come in one
// order, and whoever dies or stalls is named by all others in time. Delays are drawn from a seed.
#include "concerto/node/node.hpp"

#include <gmock/gmock.h>

#include "cluster.hpp"

namespace concerto {
namespace {

using test::Cluster;
using test::Scenario;
using ::testing::HasSubstr;

TEST(Node, EveryRankFollowsTheSerialScheduleAndFinishes) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Scenario s;
    s.seed = seed;
    s.ranks = 1 + static_cast<Rank>(seed % 6);
    s.rounds = 1 + static_cast<std::uint32_t>(seed % 5);
    s.epochs = 1 + static_cast<std::uint32_t>(seed % 3);
    Cluster cluster(s);
    cluster.run(Tick{3'600'000});
    for (Rank r = 0; r < s.ranks; ++r) {
      const auto& ended = cluster.member(r).ended;
      ASSERT_TRUE(ended.finished) << "seed " << seed << ", rank " << r
                                  << (ended.failed ? ended.failed->failure.message : "");
      EXPECT_EQ(ended.finished->epochs, s.epochs);
      EXPECT_EQ(cluster.member(r).operations.size(), s.ranks == 1 ? 0 : s.epochs * (2 * s.rounds + 1) + 4);
    }
  }
}

TEST(Node, ARotationEqualsItsSerialExecutionAndFinishes) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Scenario s;
    s.seed = seed;
    s.ranks = 1 + static_cast<Rank>(seed % 7);
    s.parts_per_rank = 1 + static_cast<std::uint32_t>(seed % 3);
    s.epochs = 1 + static_cast<std::uint32_t>(seed % 4);
    Cluster cluster(s);
    cluster.run(Tick{3'600'000});
    for (Rank r = 0; r < s.ranks; ++r) {
      const auto& ended = cluster.member(r).ended;
      ASSERT_TRUE(ended.finished) << "seed " << seed << ", rank " << r
                                  << (ended.failed ? ended.failed->failure.message : "");
      EXPECT_EQ(cluster.member(r).epochs_measured, s.epochs);
      // A rank gives each part that it has worked on to the next or to all; then the sums.
      EXPECT_EQ(cluster.member(r).operations.size(),
                s.ranks == 1 ? 0 : s.epochs * (s.ranks * s.parts_per_rank + 1) + 4);
    }
  }
}

TEST(Node, SumsOfPartialsFollowTheSerialScheduleAndFinish) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Scenario s;
    s.seed = seed;
    s.is_summing = true;
    s.ranks = 1 + static_cast<Rank>(seed % 6);
    s.rounds = 1 + static_cast<std::uint32_t>(seed % 5);
    s.epochs = 1 + static_cast<std::uint32_t>(seed % 3);
    Cluster cluster(s);
    cluster.run(Tick{3'600'000});
    for (Rank r = 0; r < s.ranks; ++r) {
      const auto& ended = cluster.member(r).ended;
      ASSERT_TRUE(ended.finished) << "seed " << seed << ", rank " << r
                                  << (ended.failed ? ended.failed->failure.message : "");
      EXPECT_EQ(cluster.member(r).epochs_measured, s.epochs);
      // Partials and rows of each round of the items; then the sums.
      EXPECT_EQ(cluster.member(r).operations.size(), s.ranks == 1 ? 0 : s.epochs * (2 * s.rounds + 1) + 4);
    }
  }
}

TEST(Node, PartialsTravelWhileTheNextRoundIsSummedAndTheirOrderIsFixed) {
  NodeOptions options;
  options.ranks = 2;
  options.rounds = 3;
  options.schedule = ScheduleKind::kSumming;
  Node node(options, 1, Tick{0});
  const auto exchanges = [&node] {
    std::string words;
    for (const Effect& effect : node.take_effects()) {
      if (const auto* e = std::get_if<ExchangePartials>(&effect)) words += "P" + std::to_string(e->step.round);
      if (const auto* e = std::get_if<ExchangeRows>(&effect)) words += "R" + std::to_string(e->step.round);
      if (const auto* e = std::get_if<SolveSystems>(&effect)) words += "S" + std::to_string(e->step.round);
      if (const auto* e = std::get_if<InstallRows>(&effect)) words += "I" + std::to_string(e->step.round);
      if (std::holds_alternative<BeginSweep>(effect)) words += "B";
    }
    return words;
  };
  const auto items = [](std::uint32_t round) { return StepId{1, Side::kItems, round}; };
  node.start(Tick{0});
  node.facts_exchanged();
  node.sweep_begun();
  EXPECT_EQ(exchanges(), "B");
  node.step_finished(items(0));
  EXPECT_EQ(exchanges(), "P0");
  node.partials_exchanged(items(0));
  node.systems_solved(items(0));
  EXPECT_EQ(exchanges(), "S0") << "rows went before the partials of the next round";
  node.step_finished(items(1));
  EXPECT_EQ(exchanges(), "P1R0");
  node.step_finished(items(2));
  EXPECT_EQ(exchanges(), "P2");
  node.rows_exchanged(items(0));
  node.partials_exchanged(items(1));
  EXPECT_EQ(exchanges(), "I0S1");
  node.rows_installed(items(0));
  node.systems_solved(items(1));
  node.partials_exchanged(items(2));
  node.systems_solved(items(2));
  EXPECT_EQ(exchanges(), "R1S2R2");
  for (const std::uint32_t round : {1U, 2U}) {
    node.rows_exchanged(items(round));
    node.rows_installed(items(round));
  }
  EXPECT_EQ(exchanges(), "I1I2B");
  node.sweep_begun();
  for (const std::uint32_t round : {0U, 1U, 2U}) node.step_finished({1, Side::kUsers, round});
  EXPECT_EQ(exchanges(), "") << "users travel";
}

TEST(Node, APartTravelsWhileTheNextIsWorkedOn) {
  NodeOptions options;
  options.ranks = 3;
  options.schedule = ScheduleKind::kRotating;
  options.rotation = {3, 2, 1};
  Node node(options, 1, Tick{0});
  node.start(Tick{0});
  node.facts_exchanged();
  (void)node.take_effects();
  node.sweep_begun();
  const auto begun = node.take_effects();
  ASSERT_EQ(begun.size(), 4U) << "both parts of the first stratum are here";
  EXPECT_NE(std::get_if<RunStep>(&begun[0]), nullptr);
  const auto* receive = std::get_if<ReceiveBlock>(&begun[1]);
  ASSERT_NE(receive, nullptr);
  EXPECT_EQ(receive->pass, (BlockPass{1, 1, options.rotation.part(0, 1, 2), 1, 0}));
  EXPECT_NE(std::get_if<RunStep>(&begun[2]), nullptr);
  node.step_finished({1, Side::kItems, 0});
  const auto effects = node.take_effects();
  ASSERT_EQ(effects.size(), 1U) << "a step was begun whose part is not here";
  const auto* send = std::get_if<SendBlock>(&effects[0]);
  ASSERT_NE(send, nullptr);
  EXPECT_EQ(send->pass, (BlockPass{1, 1, options.rotation.part(0, 1, 0), 0, 2}));
  node.block_received(receive->pass);
  const auto arrived = node.take_effects();
  ASSERT_EQ(arrived.size(), 3U);
  EXPECT_NE(std::get_if<InstallBlock>(&arrived[0]), nullptr) << "before the step that needs it";
  const auto* next = std::get_if<RunStep>(&arrived[1]);
  ASSERT_NE(next, nullptr);
  EXPECT_EQ(next->step, (StepId{1, Side::kItems, 2}));
  node.step_finished({1, Side::kItems, 1});
  EXPECT_EQ(node.place(), "epoch 1, stratum 1, part " + std::to_string(options.rotation.part(0, 1, 2)));
}

/// All but the victim end with a failure that blames it, within `limit` after it happened.
void expect_named(const Scenario& s, Tick limit, const std::string& word) {
  Cluster cluster(s);
  cluster.run(s.at + limit + Tick{60'000});
  for (Rank r = 0; r < s.ranks; ++r) {
    if (r == s.victim) continue;
    const auto& ended = cluster.member(r).ended;
    ASSERT_TRUE(ended.failed) << "seed " << s.seed << ": rank " << r << " did not notice";
    EXPECT_EQ(ended.failed->blamed, s.victim)
        << "seed " << s.seed << ", rank " << r << ": " << ended.failed->failure.message;
    EXPECT_LE(ended.at, s.at + limit) << "seed " << s.seed << ", rank " << r;
    EXPECT_THAT(ended.failed->failure.message, HasSubstr("rank " + std::to_string(s.victim)));
    EXPECT_THAT(ended.failed->failure.message, HasSubstr(word));
  }
}

TEST(Node, AKilledOrStoppedRankIsNamedByAllWithinItsLimit) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    for (const auto fate : {Scenario::Fate::kKilled, Scenario::Fate::kStopped}) {
      Scenario s;
      s.seed = seed;
      s.ranks = 2 + static_cast<Rank>(seed % 5);
      s.epochs = 1000;
      s.victim = static_cast<Rank>(seed % s.ranks);
      s.at = Tick{700 + 37 * static_cast<std::int64_t>(seed)};
      s.fate = fate;
      for (const std::uint32_t parts : {0U, 2U}) {
        s.parts_per_rank = parts;
        expect_named(s, Tick{5'000 + 5'000}, "no heartbeat");
      }
      s.parts_per_rank = 0;
      s.is_summing = true;
      expect_named(s, Tick{5'000 + 5'000}, "no heartbeat");
    }
  }
}

TEST(Node, AStuckRankIsNamedAndASlowOneIsNot) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Scenario s;
    s.seed = seed;
    s.ranks = 2 + static_cast<Rank>(seed % 4);
    s.epochs = 1000;
    s.victim = static_cast<Rank>(seed % s.ranks);
    s.at = Tick{2'000};
    s.fate = Scenario::Fate::kStuck;
    s.parts_per_rank = 2 * static_cast<std::uint32_t>(seed % 2);
    s.is_summing = seed % 4 == 0;
    expect_named(s, Tick{30'000 + 5'000}, "stalled");

    s.epochs = 1;
    s.fate = Scenario::Fate::kSlow;
    s.slow = Tick{120'000};
    Cluster cluster(s);
    cluster.run(Tick{24 * 3'600'000});
    for (Rank r = 0; r < s.ranks; ++r)
      EXPECT_TRUE(cluster.member(r).ended.finished) << "seed " << seed << ", rank " << r;
  }
}

TEST(Node, ARankThatGivesUpIsNamedWithItsReason) {
  Scenario s;
  s.epochs = 1000;
  s.victim = 1;
  s.at = Tick{1'500};
  s.fate = Scenario::Fate::kDiverges;
  expect_named(s, Tick{5'000}, "training diverged");
  s.parts_per_rank = 2;
  expect_named(s, Tick{5'000}, "training diverged");
}

TEST(Node, RanksThatDoDifferentThingsFailAtOnce) {
  NodeOptions options;
  options.ranks = 2;
  Node node(options, 1, Tick{0});
  node.start(Tick{0});
  node.facts_exchanged();
  node.sweep_begun();
  (void)node.take_effects();
  node.collective_failed({FailureKind::kMismatch, "rank 1 is at step 5"}, {1}, Tick{10});
  ASSERT_TRUE(node.is_over());
  const auto effects = node.take_effects();
  const auto* failed = std::get_if<FailRun>(&effects.back());
  ASSERT_NE(failed, nullptr);
  EXPECT_EQ(failed->blamed, 1U);
  EXPECT_EQ(failed->failure.kind, FailureKind::kMismatch);
}

TEST(Node, WithoutTheStoreARunEnds) {
  NodeOptions options;
  options.ranks = 2;
  Node node(options, 1, Tick{0});
  node.start(Tick{0});
  node.store_lost("connection refused");
  EXPECT_TRUE(node.is_over());
}

TEST(Heartbeat, TextRoundTripsAndNonsenseIsNothing) {
  const Heartbeat beat{3, 7, 123456789012345, 42, true};
  EXPECT_EQ(parse_heartbeat(to_text(beat)), beat);
  for (const char* text :
       {"", "1 2 3 4", "1 2 3 4 2", "1 2 3 4 1 ", "a 2 3 4 1", "1  2 3 4 1", "-1 2 3 4 1", "1 99999999999 3 4 1"}) {
    EXPECT_FALSE(parse_heartbeat(text)) << text;
  }
}

TEST(FailureDetector, SlowIsNotStalledAndWaitingIsNotEither) {
  FailureDetector detector(3, 0, {}, Tick{0});
  Heartbeat waiting{1, 1, 4, 10, false};
  Heartbeat working{1, 1, 3, 10, true};
  for (int second = 0; second <= 120; ++second) {
    const Tick now{1000 * second};
    if (second % 20 == 0) ++working.progress;
    detector.hear(1, waiting, now);
    detector.hear(2, working, now);
    EXPECT_FALSE(detector.judge(now)) << second << " s: " << detector.judge(now)->evidence;
  }
  for (int second = 121; second <= 160; ++second) {
    detector.hear(1, waiting, Tick{1000 * second});
    detector.hear(2, working, Tick{1000 * second});
  }
  const auto found = detector.judge(Tick{160'000});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rank, 2U);
  EXPECT_EQ(found->verdict, Verdict::kStalled);
  EXPECT_EQ(detector.furthest_behind(), 2U);
}

}  // namespace
}  // namespace concerto
