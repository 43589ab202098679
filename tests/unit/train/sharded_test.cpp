// Training by many ranks, driven in one thread: factors do not depend on the number of ranks, sums and decisions are
// alike everywhere, copies that differ are noticed. SGD by rotation: rotation_test.cpp.
#include "concerto/train/sharded.hpp"

#include <limits>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

#include "ranks.hpp"
#include "recording_backend.hpp"
#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::Case;
using test::planted_data;
using test::planted_test;
using test::Ranks;
using test::same_bytes;
using ::testing::HasSubstr;

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

/// Solves some row of a table of so many rows to what is not finite, in the second of its epochs.
class DivergingBackend final : public test::RecordingBackend {
 public:
  explicit DivergingBackend(RowIndex table_rows) : table_rows_(table_rows) {}
  void read_rows(const Buffer& table, RowRange rows, FactorTable& host) const override {
    RecordingBackend::read_rows(table, rows, host);
    if (host.rows() != table_rows_ || rows.size() == 0) return;
    if (++reads_of_[rows.begin] == 2) host.row(rows.begin)[3] = std::numeric_limits<float>::infinity();
  }

 private:
  RowIndex table_rows_;
  mutable std::map<RowIndex, int> reads_of_;
};

TEST(Sharded, RowsThatAreNotFiniteOnOneRankEndTheRunOnAllAlike) {
  const Dataset data = planted_data(700, 300);
  for (const Collective collective : {Collective::kFactors, Collective::kGrams}) {
    Case c{&data, nullptr, nullptr, options_for(ObjectiveKind::kExplicit, SolverKind::kAls), 0, collective, {}};
    c.options.evaluate_every = 50;  // no loss tells of it
    c.backend = [](Rank rank) -> std::unique_ptr<Backend> {
      if (rank == 2) return std::make_unique<DivergingBackend>(700);
      return make_reference_backend();
    };
    Ranks run(c, 3);
    EXPECT_THROW(run.run(), Error);
    EXPECT_EQ(run.member(0).epochs.size(), 1U);
    for (Rank r = 0; r < 3; ++r) {
      try {
        (void)run.member(r).trainer->decide(2);
        ADD_FAILURE() << "rank " << r << " goes on";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("training diverged")) << "rank " << r;
      }
    }
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

TEST(Sharded, MomentumIsDecidedAlikeByAllRanks) {
  const Dataset data = planted_data(700, 300);
  const HeldOut held_out = planted_test(data);
  TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kAls);
  options.epochs = 8;
  options.evaluate_every = 3;
  for (const double momentum : {0.3, 1.4}) {  // the second lets losses rise
    options.momentum = momentum;
    ThreadPool pool(1);
    const auto backend = make_cpu_backend(pool);
    const TrainResult alone = train(*backend, data, &held_out, nullptr, options, std::nullopt, {}, {});
    bool rose = false;
    for (std::size_t e = 1; e < alone.epochs.size(); ++e) rose |= *alone.epochs[e].loss > *alone.epochs[e - 1].loss;
    ASSERT_EQ(rose, momentum > 1.0);
    for (const Rank ranks : {1U, 3U}) {
      Ranks run({&data, &held_out, nullptr, options}, ranks);
      run.run();
      const TrainResult result = run.member(ranks - 1).trainer->finish();
      EXPECT_TRUE(same_bytes(result.users, alone.users)) << "momentum " << momentum << ", ranks " << ranks;
      EXPECT_TRUE(same_bytes(result.items, alone.items)) << "momentum " << momentum << ", ranks " << ranks;
      for (std::size_t e = 0; e < alone.epochs.size(); ++e) {
        EXPECT_EQ(run.member(0).epochs[e].loss, alone.epochs[e].loss);
      }
    }
  }
}

TEST(Sharded, WhatIsKeptOfAnEpochWithMomentumIsSettledAndMeasuredAsInOneProcess) {
  const Dataset data = planted_data(150, 90);
  const HeldOut held_out = planted_test(data);
  TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kAls);
  options.objective.regularization = 1e-4;  // overfits soon
  options.momentum = 0.3;
  options.epochs = 40;
  options.stop_after = 2;
  options.evaluate_every = 7;
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const TrainResult alone = train(*backend, data, &held_out, &held_out, options, std::nullopt, {}, {});
  ASSERT_TRUE(alone.stopped_early);
  Ranks run({&data, &held_out, &held_out, options}, 3);
  run.run();
  for (Rank r = 0; r < 3; ++r) {
    const TrainResult result = run.member(r).trainer->finish();
    EXPECT_EQ(result.kept_epoch, alone.kept_epoch);
    EXPECT_TRUE(same_bytes(result.users, alone.users));
    EXPECT_TRUE(same_bytes(result.items, alone.items));
    ASSERT_TRUE(result.final_test && result.final_validation);
    EXPECT_NEAR(result.final_test->at("rmse"), alone.final_test->at("rmse"), 1e-12);
    EXPECT_NEAR(result.final_validation->at("mae"), alone.final_validation->at("mae"), 1e-12);
  }
}

TEST(Sharded, AnEpochThatWasNotEvaluatedIsMeasuredWhenItIsKept) {
  const Dataset data = planted_data();
  const HeldOut held_out = planted_test(data);
  TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kAls);
  options.evaluate_every = 50;
  options.epochs = 50;
  Ranks run({&data, &held_out, nullptr, options}, 2);
  run.member(1).stop = true;
  run.run();
  const TrainResult result = run.member(0).trainer->finish();
  EXPECT_TRUE(run.member(0).epochs.front().test.empty());
  ASSERT_TRUE(result.final_test);
  EXPECT_GT(result.final_test->at("rmse"), 0.0);
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

TEST(Shards, TheFirstAndTheLastRoundsAreShort) {
  std::vector<EntryIndex> offsets(15'001);  // 235 chunks
  for (std::size_t r = 0; r < offsets.size(); ++r) offsets[r] = 7 * r;
  const RowLengths lengths{15'000, offsets};
  for (const auto& [rounds, shares] :
       std::vector<std::pair<std::uint32_t, std::vector<double>>>{{1, {1}},
                                                                  {2, {1, 1}},
                                                                  {3, {1, 2, 1}},
                                                                  {4, {1, 2, 2, 1}},
                                                                  {5, {1, 2, 4, 2, 1}},
                                                                  {8, {1, 2, 4, 4, 4, 4, 2, 1}}}) {
    const ShardPlan plan = plan_shards(lengths, lengths, {1.0, 10.0}, 2, rounds);
    double sum = 0.0;
    for (const double share : shares) sum += share;
    for (const Rank rank : {0U, 1U}) {
      std::vector<double> work(rounds, 0.0);
      double all = 0.0;
      double largest = 0.0;
      for (std::size_t b = 0; b < plan.users.blocks.size(); ++b) {
        if (plan.users.owners[b] != rank) continue;
        work[plan.users.rounds[b]] += plan.users.work[b];
        all += plan.users.work[b];
        largest = std::max(largest, plan.users.work[b]);
      }
      for (std::uint32_t round = 0; round < rounds; ++round) {
        EXPECT_NEAR(work[round], all * shares[round] / sum, 2 * largest) << rounds << " rounds, round " << round;
      }
      EXPECT_LT(2 * largest, all / sum) << "blocks are too large to say anything";
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

TEST(Sharded, StepsAreFewerWhereTheyWouldBeShort) {
  TrainOptions options;
  options.rank = 64;
  options.inner = InnerSolver::kCholesky;
  const auto rounds = [&](EntryIndex entries, Rank ranks, RowIndex rows = 1) {
    std::vector<EntryIndex> offsets(std::size_t{rows} + 1, 0);
    offsets.back() = entries;
    return best_rounds(options, {rows, offsets}, {rows, offsets}, ranks);
  };
  EXPECT_EQ(rounds(1000, 2), 4U);
  EXPECT_EQ(rounds(1'000'000, 2), 8U);
  EXPECT_EQ(rounds(9'000'000, 2), 16U);
  EXPECT_EQ(rounds(9'000'000, 64), 4U);
  options.inner = InnerSolver::kCg;
  options.cg_steps = 1;
  EXPECT_EQ(rounds(1000, 2, 10'000), 4U);
  EXPECT_EQ(rounds(1000, 2, 80'000), 5U) << "80,000 rows of 256 bytes, half of them a rank's";
  EXPECT_EQ(rounds(1000, 2, 8'000'000), 16U);
}

TEST(Shards, CallsOfARoundAreItsRowsInPiecesOfBoundedWork) {
  const Dataset data = planted_data(3000, 700);
  const ShardPlan plan = plan_shards(data.by_user(), data.by_item(), {1.0, 1.0}, 2, 3);
  const auto work_of = [](const TableShards& shards, RowRange rows) {
    double sum = 0.0;
    for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
      if (rows.begin <= shards.blocks[b].begin && shards.blocks[b].end <= rows.end) sum += shards.work[b];
    }
    return sum;
  };
  for (const Rank rank : {0U, 1U}) {
    for (std::uint32_t round = 0; round < 3; ++round) {
      const auto whole = rows_of_round(plan.users, rank, round);
      EXPECT_EQ(calls_of_round(plan.users, rank, round, 1e300), whole);
      const double most = 2.5 * plan.users.work.front();
      std::vector<RowRange> again;
      for (const RowRange rows : calls_of_round(plan.users, rank, round, most)) {
        EXPECT_TRUE(work_of(plan.users, rows) <= most || rows.size() <= chunk_rows(plan.users.rows));
        if (!again.empty() && again.back().end == rows.begin) {
          again.back().end = rows.end;
        } else {
          again.push_back(rows);
        }
      }
      EXPECT_EQ(again, whole);
      EXPECT_EQ(calls_of_round(plan.users, rank, round, 0.0).size(),
                static_cast<std::size_t>(std::ranges::count_if(plan.users.blocks, [&](const RowRange& rows) {
                  const auto b = static_cast<std::size_t>(&rows - plan.users.blocks.data());
                  return plan.users.owners[b] == rank && plan.users.rounds[b] == round;
                })));
    }
  }
}

}  // namespace
}  // namespace concerto
