// Sweep files: what a good one means, and that what is wrong with another is said whole, with file and line.
#include "concerto/config/sweep.hpp"

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

namespace concerto::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

/// Lines 1 and 2.
const std::string kRequired = "name = \"small\"\ntrain = \"run.toml\"\n";
/// A case that is whole, of five lines.
const std::string kCase = R"([[case]]
name = "one"
[[case.level]]
name = "strong"
settings = ["replication.level=strong"]
)";

std::string error_of(const std::string& text) {
  try {
    (void)parse_sweep(text, "sweep.toml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    return error.what();
  }
  ADD_FAILURE() << "no error for: " << text;
  return {};
}

TEST(ParseSweep, ReadsEveryKey) {
  const Sweep sweep = parse_sweep(R"(
name = "every-key_1"
about = "What it is for."
repeats = 3
target_within = 0.01
train = "configs/x.toml"
settings = ["solver.epochs=12", "compute.threads = 1"]

[[level]]
name = "strong"
settings = ["replication.level=strong"]
[[level]]
name = "eventual"
settings = ["replication.level=eventual"]

[[case]]
name = "slow"
title = "One is slow"
about = "Because."
ranks = 2
settings = ["emulation.slow_ranks=1"]
limits = [{level = "eventual", at_most = 0.6, aim = 0.5}]
network = {delay_ms = 20, jitter_ms = 1.5, rate_mbit = 100}

[[case]]
name = "own"
baseline = "tls"
limits = [{level = "plain", at_most = 1}]
[[case.level]]
name = "tls"
[[case.level]]
name = "plain"
settings = ["security.plain_channel=true"]
)",
                                  "sweep.toml");
  EXPECT_EQ(sweep.name, "every-key_1");
  EXPECT_EQ(sweep.about, "What it is for.");
  EXPECT_EQ(sweep.repeats, 3U);
  EXPECT_EQ(sweep.target_within, 0.01);
  EXPECT_EQ(sweep.train, "configs/x.toml");
  EXPECT_THAT(sweep.settings, ElementsAre("solver.epochs=12", "compute.threads = 1"));
  ASSERT_EQ(sweep.cases.size(), 2U);
  const SweepCase& slow = sweep.cases[0];
  EXPECT_EQ(slow.title, "One is slow");
  EXPECT_EQ(slow.about, "Because.");
  EXPECT_EQ(slow.ranks, 2U);
  EXPECT_EQ(slow.baseline, "strong");
  EXPECT_THAT(slow.settings, ElementsAre("emulation.slow_ranks=1"));
  ASSERT_EQ(slow.limits.size(), 1U);
  EXPECT_EQ(slow.limits[0].level, "eventual");
  EXPECT_EQ(slow.limits[0].at_most, 0.6);
  EXPECT_THAT(slow.limits[0].aim, Optional(0.5));
  ASSERT_TRUE(slow.network);
  EXPECT_EQ(slow.network->delay_ms, 20.0);
  EXPECT_EQ(slow.network->jitter_ms, 1.5);
  EXPECT_EQ(slow.network->rate_mbit, 100.0);
  ASSERT_EQ(slow.levels.size(), 2U) << "those of the sweep";
  EXPECT_EQ(slow.levels[1].name, "eventual");
  const SweepCase& own = sweep.cases[1];
  EXPECT_EQ(own.title, "own");
  EXPECT_EQ(own.ranks, 4U);
  EXPECT_FALSE(own.network);
  EXPECT_FALSE(own.limits[0].aim);
  ASSERT_EQ(own.levels.size(), 2U);
  EXPECT_THAT(own.levels[0].settings, IsEmpty());
  EXPECT_THAT(own.levels[1].settings, ElementsAre("security.plain_channel=true"));
}

TEST(ParseSweep, DefaultsAreThoseOfTheStruct) {
  const Sweep sweep = parse_sweep(kRequired + kCase, "sweep.toml");
  EXPECT_EQ(sweep.repeats, 5U);
  EXPECT_EQ(sweep.target_within, 0.001);
  EXPECT_THAT(sweep.cases.front().limits, IsEmpty());
}

struct Case {
  std::string name;
  std::string text;
  std::string message;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

class SweepError : public testing::TestWithParam<Case> {};

TEST_P(SweepError, SaysWhatIsWrong) {
  EXPECT_EQ(error_of(GetParam().text), GetParam().message);
}

const auto kName = [](const auto& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(
    Document, SweepError,
    testing::Values(
        Case{"Key", kRequired + "repeat = 3\n" + kCase, "sweep.toml:3: unknown key repeat; did you mean repeats?"},
        Case{"Syntax", "name = \n", "sweep.toml:1:8: Error while parsing key-value pair: expected value, saw '\\n'"},
        Case{"NoName", "train = \"x\"\n" + kCase, "sweep.toml: name is required: what the sweep is called"},
        Case{"NoTrain", "name = \"x\"\n" + kCase, "sweep.toml: train is required: the configuration file of each run"},
        Case{"NoCase", kRequired, "sweep.toml: case is required: at least one [[case]]"},
        Case{"CaseIsNoList", kRequired + "[case]\nname = \"x\"\n",
             "sweep.toml:3: case must be a list of tables, not a table"},
        Case{"NameIsNoFolder", "name = \"a/b\"\n",
             "sweep.toml:1: name must be 1 to 64 letters, digits, '-' and '_', not \"a/b\""},
        Case{"Repeats", kRequired + "repeats = 0\n" + kCase, "sweep.toml:3: repeats must be from 1 to 1000, not 0"},
        Case{"RepeatsText", kRequired + "repeats = \"five\"\n" + kCase,
             "sweep.toml:3: repeats must be a whole number, not text (\"five\")"},
        Case{"Within", kRequired + "target_within = 1\n" + kCase,
             "sweep.toml:3: target_within must be above 0 and below 1, not 1"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    Settings, SweepError,
    testing::Values(
        Case{"Key", kRequired + "settings = [\"model.rnak=3\"]\n" + kCase,
             "sweep.toml:3: unknown key model.rnak in a setting; did you mean model.rank?"},
        Case{"NoValue", kRequired + "settings = [\"model.rank\"]\n" + kCase,
             "sweep.toml:3: a setting is written table.key=value, not \"model.rank\""},
        Case{"NoText", kRequired + "settings = [3]\n" + kCase,
             "sweep.toml:3: settings must be a list of texts; one of them is not text"},
        Case{"NoList", kRequired + "settings = \"model.rank=3\"\n" + kCase,
             "sweep.toml:3: settings must be a list of settings, such as [\"solver.epochs=12\"], not text "
             "(\"model.rank=3\")"},
        Case{"Runners", kRequired + kCase + "[[case]]\nname = \"b\"\nsettings = [\"output.model=x\"]\n",
             "sweep.toml:10: output.model is decided by the runner and cannot be set"},
        Case{"RunnersOfANetwork",
             kRequired + "[[case]]\nname = \"b\"\nnetwork = {delay_ms = 1}\nsettings = [\"cluster.channel_port=9\"]\n" +
                 "level = [{name = \"strong\"}]\n",
             "sweep.toml:6: cluster.channel_port is decided by the runner where a case has a network, and cannot be "
             "set"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    Cases, SweepError,
    testing::Values(
        Case{"Key", kRequired + kCase + "[[case]]\nname = \"b\"\nlimit = []\n",
             "sweep.toml:10: unknown key limit of [[case]]; did you mean limits?"},
        Case{"Twice", kRequired + kCase + kCase, "sweep.toml:8: case one is there twice"},
        Case{"NoName", kRequired + "[[case]]\nranks = 2\n", "sweep.toml:3: [[case]] name is required"},
        Case{"NoLevels", kRequired + "[[case]]\nname = \"b\"\n",
             "sweep.toml:3: case b has no levels: give [[case.level]], or [[level]] for all cases"},
        Case{"LevelTwice", kRequired + kCase + "[[case.level]]\nname = \"strong\"\n",
             "sweep.toml:9: level strong is there twice"},
        Case{"Baseline", kRequired + "[[case]]\nname = \"b\"\nbaseline = \"storng\"\nlevel = [{name = \"strong\"}]\n",
             "sweep.toml:5: case b has no level \"storng\"; did you mean strong?"},
        Case{"DefaultBaseline", kRequired + "[[case]]\nname = \"b\"\nlevel = [{name = \"eventual\"}]\n",
             "sweep.toml:3: case b has no level \"strong\"; did you mean eventual?"},
        Case{"Ranks", kRequired + "[[case]]\nname = \"b\"\nranks = 0\n",
             "sweep.toml:5: ranks must be from 1 to 4096, not 0"},
        Case{"LimitOfNoLevel",
             kRequired + "[[case]]\nname = \"b\"\nlimits = [{level = \"x\", at_most = 1}]\n" +
                 "level = [{name = \"strong\"}]\n",
             "sweep.toml:5: case b has no level \"x\"; did you mean strong?"},
        Case{"LimitOfTheBaseline",
             kRequired + "[[case]]\nname = \"b\"\nlimits = [{level = \"strong\", at_most = 1}]\n" +
                 "level = [{name = \"strong\"}]\n",
             "sweep.toml:5: strong is the baseline, which is held against itself"},
        Case{"LimitWithoutNumber",
             kRequired + "[[case]]\nname = \"b\"\nlimits = [{level = \"e\"}]\n" +
                 "level = [{name = \"strong\"}, {name = \"e\"}]\n",
             "sweep.toml:5: limits at_most is required"},
        Case{"AimAboveLimit",
             kRequired + "[[case]]\nname = \"b\"\nlimits = [{level = \"e\", at_most = 0.5, aim = 0.6}]\n" +
                 "level = [{name = \"strong\"}, {name = \"e\"}]\n",
             "sweep.toml:5: aim must be at most at_most (0.5), not 0.6"},
        Case{"NetworkKey", kRequired + "[[case]]\nname = \"b\"\nnetwork = {delay = 3}\nlevel = [{name = \"strong\"}]\n",
             "sweep.toml:5: unknown key delay of network; did you mean delay_ms?"},
        Case{"NetworkIsNoTable", kRequired + "[[case]]\nname = \"b\"\nnetwork = 3\nlevel = [{name = \"strong\"}]\n",
             "sweep.toml:5: network must be a table, not a whole number (3)"}),
    kName);

TEST(LoadSweep, NamesAFileThatIsNotThere) {
  try {
    (void)load_sweep("no/such.toml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "no/such.toml: there is no such sweep file");
  }
}

}  // namespace
}  // namespace concerto::test
