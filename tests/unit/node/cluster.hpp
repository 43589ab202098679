// A cluster of nodes in one thread and simulated time: what drivers, communicators and a store do, with delays and
// faults drawn from a seed. It checks whatever a step reads against what the serial schedule shows it.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "concerto/base/rng.hpp"
#include "concerto/node/node.hpp"

#include "serial_rotation.hpp"

namespace concerto::test {

struct Scenario {
  Rank ranks = 3;
  std::uint32_t epochs = 2;
  std::uint32_t rounds = 4;
  std::uint32_t parts_per_rank = 0;  ///< 0: sweeps; else a rotation
  bool is_summing = false;           ///< of sweeps: sums of partials rather than alternating ones
  std::uint64_t seed = 1;
  Tick step{200};         ///< mean time of a step
  Rank victim = kNoRank;  ///< what happens to it at `at`:
  Tick at{0};
  enum class Fate { kNone, kKilled, kStopped, kStuck, kSlow, kDiverges } fate = Fate::kNone;
  Tick slow{0};  ///< kSlow: its steps last this long from then on

  [[nodiscard]] bool is_rotating() const { return parts_per_rank > 0; }
  [[nodiscard]] Rotation rotation() const { return {ranks, parts_per_rank, seed}; }
};

/// What a rank of a schedule that sums partials holds: of which epoch each group of rows is, 0 at first.
struct Sums {
  std::map<std::uint32_t, std::uint32_t> users;                    ///< own ones, by round
  std::map<std::uint32_t, std::uint32_t> given;                    ///< partials of own users, by round
  std::map<std::pair<Rank, std::uint32_t>, std::uint32_t> taken;   ///< partials by rank and round
  std::map<std::pair<Rank, std::uint32_t>, std::uint32_t> buffer;  ///< items on their way, by owner and round
  std::map<std::pair<Rank, std::uint32_t>, std::uint32_t> items;   ///< and in the table
};

/// What a driver, a communicator and a store do, in simulated time.
class Cluster {
 public:
  explicit Cluster(const Scenario& scenario)
      : s_(scenario),
        random_(scenario.seed),
        serial_(scenario.rotation(), scenario.is_rotating() ? std::min(scenario.epochs, 60U) : 0) {
    for (Rank r = 0; r < s_.ranks; ++r) {
      NodeOptions options;
      options.rank = r;
      options.ranks = s_.ranks;
      options.epochs = s_.epochs;
      options.rounds = s_.rounds;
      options.rotation = s_.rotation();
      if (s_.is_rotating()) options.schedule = ScheduleKind::kRotating;
      if (s_.is_summing) options.schedule = ScheduleKind::kSumming;
      members_.push_back(Member(options));
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
    explicit Member(const NodeOptions& options) : node(options, 1, Tick{0}) { table.users = options.rank; }
    Node node;
    Contents table;                                 ///< of a rotation: as in the backend
    std::map<std::uint32_t, std::uint64_t> buffer;  ///< and parts as they travel
    Sums sums;                                      ///< of sums of partials
    std::uint32_t epochs_measured = 0;
    std::uint32_t sends_under_way = 0;
    Tick last_exchange{0};
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
    std::string kind;  ///< alike on all ranks
    std::set<Rank> joined;
    std::map<Rank, std::function<void()>> done;
  };
  /// Passes from one rank to another: a send and a receive meet in the order in which both were begun.
  struct Link {
    std::deque<BlockPass> sends;
    std::deque<BlockPass> receives;
    Tick last_arrival{0};
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
  void perform(Rank r, ExchangePartials& e) {
    join(r, e.operation, "partials " + std::to_string(e.step.round), [this, r, step = e.step] {
      for (Rank from = 0; from < s_.ranks; ++from) {
        member(r).sums.taken[{from, step.round}] = member(from).sums.given[step.round];
      }
      member(r).node.partials_exchanged(step);
      drain(r);
    });
  }
  void perform(Rank r, ExchangeRows& e) {
    EXPECT_EQ(member(r).sends_under_way, 0U) << "bytes that are being sent are given to another operation";
    join(r, e.operation, "rows " + std::to_string(e.step.round), [this, r, step = e.step] {
      for (Rank from = 0; from < s_.ranks; ++from) {
        member(r).sums.buffer[{from, step.round}] = member(from).sums.buffer[{from, step.round}];
      }
      for_each_part(step, [&](Rank owner, std::uint32_t part) { member(r).buffer[part] = member(owner).buffer[part]; });
      member(r).node.rows_exchanged(step);
      drain(r);
    });
  }
  void perform(Rank r, SendBlock& e) {
    EXPECT_EQ(e.operation, member(r).operations.size()) << "what is given to others is numbered in order";
    member(r).operations.push_back(e.operation);
    EXPECT_EQ(e.pass.from, r);
    ++member(r).sends_under_way;
    links_[{r, e.pass.to}].sends.push_back(e.pass);
    match(r, e.pass.to);
  }
  void perform(Rank r, ReceiveBlock& e) {
    EXPECT_EQ(e.pass.to, r);
    links_[{e.pass.from, r}].receives.push_back(e.pass);
    match(e.pass.from, r);
  }
  void match(Rank from, Rank to) {
    Link& link = links_[{from, to}];
    if (link.sends.empty() || link.receives.empty()) return;
    const BlockPass pass = link.sends.front();
    EXPECT_EQ(pass, link.receives.front()) << "a send meets the receive of another block";
    link.sends.pop_front();
    link.receives.pop_front();
    link.last_arrival = std::max(link.last_arrival, now_ + drawn(Tick{60}));
    const auto is_cut = [this, from, to] {
      return is_frozen(from) || is_frozen(to) || member(from).is_aborted || member(to).is_aborted;
    };
    after(link.last_arrival - now_, [this, pass, is_cut] {
      if (is_cut()) return;
      // Until now the bytes belonged to the operation, on both sides.
      member(pass.to).buffer[pass.part] = member(pass.from).buffer[pass.part];
      member(pass.to).node.block_received(pass);
      drain(pass.to);
    });
    after(link.last_arrival - now_ + drawn(Tick{20}), [this, pass, is_cut] {
      if (is_cut()) return;
      --member(pass.from).sends_under_way;
      member(pass.from).node.block_sent(pass);
      drain(pass.from);
    });
  }
  void perform(Rank r, ExchangeResult& e) {
    join(r, e.operation, [this, r] {
      member(r).node.result_exchanged();
      drain(r);
    });
  }
  void perform(Rank r, ExchangeSums& e) {
    join(r, e.operation, [this, r] {
      member(r).node.sums_exchanged();
      drain(r);
    });
  }
  void perform(Rank r, ExchangeFacts& e) {
    join(r, e.operation, [this, r] {
      member(r).node.facts_exchanged();
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

  void join(Rank r, std::uint64_t operation, std::function<void()> done) { join(r, operation, "", std::move(done)); }
  void join(Rank r, std::uint64_t operation, const std::string& kind, std::function<void()> done) {
    Member& m = member(r);
    EXPECT_EQ(operation, m.operations.size()) << "collectives are numbered in order";
    m.operations.push_back(operation);
    Collective& c = collectives_[operation];
    if (c.joined.empty()) c.kind = kind;
    EXPECT_EQ(c.kind, kind) << "ranks meet in different operations";
    c.joined.insert(r);
    c.done[r] = std::move(done);
    if (c.joined.size() < s_.ranks) return;
    for (auto& [rank, what] : c.done) {
      Tick& last = member(rank).last_exchange;  // they end in the order in which they were begun
      last = std::max(last, now_ + drawn(Tick{30}));
      after(last - now_, [this, rank = rank, what = what] {
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
  void finish(Rank r, const BeginSweep&) { member(r).node.sweep_begun(); }
  void finish(Rank r, const RunStep& e) {
    if (s_.is_rotating()) {
      const std::uint32_t part = s_.rotation().part(r, e.step.epoch, e.step.round);
      member(r).table.step(part);
      member(r).buffer[part] = member(r).table.parts[part];
    }
    if (s_.is_summing) {
      Sums& sums = member(r).sums;
      (e.step.side == Side::kUsers ? sums.users : sums.given)[e.step.round] = e.step.epoch;
    }
    member(r).node.step_finished(e.step);
  }
  void finish(Rank r, const SolveSystems& e) {
    Sums& sums = member(r).sums;
    for (Rank from = 0; s_.ranks > 1 && from < s_.ranks; ++from) {
      EXPECT_EQ((sums.taken[{from, e.step.round}]), e.step.epoch) << "rank " << r << " solves without rank " << from;
    }
    EXPECT_EQ(sums.given[e.step.round], e.step.epoch);
    sums.buffer[{r, e.step.round}] = sums.items[{r, e.step.round}] = e.step.epoch;
    member(r).node.systems_solved(e.step);
  }
  void finish(Rank r, const InstallBlock& e) { member(r).table.parts[e.pass.part] = member(r).buffer[e.pass.part]; }
  void finish(Rank r, const InstallRows& e) {
    for_each_part(e.step, [&](Rank, std::uint32_t part) { member(r).table.parts[part] = member(r).buffer[part]; });
    for (Rank from = 0; s_.is_summing && from < s_.ranks; ++from) {
      member(r).sums.items[{from, e.step.round}] = member(r).sums.buffer[{from, e.step.round}];
    }
    member(r).installed.insert({e.step.epoch, e.step.side, e.step.round});
    member(r).node.rows_installed(e.step);
  }
  void finish(Rank r, const MeasureEpoch& e) {
    ++member(r).epochs_measured;
    const auto* expected = s_.is_rotating() ? serial_.after(e.epoch) : nullptr;
    if (expected != nullptr) {
      EXPECT_EQ(member(r).table.parts, *expected) << "rank " << r << " after epoch " << e.epoch;
    }
    member(r).node.epoch_measured();
  }
  void finish(Rank r, const DecideEpoch&) { member(r).node.epoch_decided(true); }
  void finish(Rank r, const PrepareResult&) { member(r).node.result_prepared(); }
  void finish(Rank r, const MeasureResult&) { member(r).node.result_measured(); }
  void finish(Rank r, const TakeResult&) { member(r).node.result_taken(); }
  template <class Other>
  void finish(Rank, const Other&) {
    FAIL() << "not a compute effect";
  }

  /// The oracle: a step may begin only when every round of the half-sweep before it is installed here, and none of its
  /// own half-sweep's rows on the side that it reads.
  void check_reads(Rank r, const StepId& step) {
    if (s_.is_rotating()) return check_contents(r, step);
    if (s_.is_summing) return check_sums(r, step);
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

  /// The oracle of sums: items see all own users as the epoch before left them, users see all items of this epoch.
  void check_sums(Rank r, const StepId& step) {
    Sums& sums = member(r).sums;
    for (std::uint32_t round = 0; round < s_.rounds; ++round) {
      if (step.side == Side::kItems) {
        EXPECT_EQ(sums.users[round], step.epoch - 1) << "rank " << r << ", epoch " << step.epoch;
        continue;
      }
      for (Rank owner = 0; owner < s_.ranks; ++owner) {
        EXPECT_EQ((sums.items[{owner, round}]), step.epoch) << "rank " << r << ", items of rank " << owner;
      }
    }
  }

  /// The oracle of a rotation: a step sees its users and its part as the serial execution of the strata shows them.
  void check_contents(Rank r, const StepId& step) {
    const auto expected = serial_.before(r, step);
    if (!expected) return;  // of a run that goes on until something happens
    EXPECT_EQ(member(r).table.users, expected->first) << "rank " << r << ", epoch " << step.epoch;
    EXPECT_EQ(member(r).table.parts[s_.rotation().part(r, step.epoch, step.round)], expected->second)
        << "rank " << r << ", epoch " << step.epoch << ", round " << step.round;
  }

  /// Calls visit(rank, part) for what all ranks have worked on in a round of a rotation.
  template <class Visit>
  void for_each_part(const StepId& step, Visit visit) {
    if (!s_.is_rotating()) return;
    for (Rank owner = 0; owner < s_.ranks; ++owner) visit(owner, s_.rotation().part(owner, step.epoch, step.round));
  }

  Scenario s_;
  Random random_;
  Tick now_{0};
  std::uint64_t order_ = 0;
  std::priority_queue<Pending> queue_;
  std::vector<Member> members_;
  std::map<std::uint64_t, Collective> collectives_;
  std::map<std::pair<Rank, Rank>, Link> links_;
  SerialRotation serial_;
};

}  // namespace concerto::test
