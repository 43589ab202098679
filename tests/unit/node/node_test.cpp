// Nodes run against each other in one thread: every rank reads what the serial schedule shows it, collectives come in
// one order, and whoever dies or stalls is named by all others in time. Delays are drawn from a seed.
#include "concerto/node/node.hpp"

#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include <gmock/gmock.h>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

struct Scenario {
  Rank ranks = 3;
  std::uint32_t epochs = 2;
  std::uint32_t rounds = 4;
  std::uint64_t seed = 1;
  Tick step{200};         ///< mean time of a step
  Rank victim = kNoRank;  ///< what happens to it at `at`:
  Tick at{0};
  enum class Fate { kNone, kKilled, kStopped, kStuck, kSlow, kDiverges } fate = Fate::kNone;
  Tick slow{0};  ///< kSlow: its steps last this long from then on
};

/// What a driver, a communicator and a store do, in simulated time.
class Cluster {
 public:
  explicit Cluster(const Scenario& scenario) : s_(scenario), random_(scenario.seed) {
    for (Rank r = 0; r < s_.ranks; ++r) {
      NodeOptions options;
      options.rank = r;
      options.ranks = s_.ranks;
      options.epochs = s_.epochs;
      options.rounds = s_.rounds;
      members_.push_back(Member{Node(options, 1, Tick{0}), {}, {}, {}, {}, {}, {}, false, 0, {}, {}});
    }
    for (Rank r = 0; r < s_.ranks; ++r) {
      after(Tick{0}, [this, r] {
        member(r).node.start(now_);
        drain(r);
      });
      schedule_tick(r);
    }
  }

  /// Runs until nothing is left to happen or `limit` is over.
  void run(Tick limit) {
    while (!queue_.empty() && queue_.top().at <= limit) {
      Pending next = queue_.top();
      queue_.pop();
      now_ = next.at;
      next.what();
      if (std::ranges::all_of(members_, [](const Member& m) { return m.node.is_over() || m.is_gone; })) return;
    }
  }

  struct Ended {
    std::optional<FinishRun> finished;
    std::optional<FailRun> failed;
    Tick at{0};
  };
  struct Member {
    Node node;
    std::deque<Effect> lane;  ///< compute effects not yet begun
    Ended ended;
    std::set<std::tuple<std::uint32_t, Side, std::uint32_t>> installed;
    std::vector<std::uint64_t> operations;
    std::vector<std::string> history;
    std::optional<Tick> stopped_at;
    bool is_gone = false;
    std::uint64_t progress = 0;
    bool is_busy = false;
    bool is_aborted = false;
  };
  Member& member(Rank r) { return members_[r]; }
  [[nodiscard]] Tick now() const { return now_; }

 private:
  struct Pending {
    Tick at;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const Pending& other) const { return std::tie(at, order) > std::tie(other.at, other.order); }
  };
  struct Collective {
    std::set<Rank> joined;
    std::map<Rank, std::function<void()>> done;
  };

  void after(Tick delay, std::function<void()> what) { queue_.push({now_ + delay, order_++, std::move(what)}); }
  Tick drawn(Tick mean) {
    return Tick{static_cast<std::int64_t>(random_.uniform() * 2.0 * static_cast<double>(mean.count()))};
  }
  bool is_victim(Rank r) const { return r == s_.victim && now_ >= s_.at; }
  bool is_frozen(Rank r) const {
    return is_victim(r) && (s_.fate == Scenario::Fate::kKilled || s_.fate == Scenario::Fate::kStopped);
  }

  void schedule_tick(Rank r) {
    after(Tick{100}, [this, r] {
      Member& m = member(r);
      if (is_frozen(r)) {
        if (s_.fate == Scenario::Fate::kKilled && !m.is_gone) die(r);
        m.is_gone = true;
        return;
      }
      m.node.progress(m.progress);
      m.node.tick(now_);
      drain(r);
      if (!m.node.is_over()) schedule_tick(r);
    });
  }

  /// Connections of a killed rank end: whoever is in a collective with it learns that at once.
  void die(Rank dead) {
    for (Rank r = 0; r < s_.ranks; ++r) {
      if (r != dead) {
        after(Tick{5}, [this, r, dead] {
          member(r).node.collective_failed({FailureKind::kLost, "connection reset"}, {dead}, now_);
          drain(r);
        });
      }
    }
  }

  void drain(Rank r) {
    Member& m = member(r);
    for (Effect& effect : m.node.take_effects()) std::visit([&](auto& e) { perform(r, e); }, effect);
    work(r);
  }

  void perform(Rank r, PublishHeartbeat& beat) {
    for (Rank other = 0; other < s_.ranks; ++other) {
      if (other == r) continue;
      after(drawn(Tick{20}), [this, r, other, beat] {
        if (is_frozen(other)) return;
        member(other).node.heard(r, beat.heartbeat, now_);
        drain(other);
      });
    }
  }
  void perform(Rank r, AbortCollectives&) {
    member(r).is_aborted = true;
    for (Rank other = 0; other < s_.ranks; ++other) {
      if (other == r || member(other).is_aborted) continue;
      after(Tick{5}, [this, r, other] {
        if (is_frozen(other) || member(other).is_aborted) return;
        member(other).node.collective_failed({FailureKind::kLost, "connection ended"}, {r}, now_);
        drain(other);
      });
    }
  }
  void perform(Rank r, FinishRun& e) {
    for (Rank other = 0; other < s_.ranks; ++other) {
      if (other != r) after(Tick{1}, [this, r, other] { member(other).node.finished(r); });
    }
    member(r).ended.finished = e;
    member(r).ended.at = now_;
  }
  void perform(Rank r, FailRun& e) {
    member(r).ended.failed = e;
    member(r).ended.at = now_;
    for (Rank other = 0; other < s_.ranks; ++other) {
      if (other == r) continue;
      after(drawn(Tick{20}), [this, r, other, e] {
        if (is_frozen(other)) return;
        member(other).node.peer_failed(r, e.blamed, e.failure.message);
        drain(other);
      });
    }
  }
  void perform(Rank r, ExchangeRows& e) {
    join(r, e.operation, [this, r, step = e.step] {
      member(r).node.rows_exchanged(step);
      drain(r);
    });
  }
  void perform(Rank r, ExchangeSums& e) {
    join(r, e.operation, [this, r] {
      member(r).node.sums_exchanged();
      drain(r);
    });
  }
  void perform(Rank r, MeetAtEnd& e) {
    join(r, e.operation, [this, r] {
      member(r).node.met_at_end();
      drain(r);
    });
  }
  template <class ComputeEffect>
  void perform(Rank r, ComputeEffect& e) {
    member(r).lane.emplace_back(e);
  }

  void join(Rank r, std::uint64_t operation, std::function<void()> done) {
    Member& m = member(r);
    EXPECT_EQ(operation, m.operations.size()) << "collectives are numbered in order";
    m.operations.push_back(operation);
    Collective& c = collectives_[operation];
    c.joined.insert(r);
    c.done[r] = std::move(done);
    if (c.joined.size() < s_.ranks) return;
    for (auto& [rank, what] : c.done) {
      after(drawn(Tick{30}), [this, rank = rank, what = what] {
        if (!is_frozen(rank) && !member(rank).is_aborted) what();
      });
    }
  }

  /// The compute lane: one effect at a time.
  void work(Rank r) {
    Member& m = member(r);
    if (m.is_busy || m.lane.empty() || is_frozen(r)) return;
    const Effect effect = m.lane.front();
    m.lane.pop_front();
    m.is_busy = true;
    if (const auto* run = std::get_if<RunStep>(&effect)) check_reads(r, run->step);
    const bool is_step = std::holds_alternative<RunStep>(effect);
    if (is_step && is_victim(r) && s_.fate == Scenario::Fate::kStuck) return;  // for ever
    if (is_step && is_victim(r) && s_.fate == Scenario::Fate::kDiverges) {
      m.node.work_failed("training diverged");
      drain(r);
      return;
    }
    Tick time = is_step ? drawn(s_.step) : drawn(Tick{5});
    if (is_step && is_victim(r) && s_.fate == Scenario::Fate::kSlow) {
      time = s_.slow;
      for (Tick t{500}; t < time; t += Tick{500}) after(t, [&m] { ++m.progress; });
    }
    after(time, [this, r, effect] {
      if (is_frozen(r)) return;
      Member& mine = member(r);
      mine.is_busy = false;
      ++mine.progress;
      std::visit([&](const auto& e) { finish(r, e); }, effect);
      drain(r);
    });
  }
  void finish(Rank r, const BeginHalfSweep&) { member(r).node.half_sweep_begun(); }
  void finish(Rank r, const RunStep& e) { member(r).node.step_finished(e.step); }
  void finish(Rank r, const InstallRows& e) {
    member(r).installed.insert({e.step.epoch, e.step.side, e.step.round});
    member(r).node.rows_installed(e.step);
  }
  void finish(Rank r, const MeasureEpoch&) { member(r).node.epoch_measured(); }
  void finish(Rank r, const DecideEpoch&) { member(r).node.epoch_decided(true); }
  template <class Other>
  void finish(Rank, const Other&) {
    FAIL() << "not a compute effect";
  }

  /// The oracle: a step may begin only when every round of the half-sweep before it is installed here, and none of its
  /// own half-sweep's rows on the side that it reads.
  void check_reads(Rank r, const StepId& step) {
    if (s_.ranks == 1) return;
    const bool is_first = step.epoch == 1 && step.side == Side::kItems;
    if (is_first) return;
    const std::uint32_t epoch = step.side == Side::kItems ? step.epoch - 1 : step.epoch;
    const Side read = step.side == Side::kItems ? Side::kUsers : Side::kItems;
    for (std::uint32_t round = 0; round < s_.rounds; ++round) {
      EXPECT_TRUE(member(r).installed.contains({epoch, read, round}))
          << "rank " << r << " solves epoch " << step.epoch << " without round " << round << " of the other side";
    }
    EXPECT_FALSE(member(r).installed.contains({epoch + 1, read, 0})) << "rank " << r << " reads rows that are too new";
  }

  Scenario s_;
  Random random_;
  Tick now_{0};
  std::uint64_t order_ = 0;
  std::priority_queue<Pending> queue_;
  std::vector<Member> members_;
  std::map<std::uint64_t, Collective> collectives_;
};

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
      EXPECT_EQ(cluster.member(r).operations.size(), s.ranks == 1 ? 0 : s.epochs * (2 * s.rounds + 1) + 1);
    }
  }
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
}

TEST(Node, RanksThatDoDifferentThingsFailAtOnce) {
  NodeOptions options;
  options.ranks = 2;
  Node node(options, 1, Tick{0});
  node.start(Tick{0});
  node.half_sweep_begun();
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
