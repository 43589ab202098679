// Training by many ranks, driven in one thread: nodes say what to do, exchanges are copies between buffers. Factors do
// not depend on the number of ranks, sums and decisions are alike everywhere, copies that differ are noticed.
#include "concerto/train/sharded.hpp"

#include <cstring>
#include <deque>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

#include "small_data.hpp"
#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::planted_data;
using test::same_bytes;
using ::testing::HasSubstr;

/// Held-out entries of the same planted model, some of users and items that training does not know.
HeldOut planted_test(const Dataset& data) {
  const RowIndex users = data.users().size();
  const RowIndex items = data.items().size();
  HeldOut part = test::held_out_of(users, items, test::planted_entries(users, items, 0.03, 9));
  part.unknown = {{kNoRow, 3, 4.0F}, {5, kNoRow, 2.0F}, {kNoRow, kNoRow, 3.0F}, {users - 1, kNoRow, 1.0F}};
  part.unknown_users = 2;
  return part;
}

struct Case {
  const Dataset* data = nullptr;
  const HeldOut* test = nullptr;
  const HeldOut* validation = nullptr;
  TrainOptions options;
  std::uint32_t digest_every = 1;
};

/// All ranks of a run.
class Ranks {
 public:
  Ranks(const Case& c, Rank ranks, std::uint32_t rounds = 4) {
    for (Rank r = 0; r < ranks; ++r) {
      NodeOptions options;
      options.rank = r;
      options.ranks = ranks;
      options.epochs = c.options.epochs;
      options.rounds = rounds;
      members_.push_back(std::make_unique<Member>(
          options, std::make_unique<ShardedTrainer>(*backends_.emplace_back(make_cpu_backend(pool_)), *c.data, c.test,
                                                    c.validation, c.options, std::nullopt,
                                                    ShardedOptions{r, ranks, rounds, c.digest_every})));
    }
    for (auto& m : members_) m->node.start(Tick{0});
    if (ranks > 1) return;
    (void)members_[0]->trainer->facts();
    members_[0]->trainer->take_facts();
  }

  /// Performs effects, one rank after another, until all have finished. Throws what a rank throws.
  void run() {
    for (bool is_moving = true; is_moving;) {
      is_moving = false;
      for (auto& m : members_) {
        for (Effect& e : m->node.take_effects()) m->pending.push_back(std::move(e));
        while (!m->pending.empty()) {
          const Effect effect = m->pending.front();
          m->pending.pop_front();
          std::visit([&](const auto& e) { perform(*m, e); }, effect);
          for (Effect& e : m->node.take_effects()) m->pending.push_back(std::move(e));
          is_moving = true;
        }
      }
      if (complete_exchange()) is_moving = true;
    }
    for (auto& m : members_) ASSERT_TRUE(m->has_finished);
  }

  struct Member {
    Member(const NodeOptions& options, std::unique_ptr<ShardedTrainer> its_trainer)
        : node(options, 1, Tick{0}), trainer(std::move(its_trainer)) {}
    Node node;
    std::unique_ptr<ShardedTrainer> trainer;
    std::deque<Effect> pending;
    std::deque<std::pair<Exchange, std::function<void()>>> exchanges;
    std::vector<EpochRecord> epochs;
    bool has_finished = false;
    bool stop = false;
  };
  Member& member(Rank r) { return *members_[r]; }
  std::function<void(Rank owner_side, Exchange&)> tamper;  ///< sees what a rank has received

 private:
  void perform(Member& m, const ExchangeFacts&) {
    m.exchanges.emplace_back(m.trainer->facts(), [&m] {
      m.trainer->take_facts();
      m.node.facts_exchanged();
    });
  }
  void perform(Member& m, const BeginHalfSweep& e) {
    m.trainer->begin_half_sweep(e.side);
    m.node.half_sweep_begun();
  }
  void perform(Member& m, const RunStep& e) {
    m.trainer->run_step(e.step);
    m.node.step_finished(e.step);
  }
  void perform(Member& m, const InstallRows& e) {
    m.trainer->install(e.step);
    m.node.rows_installed(e.step);
  }
  void perform(Member& m, const MeasureEpoch& e) {
    m.trainer->measure(e.epoch, m.stop);
    m.node.epoch_measured();
  }
  void perform(Member& m, const DecideEpoch& e) {
    const bool goes_on = m.trainer->decide(e.epoch);
    m.epochs.push_back(m.trainer->last_epoch());
    m.node.epoch_decided(goes_on);
  }
  void perform(Member& m, const ExchangeRows& e) {
    m.exchanges.emplace_back(m.trainer->rows(e.step), [&m, step = e.step] { m.node.rows_exchanged(step); });
  }
  void perform(Member& m, const ExchangeSums&) {
    m.exchanges.emplace_back(m.trainer->sums(), [&m] { m.node.sums_exchanged(); });
  }
  void perform(Member& m, const MeetAtEnd&) {
    m.exchanges.emplace_back(Exchange{}, [&m] { m.node.met_at_end(); });
  }
  void perform(Member& m, const FinishRun&) { m.has_finished = true; }
  void perform(Member&, const FailRun& e) { FAIL() << e.failure.message; }
  void perform(Member&, const AbortCollectives&) {}
  void perform(Member&, const PublishHeartbeat&) {}

  bool complete_exchange() {
    for (auto& m : members_) {
      if (m->exchanges.empty()) return false;
    }
    std::vector<Exchange> now;
    for (auto& m : members_) now.push_back(m->exchanges.front().first);
    exchange(now);
    for (auto& m : members_) {
      const auto done = m->exchanges.front().second;
      m->exchanges.pop_front();
      done();
    }
    return true;
  }

  void exchange(std::vector<Exchange>& ranks) {
    for (Rank to = 0; to < ranks.size(); ++to) {
      EXPECT_EQ(ranks[to].blocks, ranks[0].blocks) << "rank " << to << " lays its buffer out otherwise";
      for (const GatherBlock& block : ranks[0].blocks) {
        if (block.owner == to) continue;
        std::memcpy(ranks[to].buffer.data() + block.offset, ranks[block.owner].buffer.data() + block.offset,
                    block.bytes);
      }
      if (tamper) tamper(to, ranks[to]);
    }
  }

  ThreadPool pool_{1};
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<std::unique_ptr<Member>> members_;
};

TrainOptions options_for(ObjectiveKind kind, SolverKind solver) {
  TrainOptions options;
  options.objective.kind = kind;
  options.objective.regularization = 0.03;
  options.objective.bias_regularization = 0.02;
  options.objective.biases = kind == ObjectiveKind::kExplicit;
  options.rank = 10;
  options.solver = solver;
  options.inner = InnerSolver::kCholesky;
  options.slice = 4;
  options.epochs = 3;
  if (kind == ObjectiveKind::kExplicit) {
    options.metrics = {parse_metric("rmse"), parse_metric("mae")};
  } else {
    options.metrics = {parse_metric("recall@5"), parse_metric("ndcg@5"), parse_metric("coverage@5")};
  }
  return options;
}

TEST(Sharded, FactorsLossAndMetricsDoNotDependOnTheNumberOfRanks) {
  const Dataset ratings = planted_data(700, 300);
  const Dataset clicks = planted_data(700, 300, 0.1, false);
  for (const ObjectiveKind kind :
       {ObjectiveKind::kExplicit, ObjectiveKind::kImplicitUnobserved, ObjectiveKind::kImplicitAlpha}) {
    const Dataset& data = kind == ObjectiveKind::kExplicit ? ratings : clicks;
    const HeldOut held_out = planted_test(data);
    for (const SolverKind solver : {SolverKind::kAls, SolverKind::kSubspace}) {
      const Case c{&data, &held_out, nullptr, options_for(kind, solver)};
      ThreadPool pool(2);
      const auto backend = make_cpu_backend(pool);
      const TrainResult alone = train(*backend, data, &held_out, nullptr, c.options, std::nullopt, {}, {});
      for (const Rank ranks : {1U, 2U, 3U, 4U}) {
        SCOPED_TRACE("kind " + std::to_string(static_cast<int>(kind)) + ", solver " +
                     std::to_string(static_cast<int>(solver)) + ", ranks " + std::to_string(ranks));
        Ranks run(c, ranks);
        run.run();
        for (Rank r = 0; r < ranks; ++r) {
          for (std::size_t e = 0; e < alone.epochs.size(); ++e) {
            EXPECT_EQ(run.member(r).epochs[e].loss, alone.epochs[e].loss);
            for (std::size_t m = 0; m < c.options.metrics.size(); ++m) {
              EXPECT_NEAR(run.member(r).epochs[e].test[m].second, alone.epochs[e].test[m].second, 1e-12);
            }
          }
          const TrainResult result = run.member(r).trainer->finish();
          EXPECT_TRUE(same_bytes(result.users, alone.users)) << "rank " << r;
          EXPECT_TRUE(same_bytes(result.items, alone.items)) << "rank " << r;
          EXPECT_EQ(result.mean, alone.mean);
          EXPECT_EQ(result.final_test->users_skipped, alone.final_test->users_skipped);
        }
      }
    }
  }
}

TEST(Sharded, MoreRanksThanBlocksStillTrain) {
  const Dataset data = planted_data(70, 30);
  const HeldOut held_out = planted_test(data);
  Ranks run({&data, &held_out, nullptr, options_for(ObjectiveKind::kExplicit, SolverKind::kAls)}, 5);
  run.run();
  EXPECT_EQ(run.member(4).trainer->finish().kept_epoch, 3U);
}

TEST(Sharded, ACopyThatDiffersIsNoticedAndNamed) {
  const Dataset data = planted_data(700, 300);
  Case c{&data, nullptr, nullptr, options_for(ObjectiveKind::kExplicit, SolverKind::kAls)};
  c.options.metrics.clear();
  Ranks run(c, 3);
  int exchanges = 0;
  run.tamper = [&](Rank to, Exchange& received) {
    if (to != 2) return;
    for (const GatherBlock& block : received.blocks) {
      if (block.owner == 2 || block.bytes == 0) continue;
      // The first time these are the facts, the second time rows of items.
      if (++exchanges == 2) received.buffer[block.offset + 1] ^= std::byte{1};
      return;
    }
  };
  try {
    run.run();
    FAIL() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("copies differ"));
    EXPECT_THAT(error.what(), HasSubstr("of items (rows "));
    EXPECT_THAT(error.what(), HasSubstr("on rank 2"));
  }
}

TEST(Sharded, AStopOnOneRankStopsAllAfterTheEpoch) {
  const Dataset data = planted_data();
  Case c{&data, nullptr, nullptr, options_for(ObjectiveKind::kExplicit, SolverKind::kAls)};
  c.options.metrics.clear();
  c.options.epochs = 50;
  Ranks run(c, 3);
  run.member(1).stop = true;
  run.run();
  for (Rank r = 0; r < 3; ++r) {
    const TrainResult result = run.member(r).trainer->finish();
    EXPECT_TRUE(result.was_stopped);
    EXPECT_EQ(result.kept_epoch, 1U);
  }
}

TEST(Sharded, EarlyStoppingKeepsTheSameEpochAsOneProcess) {
  const Dataset data = planted_data(150, 90);
  const HeldOut held_out = planted_test(data);
  TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kAls);
  options.objective.regularization = 1e-4;  // overfits soon
  options.epochs = 40;
  options.stop_after = 2;
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const TrainResult alone = train(*backend, data, nullptr, &held_out, options, std::nullopt, {}, {});
  ASSERT_TRUE(alone.stopped_early);
  Ranks run({&data, nullptr, &held_out, options}, 3);
  run.run();
  const TrainResult result = run.member(2).trainer->finish();
  EXPECT_TRUE(result.stopped_early);
  EXPECT_EQ(result.kept_epoch, alone.kept_epoch);
  EXPECT_TRUE(same_bytes(result.users, alone.users));
}

TEST(Sharded, WhatSeveralRanksDoNotDoIsRefusedByName) {
  const Dataset data = planted_data();
  const auto error_of = [&](auto change) -> std::string {
    TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kAls);
    options.metrics.clear();
    change(options);
    try {
      Ranks run({&data, nullptr, nullptr, options}, 2);
    } catch (const Error& error) {
      return error.where();
    }
    return "no error";
  };
  EXPECT_EQ(error_of([](TrainOptions& o) { o.momentum = 0.3; }), "solver.momentum");
  EXPECT_EQ(error_of([](TrainOptions& o) { o.solver = SolverKind::kSgd; }), "solver.kind");
}

TEST(Shards, EachRowHasOneOwnerAndOneRoundAndLoadsAreBounded) {
  const Dataset data = planted_data(5000, 900, 0.02);
  for (const Rank ranks : {1U, 2U, 3U, 8U}) {
    const ShardPlan plan = plan_shards(data.by_user(), data.by_item(), {1.0, 10.0}, ranks, 16);
    for (const TableShards* shards : {&plan.users, &plan.items}) {
      std::vector<int> seen(shards->rows, 0);
      for (Rank r = 0; r < ranks; ++r) {
        RowIndex in_rounds = 0;
        RowIndex owned = 0;
        for (const RowRange rows : owned_rows(*shards, r)) owned += rows.size();
        for (std::uint32_t round = 0; round < 16; ++round) {
          for (const RowRange rows : rows_of_round(*shards, r, round)) {
            in_rounds += rows.size();
            for (RowIndex row = rows.begin; row < rows.end; ++row) ++seen[row];
          }
        }
        EXPECT_EQ(in_rounds, owned);
      }
      EXPECT_THAT(seen, ::testing::Each(1));
    }
  }
}

TEST(Shards, KeptRowsAreTheRowsAndNothingElse) {
  const Dataset data = planted_data(150, 90);
  const CompressedRows whole = data.by_user();
  const std::vector<RowRange> rows = {{0, 3}, {10, 64}, {149, 150}};
  const CompressedMatrix kept = keep_rows(whole, rows);
  ASSERT_EQ(kept.offsets.size(), whole.offsets.size());
  for (RowIndex r = 0; r < whole.rows; ++r) {
    const bool is_kept = r < 3 || (r >= 10 && r < 64) || r == 149;
    const CompressedRows view = kept.view();
    ASSERT_EQ(view.count(r), is_kept ? whole.count(r) : 0) << "row " << r;
    EXPECT_TRUE(std::ranges::equal(view.row_columns(r), is_kept ? whole.row_columns(r) : std::span<const RowIndex>{}));
    EXPECT_TRUE(std::ranges::equal(view.row_values(r), is_kept ? whole.row_values(r) : std::span<const float>{}));
  }
  EXPECT_EQ(keep_rows(whole, {}).columns.size(), 0U);
}

}  // namespace
}  // namespace concerto
