// ALS with users apart and Gram partials gathered: the loss of one process on any number of ranks, the same bytes each
// time, and when this way is chosen.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/train/collective.hpp"

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

TrainOptions als(ObjectiveKind kind, InnerSolver inner) {
  TrainOptions options;
  options.objective.kind = kind;
  options.objective.regularization = 0.03;
  options.objective.bias_regularization = 0.02;
  options.objective.biases = kind == ObjectiveKind::kExplicit;
  options.rank = 10;
  options.inner = inner;
  options.epochs = 3;
  options.metrics = {parse_metric(kind == ObjectiveKind::kExplicit ? "rmse" : "recall@5")};
  return options;
}

TEST(Summing, LossAndMetricsAreThoseOfOneProcess) {
  const Dataset ratings = planted_data(700, 90);
  const Dataset clicks = planted_data(700, 90, 0.1, false);
  for (const ObjectiveKind kind :
       {ObjectiveKind::kExplicit, ObjectiveKind::kImplicitUnobserved, ObjectiveKind::kImplicitAlpha}) {
    const Dataset& data = kind == ObjectiveKind::kExplicit ? ratings : clicks;
    const HeldOut held_out = planted_test(data);
    for (const InnerSolver inner : {InnerSolver::kCholesky, InnerSolver::kCg}) {
      const Case c{&data, &held_out, nullptr, als(kind, inner), 1, Collective::kGrams};
      ThreadPool pool(2);
      const auto backend = make_cpu_backend(pool);
      const TrainResult alone = train(*backend, data, &held_out, nullptr, c.options, std::nullopt, {}, {});
      for (const Rank ranks : {1U, 2U, 3U, 4U}) {
        SCOPED_TRACE("kind " + std::to_string(static_cast<int>(kind)) + ", inner " +
                     std::to_string(static_cast<int>(inner)) + ", ranks " + std::to_string(ranks));
        Ranks run(c, ranks);
        run.run();
        Ranks again(c, ranks, 4, 2);
        again.run();
        const TrainResult first = again.member(0).trainer->finish();
        for (Rank r = 0; r < ranks; ++r) {
          for (std::size_t e = 0; e < alone.epochs.size(); ++e) {
            const double expected = *alone.epochs[e].loss;
            EXPECT_NEAR(*run.member(r).epochs[e].loss, expected, 1e-4 * expected);
            EXPECT_NEAR(run.member(r).epochs[e].test[0].second, alone.epochs[e].test[0].second, 5e-3);
          }
          const TrainResult result = run.member(r).trainer->finish();
          EXPECT_TRUE(same_bytes(result.users, first.users)) << "rank " << r;
          EXPECT_TRUE(same_bytes(result.items, first.items)) << "rank " << r;
        }
      }
    }
  }
}

TEST(Summing, MomentumEarlyStoppingAndSettlingAreThoseOfOneProcess) {
  const Dataset data = planted_data(150, 90);
  const HeldOut held_out = planted_test(data);
  TrainOptions options = als(ObjectiveKind::kExplicit, InnerSolver::kCholesky);
  options.objective.regularization = 0.01;  // overfits, and rounding stays small
  options.momentum = 0.3;
  options.epochs = 40;
  options.stop_after = 2;
  options.evaluate_every = 7;
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const TrainResult alone = train(*backend, data, &held_out, &held_out, options, std::nullopt, {}, {});
  ASSERT_TRUE(alone.stopped_early);
  Ranks run({&data, &held_out, &held_out, options, 1, Collective::kGrams}, 3);
  run.run();
  for (Rank r = 0; r < 3; ++r) {
    const TrainResult result = run.member(r).trainer->finish();
    EXPECT_EQ(result.kept_epoch, alone.kept_epoch);
    ASSERT_TRUE(result.final_test && result.final_validation);
    EXPECT_NEAR(result.final_test->at("rmse"), alone.final_test->at("rmse"), 1e-4);
    EXPECT_NEAR(result.final_validation->at("rmse"), alone.final_validation->at("rmse"), 1e-4);
  }
}

TEST(Summing, WhatTravelsIsWhatWasPredicted) {
  const Dataset data = planted_data(700, 90);
  for (const ObjectiveKind kind : {ObjectiveKind::kExplicit, ObjectiveKind::kImplicitAlpha}) {
    Case c{&data, nullptr, nullptr, als(kind, InnerSolver::kCholesky), 1, Collective::kGrams};
    c.options.metrics.clear();
    const Rank ranks = 3;
    Ranks run(c, ranks);
    run.run();
    const CollectiveBytes bytes = collective_bytes(700, 90, c.options, ranks);
    const std::uint64_t items = 90 * (10 + (c.options.objective.biases ? 1 : 0)) * sizeof(float) * (ranks - 1);
    EXPECT_EQ(run.bytes_of_partials + c.options.epochs * items, c.options.epochs * ranks * bytes.grams_epoch);
    const MoveFacts moves = run.member(0).trainer->moves();
    EXPECT_EQ(moves.schedule, "summing");
    EXPECT_EQ(moves.least_bytes_per_epoch, bytes.grams_epoch);
    EXPECT_THAT(moves.words, HasSubstr(std::to_string(bytes.factors_epoch)));
  }
}

TEST(Summing, ACopyOfItemsThatDiffersIsNoticed) {
  const Dataset data = planted_data(700, 90);
  Case c{&data, nullptr, nullptr, als(ObjectiveKind::kExplicit, InnerSolver::kCholesky), 1, Collective::kGrams};
  c.options.metrics.clear();
  Ranks run(c, 2);
  bool is_done = false;
  run.tamper = [&](Rank to, Exchange& received) {
    if (to != 1 || is_done || received.buffer.size() != 90 * 11 * sizeof(float)) return;
    for (const GatherBlock& block : received.blocks) {
      if (block.owner == 1 || block.bytes == 0) continue;
      received.buffer[block.offset + 1] ^= std::byte{1};
      is_done = true;
      return;
    }
  };
  try {
    run.run();
    FAIL() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("of items (rows "));
    EXPECT_THAT(error.what(), HasSubstr("on rank 1"));
  }
}

class NoSums : public test::RecordingBackend {
 public:
  [[nodiscard]] bool sums_systems() const noexcept override { return false; }
};

TEST(Collective, IsTheOneOfFewerBytesWherePartialsCanBeHad) {
  const auto backend = make_reference_backend();
  TrainOptions options = als(ObjectiveKind::kExplicit, InnerSolver::kCholesky);
  options.rank = 16;
  const CollectiveWish any;
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 2, any), Collective::kGrams);
  EXPECT_EQ(choose_collective(*backend, 300'000, 300'000, options, 2, any), Collective::kFactors);
  EXPECT_EQ(choose_collective(*backend, 300, 300'000, options, 2, any), Collective::kFactors);
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 1, any), Collective::kFactors) << "nothing travels";
  options.inner = InnerSolver::kCg;
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 2, any), Collective::kGrams);
  options.rank = 64;
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 2, any), Collective::kFactors) << "forming costs more";
  options.inner = InnerSolver::kCholesky;
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 2, any), Collective::kGrams);

  const CollectiveWish deterministic{CollectiveWish::Kind::kAuto, true};
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 2, deterministic), Collective::kFactors);
  NoSums without;
  EXPECT_EQ(choose_collective(without, 300'000, 300, options, 2, any), Collective::kFactors);
  options.solver = SolverKind::kSubspace;
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 2, any), Collective::kFactors);
}

TEST(Collective, AWishIsGrantedOrRefusedWithItsReason) {
  const auto backend = make_reference_backend();
  TrainOptions options = als(ObjectiveKind::kExplicit, InnerSolver::kCholesky);
  const CollectiveWish grams{CollectiveWish::Kind::kGrams, false};
  EXPECT_EQ(choose_collective(*backend, 10, 10, options, 2, grams), Collective::kGrams);
  EXPECT_EQ(choose_collective(*backend, 300'000, 300, options, 2, {CollectiveWish::Kind::kFactors, false}),
            Collective::kFactors);
  const auto reason = [&](const Backend& on, const CollectiveWish& wish) -> std::string {
    try {
      (void)choose_collective(on, 10, 10, options, 2, wish);
      return "";
    } catch (const Error& error) {
      EXPECT_THAT(error.where(), HasSubstr("replication.collective"));
      return error.message();
    }
  };
  EXPECT_THAT(reason(*backend, {CollectiveWish::Kind::kGrams, true}), HasSubstr("compute.deterministic"));
  NoSums without;
  EXPECT_THAT(reason(without, grams), HasSubstr("reference backend sums no"));
  options.solver = SolverKind::kSgd;
  EXPECT_THAT(reason(*backend, grams), HasSubstr("solver.kind"));
}

}  // namespace
}  // namespace concerto
