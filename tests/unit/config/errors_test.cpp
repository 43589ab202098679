// What is wrong with a configuration is said in one line that names file, line and key. Each message is asserted whole.
#include "config_support.hpp"

namespace concerto::test {
namespace {

struct Case {
  std::string name;
  std::string text;  ///< follows kRequired: its first line is line 5
  std::string message;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

class ConfigError : public testing::TestWithParam<Case> {};

TEST_P(ConfigError, SaysWhatIsWrong) {
  EXPECT_EQ(error_of(GetParam().text), GetParam().message);
}

const auto kName = [](const auto& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(
    Unknown, ConfigError,
    testing::Values(
        Case{"Key", "[model]\nrnak = 3\n", "run.toml:6: unknown key model.rnak; did you mean model.rank?"},
        Case{"KeyOfAnotherTable", "[solver]\nrank = 3\n",
             "run.toml:6: unknown key solver.rank; did you mean model.rank?"},
        Case{"TableWithinTable", "[output.x]\n", "run.toml:5: unknown table [output.x]; did you mean [output]?"},
        Case{"Table", "[modle]\nrank = 3\n", "run.toml:5: unknown table [modle]; did you mean [model]?"},
        Case{"SplitKey", "[data.split]\ntset = 0.1\n",
             "run.toml:6: unknown key data.split.tset; did you mean data.split.test?"},
        Case{"FirstByLine", "[solver]\nzeta = 1\n[compute]\nalpha = 2\n",
             "run.toml:6: unknown key solver.zeta; did you mean solver.decay?"},
        Case{"Objective", "[model]\nobjective = \"implict\"\n",
             "run.toml:6: model.objective \"implict\" is not one of explicit, implicit; did you mean \"implicit\"?"},
        Case{"Solver", "[solver]\nkind = \"asl\"\n",
             "run.toml:6: solver.kind \"asl\" is not one of als, subspace, sgd; did you mean \"als\"?"},
        Case{"Backend", "[compute]\nbackend = \"gpu\"\n",
             "run.toml:6: compute.backend \"gpu\" is not one of auto, reference, cpu, cuda; did you mean \"cpu\"?"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    WrongType, ConfigError,
    testing::Values(
        Case{"TextForNumber", "[model]\nrank = \"64\"\n",
             "run.toml:6: model.rank must be a whole number, not text (\"64\")"},
        Case{"FractionForCount", "[model]\nrank = 64.0\n",
             "run.toml:6: model.rank must be a whole number, not a number (64.0)"},
        Case{"NumberForFlag", "[model]\nbiases = 1\n",
             "run.toml:6: model.biases must be true or false, not a whole number (1)"},
        Case{"NumberForText", "report = 7\n", "run.toml:5: output.report must be text, not a whole number (7)"},
        Case{"FlagForNumber", "[model]\nregularization = true\n",
             "run.toml:6: model.regularization must be a number, not true or false (true)"},
        Case{"TableForKey", "[model.rank]\nx = 1\n", "run.toml:5: model.rank is a key, not a table"},
        Case{"DateForWord", "[model]\nobjective = 2024-01-31\n",
             "run.toml:6: model.objective must be text, not a date or time"},
        Case{"TextForList", "[evaluate]\nmetrics = \"rmse\"\n",
             "run.toml:6: evaluate.metrics must be a list of metrics, such as [\"rmse\"], not text (\"rmse\")"},
        Case{"NumberInList", "[evaluate]\nmetrics = [\"rmse\", 3]\n",
             "run.toml:6: evaluate.metrics must be a list of metrics' names; one of them is not text"},
        Case{"ListForTable", "[[model]]\nrank = 3\n", "run.toml:5: model must be a table, not a list"},
        Case{"TableWithinTable", "compute.x = 3\n",
             "run.toml:5: unknown table [output.compute]; did you mean [compute]?"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    OutOfRange, ConfigError,
    testing::Values(
        Case{"RankZero", "[model]\nrank = 0\n", "run.toml:6: model.rank must be from 1 to 65,536, not 0"},
        Case{"RankHuge", "[model]\nrank = 65537\n", "run.toml:6: model.rank must be from 1 to 65,536, not 65537"},
        Case{"RankNegative", "[model]\nrank = -1\n", "run.toml:6: model.rank must be from 1 to 65,536, not -1"},
        Case{"EpochsZero", "[solver]\nepochs = 0\n", "run.toml:6: solver.epochs must be from 1 to 1,000,000, not 0"},
        Case{"Nan", "[model]\nregularization = nan\n",
             "run.toml:6: model.regularization must be a finite number, at least 0, not nan"},
        Case{"Infinity", "[model]\nregularization = inf\n",
             "run.toml:6: model.regularization must be a finite number, at least 0, not inf"},
        Case{"NegativeRegularization", "[model]\nregularization = -0.5\n",
             "run.toml:6: model.regularization must be a finite number, at least 0, not -0.5"},
        Case{"MomentumOne", "[solver]\nmomentum = 1\n",
             "run.toml:6: solver.momentum must be at least 0 and below 1, not 1"},
        Case{"RateZero", "[solver]\nlearning_rate = 0.0\n",
             "run.toml:6: solver.learning_rate must be a finite number above 0, not 0.0"},
        Case{"ShareOne", "[data.split]\ntest = 1.0\n",
             "run.toml:6: data.split.test must be above 0 and below 1, not 1.0"},
        Case{"ShareZero", "[data.split]\ntest = 0\n", "run.toml:6: data.split.test must be above 0 and below 1, not 0"},
        Case{"SeedNegative", "[model]\nseed = -3\n",
             "run.toml:6: model.seed must be from 0 to 9,223,372,036,854,775,807, not -3"},
        Case{"Threads", "[compute]\nthreads = 5000\n", "run.toml:6: compute.threads must be from 0 to 4,096, not 5000"},
        Case{"LaterLine", "[data.split]\ntest = 0.1\n[model]\ninit_stddev = inf\n",
             "run.toml:8: model.init_stddev must be a finite number above 0, not inf"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    Contradiction, ConfigError,
    testing::Values(
        Case{"AlphaAndUnobserved", "[model]\nobjective = \"implicit\"\nunobserved_weight = 0.1\nalpha = 2\n",
             "run.toml:8: model.alpha excludes model.unobserved_weight (run.toml:7); give one of them"},
        Case{"SplitWithoutShare", "[data.split]\nby = \"user\"\n",
             "run.toml:5: data.split needs a share, such as {test = 0.1}"},
        Case{"EmptySplit", "[data.split]\n", "run.toml:5: data.split needs a share, such as {test = 0.1}"},
        Case{"BiasesImplicit", "[model]\nobjective = \"implicit\"\nbiases = true\n",
             "run.toml:7: model.biases needs model.objective = \"explicit\""},
        Case{"SgdImplicit", "[model]\nobjective = \"implicit\"\n[solver]\nkind = \"sgd\"\n",
             "run.toml:8: solver.kind = \"sgd\" needs model.objective = \"explicit\"; als and subspace serve implicit"},
        Case{"AlphaExplicit", "[model]\nalpha = 1\n", "run.toml:6: model.alpha needs model.objective = \"implicit\""},
        Case{"UnobservedExplicit", "[model]\nunobserved_weight = 1\n",
             "run.toml:6: model.unobserved_weight needs model.objective = \"implicit\""},
        Case{"ConfidenceWithoutAlpha", "[model]\nobjective = \"implicit\"\nconfidence = \"product\"\n",
             "run.toml:7: model.confidence needs model.alpha"},
        Case{"ValuesIgnoredWithAlpha", "[model]\nobjective = \"implicit\"\nalpha = 1\nvalues = \"ignore\"\n",
             "run.toml:8: model.values = \"ignore\" contradicts model.alpha, which weights entries by their values"},
        Case{"BiasRegularization", "[model]\nbias_regularization = 1\n",
             "run.toml:6: model.bias_regularization needs model.biases = true"},
        Case{"Nonnegative", "[model]\nnonnegative = true\n",
             "run.toml:6: model.nonnegative needs solver.kind = \"sgd\""},
        Case{"Momentum", "[solver]\nkind = \"sgd\"\nmomentum = 0.3\n",
             "run.toml:7: solver.momentum needs solver.kind = \"als\""},
        Case{"CholeskyRank", "[model]\nrank = 1025\n[solver]\ninner = \"cholesky\"\n",
             "run.toml:8: solver.inner = \"cholesky\" ends at rank 1024, not 1025; use solver.inner = \"cg\" or "
             "solver.kind = \"subspace\""},
        Case{"StopAfter", "[solver]\nstop_after = 3\n",
             "run.toml:6: solver.stop_after needs data.validation, a file or a share of the training entries"},
        Case{"StopMetric", "[solver]\nstop_metric = \"rmse\"\n",
             "run.toml:6: solver.stop_metric needs solver.stop_after"},
        Case{"Pace", "[emulation]\npace = 2.5\n",
             "run.toml:6: emulation.pace needs compute.threads = 1: a step is paced by the CPU time of its thread"},
        Case{"SlowRanks", "[emulation]\nslow_ranks = 1\n", "run.toml:6: emulation.slow_ranks needs emulation.pace"}),
    kName);

TEST(ConfigErrors, ContradictionsAcrossOverrides) {
  EXPECT_EQ(error_of("", {"data.test=a.txt", "data.split.test=0.1"}),
            "--set data.test=a.txt: data.test excludes data.split (--set data.split.test=0.1); give one of them");
  EXPECT_EQ(error_of("[data.split]\ntest = 0.5\n", {"data.validation=0.5"}),
            "--set data.validation=0.5: data.validation and data.split.test leave nothing to train on");
  EXPECT_EQ(error_of("[solver]\nstop_after = 3\n", {"data.validation=0.5", "evaluate.every=0"}),
            "run.toml:6: solver.stop_after needs evaluations; evaluate.every = 0 makes none before the end");
  EXPECT_EQ(error_of("report = \"./out\"\n"), "run.toml:5: output.report and output.model are the same path");
  EXPECT_EQ(error_of("report = \"out/report.json\"\n"),
            "run.toml:5: output.report lies in output.model, which is written as a whole");
}

TEST(ConfigErrors, HighRanksOfOtherSolversAreFine) {
  EXPECT_EQ(parse("[model]\nrank = 65536\n").model.rank, 65536U);
  EXPECT_EQ(parse("[model]\nrank = 2048\n[solver]\nkind = \"subspace\"\ninner = \"cholesky\"\n").model.rank, 2048U);
  EXPECT_EQ(parse("[model]\nrank = 1024\n[solver]\ninner = \"cholesky\"\n").model.rank, 1024U);
}

TEST(ConfigErrors, Overrides) {
  EXPECT_EQ(error_of("", {"modle.rank=3"}), "--set modle.rank=3: unknown key modle.rank; did you mean model.rank?");
  EXPECT_EQ(error_of("", {"rank=3"}), "--set rank=3: unknown key rank; did you mean model.rank?");
  EXPECT_EQ(error_of("", {"model.rank=0"}), "--set model.rank=0: model.rank must be from 1 to 65,536, not 0");
  EXPECT_EQ(error_of("", {"model.rank=many"}),
            "--set model.rank=many: model.rank must be a whole number, not text (\"many\")");
  EXPECT_EQ(error_of("", {"model.rank"}), "--set model.rank: an override is written table.key=value");
  EXPECT_EQ(error_of("", {"=3"}), "--set =3: an override is written table.key=value");
  EXPECT_EQ(error_of("", {"evaluate.metrics=[rmse"}), "--set evaluate.metrics=[rmse: the value is not valid TOML");
  EXPECT_EQ(error_of("", {"model=3"}), "--set model=3: model must be a table, not a whole number");
  EXPECT_EQ(error_of("", {"modle.rank="}), "--set modle.rank=: unknown key modle.rank; did you mean model.rank?");
  EXPECT_EQ(error_of("", {"data.split=0.1"}), "--set data.split=0.1: data.split must be a table, not a number");
}

TEST(ConfigErrors, Metrics) {
  const std::string unknown = error_of("[evaluate]\nmetrics = [\"rmse\", \"recal@20\"]\n");
  EXPECT_EQ(unknown.find("run.toml:6: evaluate.metrics is wrong: "), 0U) << unknown;
  EXPECT_NE(unknown.find("recal@20"), std::string::npos) << unknown;
  const std::string stop = error_of("[solver]\nstop_metric = \"loss\"\n");
  EXPECT_EQ(stop.find("run.toml:6: solver.stop_metric is wrong: "), 0U) << stop;
}

TEST(ConfigErrors, RequiredKeys) {
  const auto message = [](const std::string& text) {
    try {
      (void)parse_config(text, "run.toml", {});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message(""), "run.toml: data.train is required: the file or prepared directory to train on");
  EXPECT_EQ(message("[data]\ntrain = \"\"\n[output]\nmodel = \"m\"\n"),
            "run.toml: data.train is required: the file or prepared directory to train on");
  EXPECT_EQ(message("[data]\ntrain = \"a\"\n"),
            "run.toml: output.model is required: the directory to write the model to");
}

TEST(ConfigErrors, LevelsButStrongExcludeWhatRestsOnAllDoingTheSame) {
  const std::string eventual = "[replication]\nlevel = \"eventual\"\n";
  EXPECT_EQ(
      error_of(eventual, {"compute.deterministic=true"}),
      "run.toml:6: replication.level = \"eventual\" depends on timing; compute.deterministic = true needs strong");
  EXPECT_EQ(error_of(eventual, {"solver.momentum=0.2"}),
            "--set solver.momentum=0.2: solver.momentum needs replication.level = \"strong\"");
  EXPECT_EQ(error_of(eventual, {"replication.collective=grams"}),
            "--set replication.collective=grams: replication.collective = \"grams\" needs replication.level = "
            "\"strong\"");
  EXPECT_EQ(error_of(eventual, {"replication.max_lag=7"}),
            "--set replication.max_lag=7: replication.max_lag needs replication.level = \"bounded\"");
  EXPECT_EQ(error_of("", {"replication.sample_seconds=0.5"}),
            "--set replication.sample_seconds=0.5: replication.sample_seconds needs replication.level = \"bounded\" or "
            "\"eventual\"");
  EXPECT_EQ(error_of("", {"replication.window_kib=512"}),
            "--set replication.window_kib=512: replication.window_kib needs replication.level = \"bounded\" or "
            "\"eventual\"");
}

TEST(ConfigErrors, LevelsOfTables) {
  EXPECT_EQ(error_of("[replication.items]\nlevel = \"bounded\"\n"),
            "run.toml:6: replication.items.level needs replication.level = \"bounded\" or \"eventual\"");
  EXPECT_EQ(error_of("", {"replication.level=eventual", "replication.users.max_lag=3"}),
            "--set replication.users.max_lag=3: replication.users.max_lag needs replication.users.level = "
            "\"bounded\"");
  EXPECT_EQ(error_of("[replication.items]\nmax_lagg = 2\n"),
            "run.toml:6: unknown key replication.items.max_lagg; did you mean replication.items.max_lag?");
}

TEST(ConfigErrors, TablesOfLaterVersions) {
  const auto unsupported = [](const std::string& text) { return error_of(text, {}, ErrorCode::kUnsupported); };
  EXPECT_EQ(unsupported("[replication]\nreplicas = 2\n"),
            "run.toml:6: replication.replicas is not served by this version yet");
  EXPECT_EQ(unsupported("snapshots = \"s\"\n"), "run.toml:5: output.snapshots is not served by this version yet");
}

TEST(ConfigErrors, StoresAndTheirFiles) {
  EXPECT_EQ(error_of("[cluster]\nstore = \"etcd://here\"\n", {}),
            R"(run.toml:6: cluster.store is "embedded" or "etcd://HOST:PORT[,HOST:PORT...]", not "etcd://here")");
  EXPECT_EQ(error_of("", {"cluster.store=embedded://here:1"}),
            R"(--set cluster.store=embedded://here:1: cluster.store is "embedded" or )"
            R"("etcd://HOST:PORT[,HOST:PORT...]", not "embedded://here:1")");
  EXPECT_EQ(error_of("[security]\nprivate_key = \"key.pem\"\n", {}),
            "run.toml:6: security.certificate and security.private_key go together");
}

TEST(ConfigErrors, SyntaxNamesLineAndColumn) {
  const std::string open_text = error_of("[model]\nrank = \"64\n");
  EXPECT_EQ(open_text.find("run.toml:6:"), 0U) << open_text;
  const std::string twice = error_of("[model]\nrank = 1\nrank = 2\n");
  EXPECT_EQ(twice.find("run.toml:7:"), 0U) << twice;
  EXPECT_NE(twice.find("rank"), std::string::npos) << twice;
  const std::string bare = error_of("[solver]\nkind = als\n");
  EXPECT_EQ(bare.find("run.toml:6:8: "), 0U) << bare;
}

TEST(ConfigErrors, WhatIsNoConfigurationAtAll) {
  EXPECT_EQ(error_of(std::string(9000, '#')), "run.toml:5: a line of more than 8192 bytes");
  std::string big;
  while (big.size() < (std::size_t{1} << 20)) big += "# a line\n";
  EXPECT_EQ(error_of(big),
            "run.toml: " + std::to_string(kRequired.size() + big.size()) + " bytes are too many for a configuration");
  EXPECT_EQ(error_of("[model]\nwarm_start = \"a\\u0000b\"\n"),
            "run.toml:6: model.warm_start has a NUL character in it");
}

TEST(ConfigErrors, StayOneLineWhateverTheTextHolds) {
  EXPECT_EQ(error_of("[model]\n\"ra\\nnk\" = 3\n"),
            R"(run.toml:6: unknown key model."ra\u000Ank"; did you mean model.rank?)");
  EXPECT_EQ(error_of("", {"ra\nnk=3"}), "--set ra?nk=3: unknown key ra?nk; did you mean model.rank?");
  EXPECT_EQ(error_of("[solver]\nkind = \"a\\nls\"\n"),
            R"(run.toml:6: solver.kind "a\u000Als" is not one of als, subspace, sgd; did you mean "als"?)");
  const std::string metric = error_of("[evaluate]\nmetrics = [\"a\\nb\"]\n");
  EXPECT_EQ(metric.find('\n'), std::string::npos) << metric;
  EXPECT_EQ(error_of("[model]\nrank = \"" + std::string(100, 'x') + "\"\n"),
            "run.toml:6: model.rank must be a whole number, not text (\"" + std::string(80, 'x') + "...\")");
}

TEST(ConfigErrors, AQuotedKeyWithADotIsNoKeyOfATable) {
  EXPECT_EQ(error_of("\"model.rank\" = 3\n"),
            "run.toml:5: unknown key output.\"model.rank\"; did you mean model.rank?");
}

TEST(ConfigErrors, DeepTablesAreRefusedByTheirOutermostUnknown) {
  std::string deep = "[model.a";
  for (int k = 0; k < 4000; ++k) deep += ".a";
  EXPECT_EQ(error_of(deep + "]\n"), "run.toml:5: unknown table [model.a]; did you mean [model]?");
}

TEST(ConfigErrors, Files) {
  const auto message = [](const std::filesystem::path& path) {
    try {
      (void)load_config(path, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBadInput);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message("no/such/run.toml"), "no/such/run.toml: there is no such configuration file");
  EXPECT_EQ(message("/"), "/: is a directory, not a file");
}

}  // namespace
}  // namespace concerto::test
