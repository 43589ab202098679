// results.json as its readers know it, and reports as `train` writes them.
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "concerto/base/error.hpp"

#include "bench/results.hpp"

namespace concerto::bench {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using Json = nlohmann::json;

Results small_results() {
  Results results;
  results.name = "small";
  results.begun = "2026-12-01T05:00:00Z";
  results.repeats = 1;
  results.target_within = 0.001;
  CaseRecord record;
  record.of.name = "one-slow";
  record.of.title = "One is slow";
  record.of.limits = {{"eventual", 0.6, 0.5}, {"bounded", 0.8, {}}};
  record.of.network = SweepNetwork{20.0, 0.0, 100.0};
  record.metric = "rmse";
  record.stragglers = Stragglers{1, 3.0, 1.0};
  record.levels = {{{"strong", {}}, "strong", {}, {}, {}},
                   {{"eventual", {"replication.level=eventual"}}, "eventual", {}, {}, {}}};
  RunRecord run;
  run.facts.seconds = 4.0;
  run.facts.final_metric = 0.85;
  run.facts.epochs = 3;
  run.facts.pacing_errors = {0.01, 0.02};
  run.facts.bytes_by_kind = {{"put", 5}};
  run.facts.lag = LagFacts{{3, 1}, 1, {0.75, 1.0}};
  run.facts.visibility = VisibilityFacts{1.5, 9.0, 7};
  run.facts.consistency_index = {{1.0, 0.77}};
  run.curve = {{1.0, 1.0}, {2.0, 0.85}};
  RunRecord failed;
  failed.ended = Ended::kFailed;
  failed.why = "rank 1 is dead";
  record.levels[1].runs = {run, failed};
  record.levels[0].runs = {run};
  conclude(record, 0.001);
  results.cases.push_back(record);
  return results;
}

TEST(ResultsToJson, HasEveryField) {
  const Json json = Json::parse(to_json(small_results()));
  EXPECT_EQ(json["format"], "concerto bench 1");
  EXPECT_EQ(json["commit"], nullptr);
  const Json& of = json["cases"][0];
  EXPECT_EQ(of["network"], Json::parse(R"({"delay_ms": 20.0, "jitter_ms": 0.0, "rate_mbit": 100.0})"));
  EXPECT_EQ(of["stragglers"], Json::parse(R"({"ranks": 1, "factor": 3.0, "share": 1.0})"));
  EXPECT_EQ(of["limits"], Json::parse(R"([{"level": "eventual", "at_most": 0.6, "aim": 0.5},
                                          {"level": "bounded", "at_most": 0.8}])"));
  const Json& level = of["levels"][1];
  EXPECT_EQ(level["max_lag"], nullptr);
  EXPECT_EQ(level["settings"], Json::parse(R"(["replication.level=eventual"])"));
  const Json& run = level["runs"][0];
  EXPECT_EQ(run["ended"], "done");
  EXPECT_EQ(run["curve"], Json::parse("[[1.0, 1.0], [2.0, 0.85]]"));
  EXPECT_EQ(run["time_to_target"], 2.0);
  EXPECT_EQ(run["ratio"], 1.0);
  EXPECT_EQ(run["pacing_error"], 0.02);
  EXPECT_EQ(run["bytes_by_kind"], Json::parse(R"({"put": 5})"));
  EXPECT_EQ(run["lag"], Json::parse(R"({"histogram": [3, 1], "max": 1, "at_most": [0.75, 1.0]})"));
  EXPECT_EQ(run["visibility_ms"], Json::parse(R"({"p50": 1.5, "p99": 9.0, "samples": 7})"));
  EXPECT_EQ(run["consistency_index"], Json::parse("[[1.0, 0.77]]"));
  const Json& failed = level["runs"][1];
  EXPECT_EQ(failed["ended"], "failed");
  EXPECT_EQ(failed["final_metric"], nullptr);
  EXPECT_EQ(failed["why"], "rank 1 is dead");
  EXPECT_EQ(failed["lag"], nullptr);
  EXPECT_EQ(level["summary"], Json::parse(R"({"runs": 1, "void": 0, "failed": 1,
    "ratio": {"median": 1.0, "low": 1.0, "high": 1.0}, "time_to_target": {"median": 2.0, "low": 2.0, "high": 2.0},
    "final_metric": {"median": 0.85, "low": 0.85, "high": 0.85}, "quality_difference": 0.0, "bytes": 5.0,
    "within_limit": false})"));
}

TEST(SweepOf, KnowsResults) {
  EXPECT_EQ(sweep_of(to_json(small_results())), "small");
  EXPECT_FALSE(sweep_of("{}"));
  EXPECT_FALSE(sweep_of("{"));
  EXPECT_FALSE(sweep_of("[]"));
}

TEST(FactsOf, ReadsWhatIsThere) {
  const RunFacts facts = facts_of(R"({"final": {"metrics": {"mae": 0.6, "rmse": 0.8}, "kept_epoch": 12},
    "replication": {"seconds": 7.5, "compute_seconds": 5.0, "bytes_sent": [10, 20], "blocked_seconds": [0.5, 1],
      "pacing": {"error": 0.06, "errors": [0.01, 0.06]}, "compute_seconds_of_ranks": [5, 6],
      "bytes_by_kind": {"put": 7, "status": 1}, "lag": {"max": 1, "at_most": [0.5, 1], "histogram": [2, 2]},
      "visibility_ms": {"p50": 1, "p99": 2, "samples": 3}, "consistency_index": [[0.5, 0.9], [1, 0.8]]}})",
                                  "rmse");
  EXPECT_EQ(facts.final_metric, 0.8);
  EXPECT_EQ(facts.epochs, 12U);
  EXPECT_EQ(facts.seconds, 7.5);
  EXPECT_EQ(facts.bytes_sent_by_first, 30U);
  EXPECT_EQ(facts.compute_seconds_of_first, 5.0);
  EXPECT_THAT(facts.pacing_errors, ElementsAre(0.01, 0.06));
  EXPECT_THAT(facts.compute_seconds, ElementsAre(5.0, 6.0));
  EXPECT_THAT(facts.blocked_seconds, ElementsAre(0.5, 1.0));
  EXPECT_THAT(facts.bytes_by_kind, ElementsAre(Pair("put", 7), Pair("status", 1)));
  ASSERT_TRUE(facts.lag);
  EXPECT_THAT(facts.lag->histogram, ElementsAre(2, 2));
  EXPECT_EQ(facts.visibility->samples, 3U);
  EXPECT_THAT(facts.consistency_index, ElementsAre(Pair(0.5, 0.9), Pair(1.0, 0.8)));
}

TEST(FactsOf, LeavesOutWhatIsNot) {
  const RunFacts facts = facts_of(R"({"final": {"metrics": {"rmse": 1}}, "replication": {"lag": 3,
    "visibility_ms": {"p50": null, "p99": null, "samples": 0}}})",
                                  "rmse");
  EXPECT_EQ(facts.seconds, 0.0);
  EXPECT_THAT(facts.bytes_by_kind, IsEmpty());
  EXPECT_FALSE(facts.lag);
  EXPECT_FALSE(facts.visibility);
  for (const char* text : {"", "{}", "[]", "3", R"({"final": {"metrics": {"mae": 1}}})"}) {
    EXPECT_THROW((void)facts_of(text, "rmse"), Error) << text;
  }
}

}  // namespace
}  // namespace concerto::bench
