// The launcher's rules one by one, and then drawn sequences of events: whatever happens, nothing is left running, the
// first failure decides, and it ends in time.
#include "supervisor.hpp"

#include <csignal>
#include <functional>
#include <queue>

#include <gmock/gmock.h>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Tick kGrace{1'000};
constexpr Tick kKillLimit{500};
constexpr Tick kPeersLimit{2'000};

SupervisorOptions options_of(std::uint32_t ranks, std::uint32_t node = 0, std::uint32_t nodes = 1) {
  SupervisorOptions options;
  for (std::uint32_t i = 0; i < ranks; ++i) options.ranks.push_back(node * ranks + i);
  options.node = node;
  options.nodes = nodes;
  options.grace = kGrace;
  options.kill_limit = kKillLimit;
  options.peers_limit = kPeersLimit;
  options.last_lines = 3;
  return options;
}

/// Effects as text, so that a test reads like a log.
std::vector<std::string> log_of(Supervisor& supervisor) {
  std::vector<std::string> log;
  for (const SupervisorEffect& effect : supervisor.take_effects()) {
    if (const auto* spawn = std::get_if<SpawnRank>(&effect)) log.push_back("spawn " + std::to_string(spawn->rank));
    if (const auto* kill = std::get_if<SignalRank>(&effect)) {
      log.push_back(signal_name(kill->number) + " " + std::to_string(kill->rank));
    }
    if (const auto* line = std::get_if<PrintLine>(&effect)) log.push_back("print " + line->text);
    if (std::get_if<Notice>(&effect) != nullptr) log.push_back("notice");
    if (std::get_if<PublishFailure>(&effect) != nullptr) log.push_back("publish failure");
    if (std::get_if<PublishEnded>(&effect) != nullptr) log.push_back("publish ended");
    if (std::get_if<PublishLeft>(&effect) != nullptr) log.push_back("publish left");
    if (const auto* end = std::get_if<Finish>(&effect)) {
      log.push_back("finish " + std::to_string(end->status) + (end->failure ? ": " + end->failure->message : ""));
    }
  }
  return log;
}

/// All ranks started, effects taken.
Supervisor running(const SupervisorOptions& options) {
  Supervisor supervisor(options);
  supervisor.start(Tick{0});
  for (const Rank rank : options.ranks) supervisor.started(rank, 100 + rank, Tick{0});
  (void)supervisor.take_effects();
  return supervisor;
}

constexpr ExitStatus kGood{false, 0};

TEST(Supervisor, StartsRanksOneAfterAnotherAndEndsWhenAllHave) {
  Supervisor supervisor(options_of(2));
  supervisor.start(Tick{0});
  EXPECT_THAT(log_of(supervisor), ElementsAre("spawn 0"));
  supervisor.started(0, 100, Tick{1});
  EXPECT_THAT(log_of(supervisor), ElementsAre("spawn 1"));
  supervisor.exited(0, kGood, Tick{2});
  EXPECT_THAT(log_of(supervisor), IsEmpty());
  supervisor.started(1, 101, Tick{2});
  supervisor.exited(1, kGood, Tick{3});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 0"));
  EXPECT_TRUE(supervisor.is_over());
  EXPECT_EQ(supervisor.next_deadline(), std::nullopt);
}

TEST(Supervisor, TheFirstFailureStopsTheOthersAndIsTheStatus) {
  Supervisor supervisor = running(options_of(3));
  supervisor.output(1, OutputStream::kErr, "a");
  supervisor.output(1, OutputStream::kOut, "b");
  supervisor.output(1, OutputStream::kOut, std::string(2000, 'c'));
  supervisor.output(1, OutputStream::kErr, "d");
  (void)supervisor.take_effects();
  supervisor.exited(1, {false, 7}, Tick{10});
  EXPECT_THAT(log_of(supervisor), ElementsAre("SIGTERM 0", "SIGTERM 2"));
  supervisor.exited(0, {true, SIGTERM}, Tick{20});
  EXPECT_EQ(supervisor.next_deadline(), Tick{10} + kGrace);
  supervisor.tick(Tick{9} + kGrace);
  EXPECT_THAT(log_of(supervisor), IsEmpty());
  supervisor.tick(Tick{10} + kGrace);
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "SIGKILL 2"));
  supervisor.exited(2, {true, SIGKILL}, Tick{2'000});
  const auto effects = supervisor.take_effects();
  ASSERT_EQ(effects.size(), 1U);
  const Finish& finish = std::get<Finish>(effects.front());
  EXPECT_EQ(finish.status, 7);
  EXPECT_EQ(finish.failure->rank, 1U);
  EXPECT_EQ(finish.failure->message, "rank 1 (process 101) ended with status 7");
  EXPECT_THAT(finish.failure->last_lines, ElementsAre("b", std::string(1000, 'c') + " [...]", "d"));
}

TEST(Supervisor, ARankThatEndsBySignalGivesTheShellsStatus) {
  Supervisor supervisor = running(options_of(1));
  supervisor.exited(0, {true, SIGSEGV}, Tick{1});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 139: rank 0 (process 100) ended with signal 11 (SIGSEGV)"));
}

TEST(Supervisor, AFailureBeforeAllAreStartedStartsNoMore) {
  Supervisor supervisor(options_of(3));
  supervisor.start(Tick{0});
  supervisor.started(0, 100, Tick{0});
  (void)log_of(supervisor);
  supervisor.start_failed(1, 2, "no such program", Tick{1});
  EXPECT_THAT(log_of(supervisor), ElementsAre("SIGTERM 0"));
  supervisor.exited(0, {true, SIGTERM}, Tick{1});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 2: rank 1 could not be started: no such program"));
}

TEST(Supervisor, ASignalIsPassedOnAndWaitedForASecondOneKills) {
  Supervisor supervisor = running(options_of(2));
  supervisor.signalled(SIGINT, Tick{5});
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "SIGINT 0", "SIGINT 1"));
  EXPECT_EQ(supervisor.next_deadline(), std::nullopt);
  supervisor.tick(Tick{1'000'000});
  EXPECT_THAT(log_of(supervisor), IsEmpty());
  supervisor.signalled(SIGINT, Tick{1'000'001});
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "SIGKILL 0", "SIGKILL 1"));
  supervisor.exited(0, {true, SIGKILL}, Tick{1'000'002});
  supervisor.exited(1, {true, SIGKILL}, Tick{1'000'002});
  EXPECT_THAT(log_of(supervisor),
              ElementsAre("finish 130: interrupted by SIGINT; rank 0 (process 100) ended with signal 9 (SIGKILL)"));
}

TEST(Supervisor, RanksThatEndWellOnRequestAreASuccess) {
  Supervisor supervisor = running(options_of(2));
  supervisor.signalled(SIGHUP, Tick{5});
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "SIGTERM 0", "SIGTERM 1"));
  supervisor.exited(0, kGood, Tick{6});
  supervisor.exited(1, kGood, Tick{7});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 0"));
}

TEST(Supervisor, AFailureOnRequestGivesTheOthersTheGracePeriodAndNoSecondSignal) {
  Supervisor supervisor = running(options_of(2));
  supervisor.signalled(SIGTERM, Tick{5});
  (void)log_of(supervisor);
  supervisor.exited(0, {true, SIGTERM}, Tick{10});
  EXPECT_THAT(log_of(supervisor), IsEmpty());
  supervisor.tick(Tick{10} + kGrace);
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "SIGKILL 1"));
  supervisor.exited(1, {true, SIGKILL}, Tick{2'000});
  EXPECT_THAT(log_of(supervisor), ElementsAre(HasSubstr("finish 143: interrupted by SIGTERM; rank 0 ")));
}

TEST(Supervisor, ACrashOnRequestKeepsItsOwnStatus) {
  Supervisor supervisor = running(options_of(1));
  supervisor.output(0, OutputStream::kErr, "assertion");
  supervisor.signalled(SIGTERM, Tick{5});
  (void)log_of(supervisor);
  supervisor.exited(0, {true, SIGSEGV}, Tick{10});
  const Finish finish = std::get<Finish>(supervisor.take_effects().back());
  EXPECT_EQ(finish.status, 139);
  EXPECT_THAT(finish.failure->last_lines, ElementsAre("assertion"));
}

TEST(Supervisor, InterruptedWhileStartingIsNotASuccess) {
  Supervisor supervisor(options_of(2));
  supervisor.start(Tick{0});
  (void)log_of(supervisor);
  supervisor.signalled(SIGINT, Tick{0});
  supervisor.started(0, 100, Tick{1});
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "SIGINT 0"));
  supervisor.exited(0, kGood, Tick{2});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 130"));
}

TEST(Supervisor, TheTimeLimitStopsTheJobWithItsOwnStatus) {
  SupervisorOptions options = options_of(1);
  options.time_limit = Tick{2'500};
  Supervisor supervisor = running(options);
  EXPECT_EQ(supervisor.next_deadline(), Tick{2'500});
  supervisor.tick(Tick{2'500});
  EXPECT_THAT(log_of(supervisor), ElementsAre("SIGTERM 0"));
  supervisor.exited(0, kGood, Tick{2'600});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 124: the time limit of 2.5 s is over"));
}

TEST(Supervisor, AProcessThatSurvivesSigkillIsNamedAndLeft) {
  Supervisor supervisor = running(options_of(2));
  supervisor.exited(0, {false, 1}, Tick{0});
  supervisor.tick(kGrace);
  (void)log_of(supervisor);
  supervisor.tick(kGrace + kKillLimit);
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "finish 1: rank 0 (process 100) ended with status 1"));
}

TEST(Supervisor, WhoeverIsAbandonedKillsAtOnce) {
  Supervisor supervisor = running(options_of(2));
  supervisor.abandoned("the guard is gone", Tick{1});
  EXPECT_THAT(log_of(supervisor), ElementsAre("SIGKILL 0", "SIGKILL 1"));
  EXPECT_EQ(supervisor.next_deadline(), Tick{1} + kKillLimit);
  supervisor.exited(0, {true, SIGKILL}, Tick{2});
  supervisor.exited(1, {true, SIGKILL}, Tick{2});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 137: the guard is gone"));
}

TEST(Supervisor, OneOfSeveralLaunchersEndsWhenAllHave) {
  Supervisor first = running(options_of(1, 0, 2));
  Supervisor second = running(options_of(1, 1, 2));
  second.exited(1, kGood, Tick{1});
  EXPECT_THAT(log_of(second), ElementsAre("publish ended"));
  first.node_ended(1, Tick{2});
  first.exited(0, kGood, Tick{3});
  EXPECT_THAT(log_of(first), ElementsAre("publish ended"));
  second.node_ended(0, Tick{4});
  EXPECT_THAT(log_of(second), ElementsAre("publish left", "finish 0"));
  first.node_left(1, Tick{5});
  EXPECT_THAT(log_of(first), ElementsAre("finish 0"));
}

TEST(Supervisor, TheStoreSaysWhichFailureIsTheJobs) {
  Supervisor supervisor = running(options_of(1, 1, 3));
  supervisor.exited(1, {false, 5}, Tick{1});
  EXPECT_THAT(log_of(supervisor), ElementsAre("publish failure", "publish ended"));
  supervisor.job_failed({2, 2, 9, "rank 2 was first", {}}, Tick{2});
  EXPECT_THAT(log_of(supervisor), ElementsAre("publish left", "finish 9: rank 2 was first"));
}

TEST(Supervisor, AFailureElsewhereStopsTheRanksHere) {
  Supervisor supervisor = running(options_of(2, 1, 2));
  supervisor.job_failed({0, 0, 9, "rank 0 failed", {}}, Tick{2});
  EXPECT_THAT(log_of(supervisor), ElementsAre("notice", "SIGTERM 2", "SIGTERM 3"));
  supervisor.exited(2, {true, SIGTERM}, Tick{3});
  supervisor.exited(3, {false, 4}, Tick{3});
  EXPECT_THAT(log_of(supervisor), ElementsAre("publish ended", "publish left", "finish 9: rank 0 failed"));
}

TEST(Supervisor, ALostLauncherIsAFailureUnlessItsRanksHadEnded) {
  Supervisor supervisor = running(options_of(1, 0, 3));
  supervisor.node_ended(1, Tick{1});
  supervisor.node_lost(1, "its lease ended", Tick{2});
  EXPECT_THAT(log_of(supervisor), IsEmpty());
  supervisor.node_lost(2, "its lease ended", Tick{3});
  EXPECT_THAT(log_of(supervisor), ElementsAre("SIGTERM 0", "publish failure"));
  supervisor.exited(0, {true, SIGTERM}, Tick{4});
  (void)log_of(supervisor);
  supervisor.job_failed({2, kNoRank, 1, "the launcher of node 2 is lost: its lease ended", {}}, Tick{5});
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 1: the launcher of node 2 is lost: its lease ended"));
}

TEST(Supervisor, InterruptedWhileWaitingForOthersItLeaves) {
  Supervisor supervisor = running(options_of(1, 0, 3));
  supervisor.exited(0, kGood, Tick{1});
  supervisor.node_ended(1, Tick{2});
  (void)log_of(supervisor);
  Supervisor decided = supervisor;
  supervisor.signalled(SIGINT, Tick{3});
  EXPECT_THAT(log_of(supervisor), ElementsAre("publish failure",
                                              "finish 130: interrupted by SIGINT while waiting for "
                                              "other launchers"));
  decided.node_ended(2, Tick{3});
  EXPECT_THAT(log_of(decided), IsEmpty());
  decided.signalled(SIGINT, Tick{3});
  EXPECT_THAT(log_of(decided), ElementsAre("finish 0"));
}

TEST(Supervisor, OtherLaunchersAreNotWaitedForForever) {
  Supervisor supervisor = running(options_of(1, 0, 2));
  supervisor.exited(0, {false, 5}, Tick{1});
  (void)log_of(supervisor);
  EXPECT_EQ(supervisor.next_deadline(), Tick{1} + kGrace);
  supervisor.tick(Tick{1} + kGrace);
  supervisor.tick(Tick{1} + kGrace + kKillLimit);
  EXPECT_THAT(log_of(supervisor), IsEmpty());
  EXPECT_EQ(supervisor.next_deadline(), Tick{1} + kPeersLimit);
  supervisor.tick(Tick{1} + kPeersLimit);
  EXPECT_THAT(log_of(supervisor), ElementsAre("finish 5: rank 0 (process 100) ended with status 5"));
}

// -- drawn sequences --

/// Launchers with ranks that do as drawn, a store that is slow to tell, and a user with a keyboard.
class World {
 public:
  World(std::uint64_t seed, std::uint32_t nodes) : random_(seed), nodes_(nodes) {
    const auto ranks = static_cast<std::uint32_t>(1 + random_.below(5));
    for (std::uint32_t node = 0; node < nodes; ++node) {
      SupervisorOptions options = options_of(ranks, node, nodes);
      if (random_.below(8) == 0) options.time_limit = Tick(1 + random_.below(5'000));
      has_time_limit_ = has_time_limit_ || options.time_limit > Tick{0};
      launchers_.push_back({Supervisor(options), {}, {}, {}, {}});
    }
    for (std::uint32_t node = 0; node < nodes; ++node) at(Tick(random_.below(50)), [this, node] { start(node); });
    const auto signals = random_.below(3) == 0 ? 1 + random_.below(3) : 0;
    for (std::uint64_t i = 0; i < signals; ++i) {
      const Tick when(random_.below(4'000));
      const auto node = static_cast<std::uint32_t>(random_.below(nodes));
      at(when, [this, node] { signal_launcher(node); });
    }
  }

  void run() {
    Tick limit{200'000};
    while (!queue_.empty() && now_ < limit) {
      const Pending next = queue_.top();
      queue_.pop();
      now_ = next.when;
      next.what();
      for (std::uint32_t node = 0; node < nodes_; ++node) wake(node);
      if (are_all_over()) return;
      // Whoever waits for a rank that was asked to stop waits as long as the user does.
      if (queue_.empty() && now_ < Tick{100'000}) {
        for (std::uint32_t node = 0; node < nodes_; ++node) at(Tick(500), [this, node] { signal_launcher(node); });
      }
    }
  }

  void check() const {
    for (std::uint32_t node = 0; node < nodes_; ++node) {
      const Launcher& launcher = launchers_[node];
      EXPECT_TRUE(launcher.supervisor.is_over()) << "node " << node;
      for (const auto& [rank, process] : launcher.processes) {
        EXPECT_TRUE(!process.is_alive || process.is_killed) << "rank " << rank << " is left";
      }
      if (nodes_ == 1) {
        EXPECT_EQ(launcher.finish->status, expected_status())
            << (launcher.finish->failure ? launcher.finish->failure->message : "success");
      }
      // What the store named first is the failure of all who waited for it.
      if (agreed_ && launcher.finish->failure && !has_lost_patience_) {
        EXPECT_EQ(*launcher.finish->failure, *agreed_);
      }
      if (launcher.finish->failure) {
        EXPECT_NE(launcher.finish->status, 0);
      }
      if (launcher.finish->status == 0 && !has_lost_patience_) {
        // A success is everybody's.
        EXPECT_FALSE(agreed_.has_value());
      }
    }
  }

 private:
  struct Process {
    bool is_alive = true;
    bool is_killed = false;  ///< has got SIGKILL
    int terms = 0;
    Tick asked_at{-1};
    bool obeys = true;      ///< ends on SIGTERM and SIGINT
    bool is_stuck = false;  ///< does not even end on SIGKILL
  };
  struct Launcher {
    Supervisor supervisor;
    std::map<Rank, Process> processes;
    std::optional<Finish> finish;
    Tick told_at{0};    ///< the store's last word so far
    Tick wakes_at{-1};  ///< an event is queued for then
    int signals = 0;
  };
  struct Pending {
    Tick when;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const Pending& other) const { return when != other.when ? when > other.when : order > other.order; }
  };

  void at(Tick delay, std::function<void()> what) { queue_.push({now_ + delay, order_++, std::move(what)}); }
  [[nodiscard]] bool are_all_over() const {
    return std::ranges::all_of(launchers_, [](const Launcher& l) { return l.supervisor.is_over(); });
  }

  void start(std::uint32_t node) {
    launchers_[node].supervisor.start(now_);
    perform(node);
  }

  void signal_launcher(std::uint32_t node) {
    Launcher& launcher = launchers_[node];
    if (launcher.supervisor.is_over()) return;
    ++launcher.signals;
    has_lost_patience_ = has_lost_patience_ || nodes_ > 1;
    if (!first_signal_) first_signal_ = SIGINT;
    launcher.supervisor.signalled(SIGINT, now_);
    perform(node);
  }

  /// The clock of a launcher: called after everything that happens, as its poll loop does.
  void wake(std::uint32_t node) {
    Launcher& launcher = launchers_[node];
    const auto deadline = launcher.supervisor.next_deadline();
    if (!deadline) return;
    if (*deadline <= now_) {
      launcher.supervisor.tick(now_);
      perform(node);
      const auto later = launcher.supervisor.next_deadline();
      ASSERT_TRUE(!later || *later > now_) << "a deadline that a tick does not move: the loop would spin";
    } else if (launcher.wakes_at != *deadline) {
      launcher.wakes_at = *deadline;
      at(*deadline - now_, [] {});
    }
  }

  void perform(std::uint32_t node) {
    Launcher& launcher = launchers_[node];
    for (const SupervisorEffect& effect : launcher.supervisor.take_effects()) {
      ASSERT_FALSE(launcher.finish) << "an effect after the last";
      if (const auto* spawn = std::get_if<SpawnRank>(&effect)) answer_spawn(node, spawn->rank);
      if (const auto* kill = std::get_if<SignalRank>(&effect)) deliver(node, kill->rank, kill->number);
      if (const auto* failed = std::get_if<PublishFailure>(&effect)) publish(failed->failure);
      if (std::get_if<PublishEnded>(&effect) != nullptr) tell_others(node, &Supervisor::node_ended);
      if (std::get_if<PublishLeft>(&effect) != nullptr) tell_others(node, &Supervisor::node_left);
      if (const auto* end = std::get_if<Finish>(&effect)) launcher.finish = *end;
    }
  }

  /// At once or after something else has happened, well or not.
  void answer_spawn(std::uint32_t node, Rank rank) {
    at(Tick(random_.below(20)), [this, node, rank] {
      Supervisor& supervisor = launchers_[node].supervisor;
      if (random_.below(30) == 0) {
        note_failure(1);
        supervisor.start_failed(rank, 1, "drawn", now_);
      } else {
        Process process;
        process.obeys = random_.below(4) != 0;
        process.is_stuck = random_.below(40) == 0;
        launchers_[node].processes.emplace(rank, process);
        supervisor.started(rank, 100 + rank, now_);
        const int status = random_.below(3) == 0 ? static_cast<int>(1 + random_.below(100)) : 0;
        const bool is_signal = status != 0 && random_.below(2) == 0;
        at(Tick(random_.below(6'000)), [this, node, rank, status, is_signal] {
          end(node, rank, is_signal ? ExitStatus{true, SIGSEGV} : ExitStatus{false, status});
        });
      }
      perform(node);
    });
  }

  void deliver(std::uint32_t node, Rank rank, int number) {
    Launcher& launcher = launchers_[node];
    Process& process = launcher.processes.at(rank);
    ASSERT_TRUE(process.is_alive) << "a signal to a process that has been reaped";
    if (number == SIGKILL) {
      process.is_killed = true;
      const bool is_in_grace = process.asked_at >= Tick{0} && now_ - process.asked_at < kGrace;
      EXPECT_TRUE(!is_in_grace || launcher.signals > 0) << "killed within the grace period";
    } else {
      EXPECT_EQ(++process.terms, 1) << "asked twice";
      process.asked_at = now_;
    }
    if ((process.obeys || number == SIGKILL) && !process.is_stuck) {
      at(Tick(random_.below(200)), [this, node, rank, number] { end(node, rank, {true, number}); });
    }
  }

  void end(std::uint32_t node, Rank rank, const ExitStatus& status) {
    Process& process = launchers_[node].processes.at(rank);
    if (!process.is_alive || process.is_stuck || launchers_[node].supervisor.is_over()) return;
    process.is_alive = false;
    if (status != ExitStatus{}) {
      const bool is_ours = status.is_signal && launchers_[node].signals > 0 && status.value != SIGSEGV;
      note_failure(is_ours ? 128 + SIGINT : status.code());
    }
    launchers_[node].supervisor.exited(rank, status, now_);
    perform(node);
  }

  void publish(const JobFailure& failure) {
    if (!agreed_) agreed_ = failure;
    for (std::uint32_t node = 0; node < nodes_; ++node) {
      tell(node, [this](Supervisor& supervisor) { supervisor.job_failed(*agreed_, now_); });
    }
  }

  void tell_others(std::uint32_t from, void (Supervisor::*event)(std::uint32_t, Tick)) {
    for (std::uint32_t node = 0; node < nodes_; ++node) {
      if (node != from) tell(node, [this, from, event](Supervisor& s) { (s.*event)(from, now_); });
    }
  }

  /// As a watch does: later, but in the order of the store's revisions.
  void tell(std::uint32_t node, std::function<void(Supervisor&)> what) {
    Tick& last = launchers_[node].told_at;
    last = std::max(last, now_ + Tick(1 + random_.below(30)));
    at(last - now_, [this, node, what = std::move(what)] {
      what(launchers_[node].supervisor);
      perform(node);
    });
  }

  /// The first thing that went wrong, as this world has seen it.
  void note_failure(int status) {
    if (!first_failure_ && !is_limit_over()) first_failure_ = status;
  }
  [[nodiscard]] bool is_limit_over() const {
    return std::ranges::any_of(launchers_, [](const Launcher& l) { return l.finish.has_value(); });
  }
  [[nodiscard]] int expected_status() const {
    const Finish& finish = *launchers_[0].finish;
    if (finish.failure && finish.failure->status == 124 && has_time_limit_) return 124;
    if (first_failure_) return *first_failure_;
    // Stuck ranks are given up; whoever was interrupted before all were started has not done the job.
    if (finish.failure) return 128 + SIGKILL;
    return finish.status == 128 + SIGINT && first_signal_ ? finish.status : 0;
  }

  Random random_;
  std::uint32_t nodes_;
  Tick now_{0};
  std::uint64_t order_ = 0;
  std::priority_queue<Pending> queue_;
  std::vector<Launcher> launchers_;
  std::optional<JobFailure> agreed_;
  std::optional<int> first_failure_;
  std::optional<int> first_signal_;
  bool has_time_limit_ = false;
  bool has_lost_patience_ = false;
};

TEST(SupervisorWorld, NothingIsLeftAndTheFirstFailureDecides) {
  for (std::uint64_t seed = 1; seed <= 3'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, 1);
    world.run();
    world.check();
    if (HasFailure()) return;
  }
}

TEST(SupervisorWorld, SeveralLaunchersEndAlike) {
  for (std::uint64_t seed = 1; seed <= 2'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, static_cast<std::uint32_t>(2 + seed % 3));
    world.run();
    world.check();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace concerto
