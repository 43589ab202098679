// The oracle: frequency-scaled implicit ALS on a public data set must reach the quality of an independent reading of
// the objective, whatever the random start.
#include <gtest/gtest.h>

#include "concerto/compute/backends.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/train/trainer.hpp"

#include "support/data_files.hpp"

namespace concerto {
namespace {

TEST(Oracle, FrequencyScaledImplicitAlsOnMovieLens) {
  CONCERTO_DATA_FILE_OR_SKIP(train_file, "ml-1m-rank/train.txt.gz");
  CONCERTO_DATA_FILE_OR_SKIP(test_file, "ml-1m-rank/test.txt.gz");
  ThreadPool pool;
  DatasetOptions building;
  building.use_values = false;
  building.duplicates = Duplicates::kSum;
  const BuiltDataset data =
      build_dataset(read_ratings(train_file, {}, pool), building, std::nullopt, std::nullopt, pool);
  const HeldOut test =
      build_held_out(read_ratings(test_file, {}, pool), data.train.users(), data.train.items(), building, pool);
  ASSERT_EQ(data.train.entries(), 460256U);
  ASSERT_EQ(test.entries(), 115025U);

  TrainOptions options;
  options.objective.kind = ObjectiveKind::kImplicitUnobserved;
  options.objective.regularization = 0.007;
  options.objective.unobserved_weight = 0.3;
  options.rank = 64;
  options.init_stddev = 0.1;
  options.inner = InnerSolver::kCholesky;
  options.epochs = 10;
  options.evaluate_every = 0;
  for (const char* name : {"recall@20", "ndcg@20", "recall@100", "ndcg@100"}) {
    options.metrics.push_back(parse_metric(name));
  }
  const auto backend = make_cpu_backend(pool);
  const TrainResult result = train(*backend, data.train, &test, nullptr, options, std::nullopt, {}, {});
  constexpr double kTolerance = 0.003;
  EXPECT_NEAR(result.final_test->at("recall@20"), 0.3006, kTolerance);
  EXPECT_NEAR(result.final_test->at("ndcg@20"), 0.3369, kTolerance);
  EXPECT_NEAR(result.final_test->at("recall@100"), 0.6074, kTolerance);
  EXPECT_NEAR(result.final_test->at("ndcg@100"), 0.4286, kTolerance);
}

}  // namespace
}  // namespace concerto
