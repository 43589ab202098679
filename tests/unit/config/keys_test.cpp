// The table of keys against everything that is made from it: defaults, JSON, documentation, the committed files.
#include <algorithm>
#include <cstdlib>
#include <set>

#include <gmock/gmock.h>

#include "concerto/base/file.hpp"
#include "concerto/config/sweep.hpp"
#include "concerto/data/reader.hpp"

#include "config_support.hpp"

namespace concerto::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// The repository, or nothing where the test is started by hand without CONCERTO_SOURCE.
std::filesystem::path source_folder() {
  const char* folder = std::getenv("CONCERTO_SOURCE");
  return folder == nullptr ? std::filesystem::path() : std::filesystem::path(folder);
}

const ConfigKey& key(const std::string& name) {
  const auto& keys = config_keys();
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& one) { return one.name == name; });
  EXPECT_NE(found, keys.end()) << name;
  return *found;
}

TEST(ConfigKeys, AreDistinctAndExplained) {
  std::set<std::string> names;
  for (const ConfigKey& one : config_keys()) {
    EXPECT_TRUE(names.insert(one.name).second) << one.name << " is there twice";
    EXPECT_FALSE(one.help.empty()) << one.name;
    EXPECT_EQ(one.help.find('\n'), std::string::npos) << one.name;
  }
  EXPECT_EQ(names.size(), 79U);
}

TEST(ConfigKeys, DefaultsShownAreThoseOfADefaultConfig) {
  EXPECT_EQ(key("model.rank").default_text, "64");
  EXPECT_EQ(key("model.regularization").default_text, "0.05");
  EXPECT_EQ(key("model.biases").default_text, "false");
  EXPECT_EQ(key("solver.kind").default_text, "\"als\"");
  EXPECT_EQ(key("solver.momentum").default_text, "0.0");
  EXPECT_EQ(key("data.split.by").default_text, "\"random\"");
  EXPECT_EQ(key("data.train").default_text, "");
  EXPECT_EQ(key("data.split.test").default_text, "");
  EXPECT_EQ(key("data.validation").default_text, "");
  EXPECT_EQ(key("model.alpha").default_text, "");
}

TEST(ConfigKeys, FormatsAreThoseOfTheReaders) {
  for (const std::string& format : file_format_names()) {
    EXPECT_EQ(parse("", {"data.format=" + format}).data.format, format);
  }
  EXPECT_THAT(error_of("", {"data.format=unheard_of"}),
              HasSubstr("is not one of auto, text, adjacency, matrix_market, libmf, npz;"));
}

TEST(ConfigKeys, WritingEveryDefaultOutChangesNothing) {
  std::string written = "data.train = \"in.txt\"\noutput.model = \"out\"\n";
  for (const ConfigKey& one : config_keys()) {
    const bool depends = one.name == "model.values" || one.name == "model.confidence";  // implicit only
    if (one.default_text.empty() || depends || one.name.starts_with("data.split.")) continue;
    written += one.name + " = " + one.default_text + "\n";
  }
  Config plain;
  plain.data.train = "in.txt";
  plain.output.model = "out";
  EXPECT_EQ(config_to_json(parse_config(written, "run.toml", {})), config_to_json(plain));
}

TEST(ConfigToJson, HasEveryKeyWithDefaultsFilledIn) {
  Config config;
  config.data.train = "in.txt";
  config.output.model = "out";
  EXPECT_EQ(
      config_to_json(config),
      R"({"data": {"train": "in.txt", "test": null, "validation": null, "format": "auto", "duplicates": "last", )"
      R"("min_value": null, "users": 0, "items": 0, "split": null}, )"
      R"("model": {"objective": "explicit", "rank": 64, "biases": false, "bias_regularization": null, )"
      R"("regularization": 0.05, "regularization_exponent": 1.0, "values": "ignore", "unobserved_weight": null, )"
      R"("alpha": null, "confidence": "one_plus", "nonnegative": false, "seed": 1, "init_stddev": 0.1, )"
      R"("warm_start": null}, )"
      R"("solver": {"kind": "als", "inner": "cg", "cg_steps": 3, "slice": 128, "momentum": 0.0, "epochs": 15, )"
      R"("learning_rate": 0.05, "decay": 0.0, "stop_after": 0, "stop_metric": null}, )"
      R"("compute": {"backend": "auto", "threads": 0, "deterministic": false, "gather": "bf16", )"
      R"("memory_limit_bytes": 0}, )"
      R"("replication": {"level": "strong", "max_lag": 2, "collective": "auto", "rounds": 0, "digest_every": 5, )"
      R"("window_kib": 1024, "sample_seconds": 1.0, )"
      R"("items": {"level": "same", "max_lag": 2}, "users": {"level": "same", "max_lag": 2}}, )"
      R"("cluster": {"store": "embedded", "collectives": "auto", "network_interface": null, "channel_port": 0, )"
      R"("channel_reached_at": null, "meet_limit_ms": 60000, )"
      R"("operation_limit_ms": 120000, "heartbeat_ms": 1000, "dead_after_ms": 5000, "stalled_after_ms": 30000}, )"
      R"("security": {"require_encryption": false, "trusted_fabric": false, "plain_channel": false, "authority": null, "certificate": null, )"
      R"("private_key": null, "credentials": null}, )"
      R"("evaluate": {"metrics": ["rmse", "mae"], "every": 1, "clip": "none"}, )"
      R"("output": {"model": "out", "report": null, "versions": null}, )"
      R"("emulation": {"pace": 0.0, "slow_ranks": 0, "slow_factor": 1.0, "slow_share": 1.0, "seed": 1}})");
}

TEST(ConfigToJson, ShowsASplitAndAShare) {
  const std::string json =
      config_to_json(parse("", {"data.split={test = 0.25, by = \"user\"}", "data.validation=0.1"}));
  EXPECT_THAT(json, HasSubstr(R"("split": {"test": 0.25, "by": "user", "seed": 1})"));
  EXPECT_THAT(json, HasSubstr(R"("validation": 0.1,)"));
  EXPECT_THAT(config_to_json(parse("", {"data.validation=v.txt"})), HasSubstr(R"("validation": "v.txt",)"));
}

TEST(ConfigToJson, EscapesText) {
  Config config;
  config.data.train = "a\"b\\c\n\x01\x7f d\xc3\xa9 \xff\xed\xa0\x80 \xf0\x9f\x8e\xb5";
  EXPECT_THAT(config_to_json(config),
              HasSubstr("\"train\": \"a\\\"b\\\\c\\u000A\\u0001\\u007F d\xc3\xa9 \\uFFFD\\uFFFD\\uFFFD\\uFFFD "
                        "\xf0\x9f\x8e\xb5\""));
}

TEST(ConfigToJson, NumbersThatJsonLacksAreNull) {
  Config config;
  config.model.regularization = std::numeric_limits<double>::infinity();
  EXPECT_THAT(config_to_json(config), HasSubstr("\"regularization\": null"));
  config.model.regularization = 1e300;
  EXPECT_THAT(config_to_json(config), HasSubstr("\"regularization\": 1e+300"));
  config.model.regularization = 0.1 + 0.2;
  EXPECT_THAT(config_to_json(config), HasSubstr("\"regularization\": 0.30000000000000004"));
}

std::string documented_row(const ConfigKey& one) {
  const std::string shown = one.default_text.empty() ? "" : "`" + one.default_text + "`";
  return "| `" + one.name + "` | " + shown + " | " + one.help + " |\n";
}

TEST(Documentation, ListsEveryKeyAndDefault) {
  if (source_folder().empty()) GTEST_SKIP() << "SKIPPED: CONCERTO_SOURCE does not name the repository";
  std::string table = "| key | default | meaning |\n|---|---|---|\n";
  for (const ConfigKey& one : config_keys()) table += documented_row(one);
  EXPECT_THAT(read_file(source_folder() / "configs" / "README.md"), HasSubstr(table))
      << "configs/README.md must have this table:\n"
      << table;
}

/// Every run of a sweep has a configuration that is right.
void check_sweep(const Sweep& sweep) {
  for (const SweepCase& one : sweep.cases) {
    for (const SweepLevel& level : one.levels) {
      std::vector<std::string> settings = sweep.settings;
      settings.insert(settings.end(), one.settings.begin(), one.settings.end());
      settings.insert(settings.end(), level.settings.begin(), level.settings.end());
      const Config config = load_config(source_folder() / sweep.train, settings);
      EXPECT_TRUE(!one.network || config.cluster.collectives == "channel") << one.name << ", " << level.name;
    }
  }
}

TEST(CommittedConfigurations, AreValidAndCommented) {
  if (source_folder().empty()) GTEST_SKIP() << "SKIPPED: CONCERTO_SOURCE does not name the repository";
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(source_folder() / "configs")) {
    if (file.path().extension() != ".toml") continue;
    names.insert(file.path().filename().string());
    EXPECT_EQ(read_file(file.path()).front(), '#') << file.path() << " must say what it is for";
    if (file.path().stem().string().ends_with("-sweep")) {
      check_sweep(load_sweep(file.path()));
      continue;
    }
    const Config config = load_config(file.path(), {});
    EXPECT_THAT(config.output.model, Not(testing::IsEmpty())) << file.path();
  }
  for (const char* name : {"quickstart.toml", "movielens-1m-explicit.toml", "movielens-1m-als.toml",
                           "movielens-1m-implicit.toml", "large-rank-subspace.toml", "consistency-sweep.toml"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

}  // namespace
}  // namespace concerto::test
