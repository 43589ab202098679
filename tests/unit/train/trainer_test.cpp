// The training loop: what is kept, when it stops, which epochs have momentum, and that the loss never rises.
#include "concerto/train/trainer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/train/fold_in.hpp"

#include "recording_backend.hpp"
#include "small_data.hpp"
#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::planted_data;
using test::same_bytes;

TrainOptions exact_options(ObjectiveKind kind, std::uint32_t epochs) {
  TrainOptions options;
  options.objective.kind = kind;
  options.objective.regularization = 0.02;
  options.objective.bias_regularization = 0.02;
  options.rank = 6;
  options.inner = InnerSolver::kCholesky;
  options.epochs = epochs;
  return options;
}

class TrainerTest : public testing::Test {
 protected:
  TrainResult run(const Dataset& data, const TrainOptions& options, const HeldOut* validation = nullptr) {
    return train(*backend_, data, nullptr, validation, options, std::nullopt, {}, {});
  }
  std::string error_of(const Dataset& data, const TrainOptions& options) {
    try {
      (void)run(data, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  ThreadPool pool_{2};
  std::unique_ptr<Backend> backend_ = make_cpu_backend(pool_);
};

TEST_F(TrainerTest, LossNeverRises) {
  const Dataset ratings = planted_data();
  const Dataset clicks = planted_data(150, 90, 0.2, false);
  for (const ObjectiveKind kind :
       {ObjectiveKind::kExplicit, ObjectiveKind::kImplicitUnobserved, ObjectiveKind::kImplicitAlpha}) {
    for (const SolverKind solver : {SolverKind::kAls, SolverKind::kSubspace}) {
      TrainOptions options = exact_options(kind, 12);
      options.objective.biases = kind == ObjectiveKind::kExplicit;
      options.solver = solver;
      options.slice = 4;
      const TrainResult result = run(kind == ObjectiveKind::kExplicit ? ratings : clicks, options);
      ASSERT_EQ(result.epochs.size(), 12U);
      for (std::size_t e = 1; e < result.epochs.size(); ++e) {
        EXPECT_LE(*result.epochs[e].loss, *result.epochs[e - 1].loss * (1 + 1e-6)) << "epoch " << e + 1;
      }
      EXPECT_LT(*result.epochs.back().loss, 0.9 * *result.epochs.front().loss);
    }
  }
}

TEST_F(TrainerTest, MeanIsOfTrainingValuesAndRowsWithoutEntriesAreZero) {
  const Dataset data = planted_data();
  double sum = 0.0;
  for (const float value : data.by_user().values) sum += value;
  for (const SolverKind solver : {SolverKind::kAls, SolverKind::kSgd}) {
    TrainOptions options = exact_options(ObjectiveKind::kExplicit, 2);
    options.solver = solver;
    options.objective.biases = true;
    const TrainResult result = run(data, options);
    EXPECT_NEAR(result.mean, sum / static_cast<double>(data.entries()), 1e-9);
    EXPECT_THAT(result.users.row(12), testing::Each(0.0F));
    EXPECT_EQ(result.users.bias(12), 0.0F);
    EXPECT_THAT(result.items.row(16), testing::Each(0.0F));
    EXPECT_THAT(result.users.row(11), testing::Contains(testing::Ne(0.0F)));
  }
}

TEST_F(TrainerTest, AStopRequestKeepsTheLastCompleteEpoch) {
  const Dataset data = planted_data();
  std::stop_source source;
  TrainObserver observer;
  observer.on_step = [&](std::uint32_t epoch, double share) {
    if (epoch == 3 && share > 0.4) source.request_stop();
  };
  const TrainResult stopped = train(*backend_, data, nullptr, nullptr, exact_options(ObjectiveKind::kExplicit, 9),
                                    std::nullopt, observer, source.get_token());
  EXPECT_TRUE(stopped.was_stopped);
  EXPECT_EQ(stopped.kept_epoch, 2U);
  EXPECT_EQ(stopped.epochs.size(), 2U);
  const TrainResult two = run(data, exact_options(ObjectiveKind::kExplicit, 2));
  EXPECT_TRUE(same_bytes(stopped.users, two.users));
  EXPECT_TRUE(same_bytes(stopped.items, two.items));
}

TEST_F(TrainerTest, AStopBeforeTheFirstEpochKeepsNothing) {
  std::stop_source source;
  source.request_stop();
  try {
    (void)train(*backend_, planted_data(), nullptr, nullptr, exact_options(ObjectiveKind::kExplicit, 3), std::nullopt,
                {}, source.get_token());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
}

TEST_F(TrainerTest, EarlyStoppingReturnsTheBestEpoch) {
  // Noisy ratings, hardly regularized at a rank far above the planted one: the model overfits after a few epochs.
  const auto entries = test::planted_entries(150, 90, 0.2, 5, 1.0);
  std::vector<test::Entry> kept;
  std::vector<test::Entry> out;
  for (std::size_t i = 0; i < entries.size(); ++i) (i % 5 == 0 ? out : kept).push_back(entries[i]);
  const Dataset data = test::dataset_of(150, 90, kept);
  const HeldOut validation = test::held_out_of(150, 90, out);
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 300);
  options.objective.regularization = 0.001;
  options.solver = SolverKind::kSgd;
  options.learning_rate = 0.1;
  options.rank = 12;
  options.metrics = {parse_metric("mae")};
  options.stop_metric = parse_metric("rmse");
  options.stop_after = 3;
  const TrainResult result = run(data, options, &validation);
  ASSERT_TRUE(result.stopped_early);
  EXPECT_EQ(result.epochs.size(), result.kept_epoch + 3);
  const auto rmse = [&](std::uint32_t epoch) { return result.epochs[epoch - 1].validation.back().second; };
  for (std::uint32_t epoch = 1; epoch <= result.epochs.size(); ++epoch) {
    EXPECT_EQ(result.epochs[epoch - 1].validation.back().first, "rmse");
    EXPECT_GE(rmse(epoch), rmse(result.kept_epoch)) << epoch;
  }
  options.stop_after = 0;
  options.epochs = result.kept_epoch;
  const TrainResult again = run(data, options);
  EXPECT_TRUE(same_bytes(result.users, again.users));
  EXPECT_TRUE(same_bytes(result.items, again.items));
  EXPECT_DOUBLE_EQ(result.final_validation->at("mae"), result.epochs[result.kept_epoch - 1].validation[0].second);
}

TEST_F(TrainerTest, BackendsReachTheSameMetrics) {
  const auto entries = test::planted_entries(150, 90, 0.3, 5);
  std::vector<test::Entry> kept;
  std::vector<test::Entry> out;
  for (std::size_t i = 0; i < entries.size(); ++i) (i % 5 == 0 ? out : kept).push_back(entries[i]);
  const HeldOut held_out = test::held_out_of(150, 90, out);
  const auto reference = make_reference_backend();
  for (const ObjectiveKind kind : {ObjectiveKind::kExplicit, ObjectiveKind::kImplicitUnobserved}) {
    const bool is_explicit = kind == ObjectiveKind::kExplicit;
    const Dataset data = test::dataset_of(150, 90, kept, is_explicit);
    TrainOptions options = exact_options(kind, 8);
    options.objective.biases = is_explicit;
    for (const char* name : {"rmse", "mae", "recall@10", "ndcg@10"}) {
      const Metric metric = parse_metric(name);
      if (is_explicit || metric.is_ranking()) options.metrics.push_back(metric);
    }
    for (const SolverKind solver : {SolverKind::kAls, SolverKind::kSubspace}) {
      options.solver = solver;
      options.slice = 4;
      const TrainResult ours = train(*backend_, data, &held_out, nullptr, options, std::nullopt, {}, {});
      const TrainResult theirs = train(*reference, data, &held_out, nullptr, options, std::nullopt, {}, {});
      ASSERT_EQ(ours.final_test->values.size(), options.metrics.size());
      for (std::size_t m = 0; m < options.metrics.size(); ++m) {
        EXPECT_NEAR(ours.final_test->values[m].second, theirs.final_test->values[m].second, 0.002)
            << options.metrics[m].name;
      }
    }
  }
}

TEST_F(TrainerTest, AStoppedRunWithMomentumKeepsSolvedUsers) {
  const Dataset data = planted_data();
  std::stop_source source;
  TrainObserver observer;
  observer.on_epoch = [&](const EpochRecord& record) {
    if (record.epoch == 3) source.request_stop();
  };
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 9);
  options.momentum = 0.3;
  const TrainResult stopped =
      train(*backend_, data, nullptr, nullptr, options, std::nullopt, observer, source.get_token());
  ASSERT_EQ(stopped.kept_epoch, 3U);
  Objective objective = options.objective;
  objective.mean = stopped.mean;
  const FactorTable folded = fold_in_users(*backend_, stopped.items, data.by_user(), objective);
  for (RowIndex user = 0; user < folded.rows(); ++user) {
    for (std::uint32_t k = 0; k < options.rank; ++k) {
      ASSERT_NEAR(stopped.users.row(user)[k], folded.row(user)[k], 1e-4) << "user " << user;
    }
  }
}

TEST_F(TrainerTest, AWarmStartContinues) {
  const Dataset data = planted_data(150, 90, 0.2, false);
  const TrainResult two = run(data, exact_options(ObjectiveKind::kImplicitUnobserved, 2));
  const TrainResult three = run(data, exact_options(ObjectiveKind::kImplicitUnobserved, 3));
  const TrainResult more =
      train(*backend_, data, nullptr, nullptr, exact_options(ObjectiveKind::kImplicitUnobserved, 1),
            WarmStart{&two.users, &two.items}, {}, {});
  EXPECT_TRUE(same_bytes(more.users, three.users));
  EXPECT_TRUE(same_bytes(more.items, three.items));
}

TEST_F(TrainerTest, LossAndMetricsAreMeasuredAsOftenAsAsked) {
  const Dataset data = planted_data();
  const HeldOut test = test::held_out_of(150, 90, {{0, 1, 3.0F}, {1, 2, 2.0F}});
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 5);
  options.metrics = {parse_metric("rmse")};
  options.evaluate_every = 2;
  const TrainResult result = train(*backend_, data, &test, nullptr, options, std::nullopt, {}, {});
  std::vector<bool> measured;
  for (const EpochRecord& record : result.epochs) {
    measured.push_back(record.loss.has_value());
    EXPECT_EQ(record.loss.has_value(), !record.test.empty());
  }
  EXPECT_THAT(measured, testing::ElementsAre(false, true, false, true, true));
  EXPECT_EQ(result.final_test->values, result.epochs.back().test);
}

TEST_F(TrainerTest, DivergenceNamesEpochAndRemedy) {
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 40);
  options.solver = SolverKind::kSgd;
  options.learning_rate = 1e8;
  const std::string message = error_of(planted_data(), options);
  EXPECT_THAT(message, testing::StartsWith("epoch "));
  EXPECT_THAT(message, testing::HasSubstr("solver.learning_rate"));
}

TEST_F(TrainerTest, LimitsAreErrorsThatNameTheKey) {
  const Dataset data = planted_data(20, 20, 0.5);
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 1);
  options.rank = 1025;
  EXPECT_THAT(error_of(data, options), testing::AllOf(testing::HasSubstr("cg"), testing::HasSubstr("subspace")));
  options = exact_options(ObjectiveKind::kImplicitAlpha, 1);
  options.solver = SolverKind::kSgd;
  EXPECT_THAT(error_of(data, options), testing::StartsWith("solver.kind"));
  options = exact_options(ObjectiveKind::kExplicit, 1);
  options.nonnegative = true;
  EXPECT_THAT(error_of(data, options), testing::StartsWith("model.nonnegative"));
}

TEST_F(TrainerTest, NonNegativeFactorsAreNonNegative) {
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 3);
  options.solver = SolverKind::kSgd;
  options.nonnegative = true;
  const TrainResult result = run(planted_data(), options);
  for (RowIndex r = 0; r < result.users.rows(); ++r) EXPECT_THAT(result.users.row(r), testing::Each(testing::Ge(0.0F)));
  for (RowIndex r = 0; r < result.items.rows(); ++r) EXPECT_THAT(result.items.row(r), testing::Each(testing::Ge(0.0F)));
}

TEST_F(TrainerTest, FoldingInATrainingUserGivesItsRow) {
  for (const ObjectiveKind kind :
       {ObjectiveKind::kExplicit, ObjectiveKind::kImplicitUnobserved, ObjectiveKind::kImplicitAlpha}) {
    const Dataset data = planted_data(150, 90, 0.2, kind == ObjectiveKind::kExplicit);
    TrainOptions options = exact_options(kind, 3);
    options.objective.biases = kind == ObjectiveKind::kExplicit;
    const TrainResult result = run(data, options);
    Objective objective = options.objective;
    objective.mean = result.mean;
    const FactorTable folded = fold_in_users(*backend_, result.items, data.by_user(), objective);
    for (RowIndex r = 0; r < folded.rows(); ++r) {
      EXPECT_NEAR(folded.bias(r), result.users.bias(r), 1e-5);
      for (std::uint32_t c = 0; c < folded.rank(); ++c) {
        EXPECT_NEAR(folded.row(r)[c], result.users.row(r)[c], 1e-5) << "user " << r;
      }
    }
  }
}

TEST_F(TrainerTest, SgdLoadsItsGridAlone) {
  const Dataset data = planted_data();
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 2);
  test::RecordingBackend backend;
  options.solver = SolverKind::kSgd;
  (void)train(backend, data, nullptr, nullptr, options, std::nullopt, {}, {});
  EXPECT_EQ(backend.orientations_loaded, 0U);
  options.solver = SolverKind::kAls;
  (void)train(backend, data, nullptr, nullptr, options, std::nullopt, {}, {});
  EXPECT_EQ(backend.orientations_loaded, 2U);
}

TEST(TrainerSteps, ItemsAreSolvedBeforeUsersAgainstTheGramOfTheOtherSide) {
  test::RecordingBackend backend;
  (void)train(backend, planted_data(), nullptr, nullptr, exact_options(ObjectiveKind::kImplicitUnobserved, 1),
              std::nullopt, {}, {});
  ASSERT_FALSE(backend.steps.empty());
  std::vector<RowIndex> covered = {0, 0};
  bool users_begun = false;
  for (const auto& step : backend.steps) {
    const bool is_user_step = step.target_rows == 150;
    users_begun = users_begun || is_user_step;
    EXPECT_EQ(users_begun, is_user_step);
    EXPECT_TRUE(step.has_gram);
    EXPECT_EQ(step.rows.begin, covered[is_user_step ? 1 : 0]);
    covered[is_user_step ? 1 : 0] = step.rows.end;
  }
  EXPECT_THAT(covered, testing::ElementsAre(90, 150));
}

TEST(TrainerSteps, AreAsManyAsTheBackendHasBestUnlessTheOptionsSay) {
  test::RecordingBackend whole;
  whole.best_steps = 1;
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 1);
  (void)train(whole, planted_data(), nullptr, nullptr, options, std::nullopt, {}, {});
  ASSERT_EQ(whole.steps.size(), 2U);
  EXPECT_EQ(whole.steps[0].rows.size(), 90U);
  EXPECT_EQ(whole.steps[1].rows.size(), 150U);

  options.steps_per_half_sweep = 2;
  test::RecordingBackend cut;
  cut.best_steps = 1;
  (void)train(cut, planted_data(), nullptr, nullptr, options, std::nullopt, {}, {});
  EXPECT_EQ(cut.steps.size(), 4U);
}

TEST(TrainerSteps, MomentumIsOffAfterTheLossRoseAndInTheLastEpoch) {
  test::RecordingBackend backend;
  backend.scripted_losses = {1e6, 9e5, 2e6, 8e5, 7e5, 6e5};
  TrainOptions options = exact_options(ObjectiveKind::kExplicit, 6);
  options.momentum = 0.3;
  options.evaluate_every = 0;
  (void)train(backend, planted_data(), nullptr, nullptr, options, std::nullopt, {}, {});
  std::vector<double> by_epoch;
  for (const auto& step : backend.steps) {
    if (step.target_rows == 90 && step.rows.begin == 0) by_epoch.push_back(step.momentum);
  }
  EXPECT_THAT(by_epoch, testing::ElementsAre(0.3, 0.3, 0.3, 0.0, 0.3, 0.0));
}

}  // namespace
}  // namespace concerto
