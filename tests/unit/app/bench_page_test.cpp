// The page of a sweep: one file that loads nothing and that no text of the results can break, of whatever results there
// are.
#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"

#include "../src/app/bench/page.hpp"
#include "../src/app/report.hpp"
#include "program.hpp"

namespace concerto {
namespace {

using bench::page_of;
using testing::HasSubstr;
using testing::Not;

/// A sweep of one case, one level and one run, made by hand. `name` and `runs` are JSON.
std::string results(const std::string& name, const std::string& runs) {
  return R"({"format": "concerto bench 1", "name": )" + name +
         R"(, "about": "made by hand", "command": "concerto bench sweep.toml", "version": "0.1.0", "commit": null,
             "begun": "2026-01-02T03:04:05Z", "machine": {"cpu": "none", "threads": 1, "memory_bytes": 1},
             "repeats": 1, "target_within": 0.001,
             "cases": [{"name": "one", "title": "One", "about": "", "ranks": 2, "data": "none", "metric": "rmse",
               "smaller_is_better": true, "solver": "als", "epochs": 2, "baseline": "strong", "network": null,
               "stragglers": null, "pace": 0, "encrypted": true, "limits": [], "compute_to_bytes": null,
               "levels": [{"name": "strong", "level": "strong", "max_lag": null, "settings": [], "runs": )" +
         runs + R"(, "summary": {"runs": 0, "void": 0, "failed": 0, "ratio": null, "time_to_target": null,
                 "final_metric": null, "quality_difference": null, "bytes": null, "within_limit": null}}]}]})";
}

const std::string kRun =
    R"([{"repeat": 0, "ended": "done", "why": "", "seconds": 2, "final_metric": 0.5, "time_to_target": 1, "ratio": 1,
         "curve": [[1, 0.6], [2, 0.5]], "epochs": 2, "pacing_error": null, "compute_seconds": [1, 1],
         "blocked_seconds": [], "bytes_by_kind": {"put": 10}, "lag": null, "visibility_ms": null,
         "consistency_index": []}])";

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// What a browser takes for the results: all up to the end of their script.
std::string embedded(const std::string& page) {
  const std::string opening = R"(<script type="application/json" id="results">)";
  const std::size_t begin = page.find(opening) + opening.size();
  return page.substr(begin, page.find("</script", begin) - begin);
}

TEST(BenchPageTest, ItLoadsNothing) {
  const std::string page = page_of(results("\"a sweep\"", kRun));
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  for (const char* loading : {" src=", " href=", "url(", "@import", "<link", "<img", "<iframe", "sourceMappingURL",
                              "XMLHttpRequest", "fetch(", "import("}) {
    EXPECT_THAT(page, Not(HasSubstr(loading)));
  }
}

TEST(BenchPageTest, ItHoldsChartJsWithItsLicense) {
  const std::string page = page_of(results("\"a sweep\"", kRun));
  EXPECT_THAT(page, HasSubstr("Chart.js v"));
  EXPECT_THAT(page, HasSubstr("Permission is hereby granted, free of charge"));
  EXPECT_THAT(page, Not(HasSubstr("{{")));
  EXPECT_EQ(count(page, "<script"), 5U);
  EXPECT_EQ(count(page, "</script>"), 5U);
}

TEST(BenchPageTest, ItHoldsEachOfItsFilesAsItIs) {
  const char* const source = std::getenv("CONCERTO_SOURCE");
  if (source == nullptr) GTEST_SKIP() << "SKIPPED: CONCERTO_SOURCE does not name the repository";
  const std::string page = page_of(results("\"a sweep\"", kRun));
  for (const char* name : {"page.css", "text.js", "charts.js", "page.js"}) {
    const std::string file = read_file(std::filesystem::path(source) / "src/app/bench/page" / name);
    EXPECT_NE(page.find(file), std::string::npos) << name;
  }
}

TEST(BenchPageTest, TheResultsAreInItWhole) {
  const std::string json = embedded(page_of(results("\"a sweep\"", kRun)));
  EXPECT_EQ(json_text(json, "/name"), "a sweep");
  EXPECT_EQ(json_number(json, "/cases/0/levels/0/runs/0/curve/1/1"), 0.5);
  EXPECT_EQ(json_leaves(json, "page"), json_leaves(results("\"a sweep\"", kRun), "results"));
}

TEST(BenchPageTest, NoTextBreaksOut) {
  const std::string name = "</script><script>alert(1)</script><!--<script> {{page.js}} & \\\" ";
  const std::string page =
      page_of(results("\"</script><script>alert(1)</script><!--<script> {{page.js}} & \\\\\\\" \"", kRun));
  EXPECT_EQ(count(page, "<script"), 5U);
  EXPECT_EQ(count(page, "</script"), 5U);
  EXPECT_THAT(page, Not(HasSubstr("alert(1)<")));
  EXPECT_EQ(json_text(embedded(page), "/name"), name);
}

TEST(BenchPageTest, IncompleteResultsGiveAPage) {
  EXPECT_THAT(page_of(R"({"format": "concerto bench 1", "cases": []})"), HasSubstr("</html>"));
  EXPECT_THAT(page_of(results("\"begun\"", "[]")), HasSubstr("</html>"));
  EXPECT_THAT(page_of(results("\"failed\"", R"([{"repeat": 0, "ended": "failed", "why": "rank 1 died"}])")),
              HasSubstr("rank 1 died"));
  EXPECT_THAT(page_of(R"({"format": "concerto bench 1", "cases": [{"name": "a", "levels": []}]})"),
              HasSubstr("</html>"));
}

TEST(BenchPageTest, NonsenseIsRefusedWithItsPlace) {
  const auto refused = [](const std::string& text, const std::string& words) {
    try {
      static_cast<void>(page_of(text));
      ADD_FAILURE() << "taken: " << text.substr(0, 60);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(words));
    }
  };
  const auto with_cases = [](const std::string& cases) {
    return R"({"format": "concerto bench 1", "cases": )" + cases + "}";
  };
  refused("", "is not JSON");
  refused("{\"format\": ", "is not JSON");
  refused("{\"format\": \"\xff\"}", "is not JSON");
  refused("{\"format\": 1e999}", "is not JSON");
  refused(std::string(100000, '['), "nested");
  refused("[]", "is not an object");
  refused("{}", "format 'concerto bench 1'");
  refused(R"({"format": "concerto bench 2", "cases": []})", "format 'concerto bench 1'");
  refused(R"({"format": "concerto bench 1"})", "cases is not a list");
  refused(with_cases("[{\"name\": \"a\", \"levels\": []}, 3]"), "cases[1] is not an object");
  refused(with_cases(R"([{"levels": []}])"), "cases[0].name is not a text");
  refused(with_cases(R"([{"name": "a", "levels": {}}])"), "cases[0].levels is not a list");
  refused(with_cases(R"([{"name": "a", "levels": [{"name": 1, "runs": []}]}])"),
          "cases[0].levels[0].name is not a text");
  refused(with_cases(R"([{"name": "a", "levels": [{"name": "b"}]}])"), "cases[0].levels[0].runs is not a list");
  refused(results("\"a\"", "[{}]"), "cases[0].levels[0].runs[0].ended is not a text");
}

class BenchPageCommandTest : public test::ProgramTest {};

TEST_F(BenchPageCommandTest, ItWritesThePageOfAFile) {
  write("results.json", results("\"a sweep\"", kRun));
  const test::Finished finished = test::run({"bench-page", path("results.json"), "--out", path("page.html")});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_EQ(finished.out, "page written to " + path("page.html") + "\n");
  EXPECT_EQ(read_file(path("page.html")), page_of(results("\"a sweep\"", kRun)));
}

TEST_F(BenchPageCommandTest, WhatIsNoResultsFileIsNamedAndNothingIsWritten) {
  const auto refused = [&](const std::string& file, const std::string& out, const std::string& words) {
    const auto before = names();
    const test::Finished finished = test::run({"bench-page", file, "--out", out});
    EXPECT_EQ(finished.status, 2);
    ASSERT_EQ(finished.errors().size(), 1U) << finished.err;
    EXPECT_THAT(finished.errors()[0], HasSubstr(words));
    EXPECT_EQ(names(), before);
  };
  const std::string good = write("results.json", results("\"a sweep\"", kRun));
  const std::string bad = write("bad.json", "{\"format\": \"concerto bench 1\"}");
  refused(bad, path("page.html"), bad + ": cases is not a list");
  refused(path("none.json"), path("page.html"), "there is no file " + path("none.json"));
  refused(scratch_.string(), path("page.html"), "there is no file " + scratch_.string());
  refused(good, scratch_.string(), "is a directory");
  refused(good, good, "--out");
}

}  // namespace
}  // namespace concerto
