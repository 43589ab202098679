// Reading good configurations: every key from a file, overrides, defaults that follow from other keys.
#include <gmock/gmock.h>

#include "concerto/base/file.hpp"

#include "config_support.hpp"

namespace concerto::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

TEST(ParseConfig, ReadsEveryKey) {
  const Config config = parse_config(R"(
[data]
train = "train.txt"
split = {test = 0.2, by = "user", seed = 7}
validation = 0.05
format = "libmf"
duplicates = "keep"
min_value = 3.5
users = 10
items = 20
[model]
objective = "explicit"
rank = 8192
biases = true
bias_regularization = 0.5
regularization = 0
regularization_exponent = 0.25
seed = 9
init_stddev = 0.3
warm_start = "before"
nonnegative = true
[solver]
kind = "sgd"
inner = "cholesky"
cg_steps = 5
slice = 64
momentum = 0.0
epochs = 3
learning_rate = 0.01
decay = 0.2
stop_after = 2
stop_metric = "mae"
[compute]
backend = "cpu"
threads = 2
deterministic = true
gather = "fp32"
memory_limit_bytes = 1_000_000
[evaluate]
metrics = ["rmse", "ndcg@10"]
every = 2
clip = "range"
[output]
model = "model"
report = "report.json"
)",
                                     "run.toml", {});
  EXPECT_EQ(config.data.train, "train.txt");
  ASSERT_TRUE(config.data.split.has_value());
  EXPECT_EQ(config.data.split->test, 0.2);
  EXPECT_EQ(config.data.split->by, "user");
  EXPECT_EQ(config.data.split->seed, 7U);
  EXPECT_EQ(config.data.validation_share, 0.05);
  EXPECT_EQ(config.data.validation_file, "");
  EXPECT_EQ(config.data.format, "libmf");
  EXPECT_EQ(config.data.duplicates, "keep");
  EXPECT_THAT(config.data.min_value, Optional(3.5));
  EXPECT_EQ(config.data.users, 10U);
  EXPECT_EQ(config.data.items, 20U);
  EXPECT_EQ(config.model.objective, "explicit");
  EXPECT_EQ(config.model.rank, 8192U);
  EXPECT_TRUE(config.model.biases);
  EXPECT_THAT(config.model.bias_regularization, Optional(0.5));
  EXPECT_EQ(config.model.regularization, 0.0);
  EXPECT_THAT(config.model.regularization_exponent, Optional(0.25));
  EXPECT_EQ(config.model.seed, 9U);
  EXPECT_EQ(config.model.init_stddev, 0.3);
  EXPECT_EQ(config.model.warm_start, "before");
  EXPECT_TRUE(config.model.nonnegative);
  EXPECT_EQ(config.solver.kind, "sgd");
  EXPECT_EQ(config.solver.inner, "cholesky");
  EXPECT_EQ(config.solver.cg_steps, 5U);
  EXPECT_EQ(config.solver.slice, 64U);
  EXPECT_EQ(config.solver.epochs, 3U);
  EXPECT_EQ(config.solver.learning_rate, 0.01);
  EXPECT_EQ(config.solver.decay, 0.2);
  EXPECT_EQ(config.solver.stop_after, 2U);
  EXPECT_EQ(config.solver.stop_metric, "mae");
  EXPECT_EQ(config.compute.backend, "cpu");
  EXPECT_EQ(config.compute.threads, 2U);
  EXPECT_TRUE(config.compute.deterministic);
  EXPECT_EQ(config.compute.gather, "fp32");
  EXPECT_EQ(config.compute.memory_limit_bytes, 1'000'000U);
  EXPECT_THAT(config.evaluate.metrics, ElementsAre("rmse", "ndcg@10"));
  EXPECT_EQ(config.evaluate.every, 2U);
  EXPECT_EQ(config.evaluate.clip, "range");
  EXPECT_EQ(config.output.model, "model");
  EXPECT_EQ(config.output.report, "report.json");
}

TEST(ParseConfig, ValidationIsAFileOrAShare) {
  EXPECT_EQ(parse("", {"data.validation=held.txt"}).data.validation_file, "held.txt");
  EXPECT_EQ(parse("", {"data.validation=0.25"}).data.validation_share, 0.25);
  const Config replaced = parse("", {"data.validation=0.25", "data.validation=held.txt"});
  EXPECT_EQ(replaced.data.validation_share, 0.0);
  EXPECT_EQ(replaced.data.validation_file, "held.txt");
}

TEST(ParseConfig, ImplicitByUnobservedWeight) {
  const Config config = parse("[model]\nobjective = \"implicit\"\nvalues = \"weight\"\nunobserved_weight = 0.3\n");
  EXPECT_THAT(config.model.unobserved_weight, Optional(0.3));
  EXPECT_EQ(config.model.alpha, std::nullopt);
  EXPECT_EQ(config.model.values, "weight");
  EXPECT_THAT(config.model.regularization_exponent, Optional(1.0));
  EXPECT_EQ(config.data.duplicates, "sum");
  EXPECT_THAT(config.evaluate.metrics, ElementsAre("recall@20", "ndcg@20"));
}

TEST(ParseConfig, ImplicitWithNeitherWeightTakesTheDefault) {
  const Config config = parse("[model]\nobjective = \"implicit\"\n");
  EXPECT_THAT(config.model.unobserved_weight, Optional(0.1));
  EXPECT_EQ(config.model.values, "ignore");
}

TEST(ParseConfig, ImplicitByAlpha) {
  const Config config = parse("[model]\nobjective = \"implicit\"\nalpha = 40\nconfidence = \"product\"\n");
  EXPECT_THAT(config.model.alpha, Optional(40.0));
  EXPECT_EQ(config.model.unobserved_weight, std::nullopt);
  EXPECT_EQ(config.model.confidence, "product");
  EXPECT_EQ(config.model.values, "weight");
  EXPECT_THAT(config.model.regularization_exponent, Optional(0.0));
}

TEST(ParseConfig, DefaultsThatFollowFromOtherKeys) {
  const Config plain = parse("");
  EXPECT_EQ(plain.data.duplicates, "last");
  EXPECT_THAT(plain.model.regularization_exponent, Optional(1.0));
  EXPECT_EQ(plain.model.bias_regularization, std::nullopt);
  EXPECT_EQ(plain.model.unobserved_weight, std::nullopt);
  EXPECT_THAT(plain.evaluate.metrics, ElementsAre("rmse", "mae"));
  EXPECT_EQ(plain.solver.stop_metric, "");
  const Config more = parse("[model]\nbiases = true\nregularization = 0.07\n[solver]\nstop_after = 3\n",
                            {"data.validation=0.1", "evaluate.metrics=[\"mae\"]"});
  EXPECT_THAT(more.model.bias_regularization, Optional(0.07));
  EXPECT_EQ(more.solver.stop_metric, "mae");
}

TEST(ParseConfig, SplitHasItsOwnDefaults) {
  const Config config = parse("[data.split]\ntest = 0.1\n");
  ASSERT_TRUE(config.data.split.has_value());
  EXPECT_EQ(config.data.split->by, "random");
  EXPECT_EQ(config.data.split->seed, 1U);
}

TEST(Overrides, WinOverTheFileAndOverEarlierOnes) {
  const Config config = parse("[model]\nrank = 8\n", {"model.rank=16", " model.rank = 32 "});
  EXPECT_EQ(config.model.rank, 32U);
}

TEST(Overrides, TakeNestedKeysAndInlineTables) {
  EXPECT_EQ(parse("", {"data.split.test=0.1"}).data.split->test, 0.1);
  const Config config = parse("", {"data.split={test = 0.3, by = \"last\"}"});
  EXPECT_EQ(config.data.split->test, 0.3);
  EXPECT_EQ(config.data.split->by, "last");
}

TEST(Overrides, TakeBareWordsAsText) {
  EXPECT_EQ(parse("", {"solver.kind=sgd"}).solver.kind, "sgd");
  EXPECT_EQ(parse("", {"output.model=runs/a=b #1"}).output.model, "runs/a=b #1");
  EXPECT_EQ(parse("", {"output.model=\"quoted name\""}).output.model, "quoted name");
  EXPECT_EQ(parse("", {"output.model=2024"}).output.model, "2024");
  EXPECT_EQ(parse("", {"output.model=2024-01-31"}).output.model, "2024-01-31");
  EXPECT_EQ(parse("", {"data.validation=2024-01-31"}).data.validation_file, "2024-01-31");
  EXPECT_EQ(parse("", {"data.train=true"}).data.train, "true");
}

TEST(Overrides, TakeLists) {
  EXPECT_THAT(parse("", {"evaluate.metrics=[\"rmse\", \"recall@5\"]"}).evaluate.metrics,
              ElementsAre("rmse", "recall@5"));
  EXPECT_THAT(parse("", {"evaluate.metrics=rmse, recall@5"}).evaluate.metrics, ElementsAre("rmse", "recall@5"));
  EXPECT_THAT(parse("", {"evaluate.metrics=mae"}).evaluate.metrics, ElementsAre("mae"));
}

TEST(Overrides, NothingAfterTheEqualsSignGoesBackToTheDefault) {
  const std::string file = "[model]\nrank = 8\n[data.split]\ntest = 0.1\n";
  EXPECT_EQ(parse(file, {"model.rank="}).model.rank, ModelConfig{}.rank);
  const Config config = parse(file, {"data.split=", "data.test=held.txt"});
  EXPECT_FALSE(config.data.split.has_value());
  EXPECT_EQ(config.data.test, "held.txt");
}

TEST(ParseConfig, WithoutTrainingNothingIsRequired) {
  const Config config = parse_config("[model]\nrank = 7\n", "run.toml", {}, ConfigUse::kAny);
  EXPECT_EQ(config.model.rank, 7U);
  EXPECT_THAT(config.data.train, IsEmpty());
}

TEST(LoadConfig, ReadsAFile) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "load_config_test.toml";
  write_file(path, kRequired + "[model]\nrank = 12\n");
  EXPECT_EQ(load_config(path, {}).model.rank, 12U);
  EXPECT_EQ(load_config(path, {"model.rank=13"}).model.rank, 13U);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace concerto::test
