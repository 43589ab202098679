// The command line inside the process: what commands print, and that wrong arguments end with one line and status 2.
#include <map>

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "concerto/base/file.hpp"

#include "../src/app/report.hpp"
#include "program.hpp"

namespace concerto {
namespace {

using test::Finished;
using test::run;
using testing::ElementsAre;
using testing::HasSubstr;

class CliTest : public test::ProgramTest {
 protected:
  void train_model() {
    write_ratings("ratings.txt");
    const Finished trained = run(train_arguments());
    ASSERT_EQ(trained.status, 0) << trained.err;
  }
  void expect_refused(const std::vector<std::string>& arguments, const std::string& words) {
    const auto before = names();
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.status, 2) << finished.err;
    EXPECT_EQ(finished.out, "");
    ASSERT_EQ(finished.errors().size(), 1U) << finished.err;
    EXPECT_THAT(finished.errors()[0], HasSubstr(words));
    EXPECT_EQ(names(), before);
  }
};

TEST_F(CliTest, VersionAndHelp) {
  EXPECT_THAT(run({"--version"}).out, testing::StartsWith("concerto 0."));
  const Finished help = run({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* command :
       {"train", "evaluate", "recommend", "similar", "inspect", "export", "prepare", "synth", "bench", "bench-page"}) {
    EXPECT_THAT(help.out, HasSubstr(std::string("\n  ") + command)) << command;
    const Finished one = run({command, "--help"});
    EXPECT_EQ(one.status, 0);
    EXPECT_THAT(one.out, HasSubstr("Options:"));
  }
}

TEST_F(CliTest, WrongArguments) {
  expect_refused({}, "command line: ");
  expect_refused({"fly"}, "command line: ");
  expect_refused({"train"}, "CONFIG");
  expect_refused({"train", "a.toml", "--sett", "x=1"}, "--sett");
  expect_refused({"train", path("missing.toml")}, "missing.toml");
  expect_refused({"evaluate", path("none"), "--data", "x"}, "there is no " + path("none"));
  expect_refused({"recommend", path("none")}, "--users");
  expect_refused({"export", path("none"), "--format", "csv", "--out", path("o")}, "--format csv");
  expect_refused({"synth", "--out", path("no/such/place")}, path("no/such"));
  expect_refused({"inspect", path("nothing")}, "there is no " + path("nothing"));
  expect_refused({"inspect", scratch_.string()}, "neither a model nor prepared data");
}

TEST_F(CliTest, NumbersOutOfRangeAreRefusedInPlainWords) {
  const std::vector<std::string> prepare = {"prepare", path("none"), "--out", path("o")};
  const std::vector<std::string> synth = {"synth", "--out", path("o")};
  const auto refused = [&](std::vector<std::string> arguments, const std::string& option, const std::string& value,
                           const std::string& words) {
    arguments.push_back(option);
    arguments.push_back(value);
    expect_refused(arguments, "command line: " + option + ": must be a " + words + ", not " + value);
  };
  for (const char* value : {"nan", "inf", "much", ""}) refused(prepare, "--min-value", value, "number");
  refused({"evaluate", path("m"), "--data", path("d")}, "--min-value", "nan", "number");
  refused({"recommend", path("m")}, "--top", "0", "whole number from 1 to 4294967295");
  refused({"similar", path("m"), "--items", "1"}, "--top", "2.5", "whole number from 1 to 4294967295");
  refused({"inspect", path("m")}, "--threads", "-1", "whole number from 0 to 4294967295");
  refused(prepare, "--users", "-5", "whole number from 0 to 4294967295");
  refused(prepare, "--memory-limit", "-1", "whole number from 0 to 18446744073709551615");
  refused(prepare, "--split", "1", "number above 0 and below 1");
  refused(synth, "--seed", "-1", "whole number from 0 to 18446744073709551615");
  refused(synth, "--users", "0", "whole number from 1 to 4294967294");
  refused(synth, "--zipf", "-0.5", "number of at least 0");
  refused(synth, "--test-share", "1", "number of at least 0 and below 1");
  std::vector<std::string> weighted = prepare;
  weighted.insert(weighted.end(), {"--values", "weight"});
  expect_refused(weighted, "--values requires --implicit");
}

TEST_F(CliTest, ATrainedModelAnswersEveryCommand) {
  train_model();
  const std::string model = path("model");
  EXPECT_THAT(run({"inspect", model}).out, testing::AllOf(HasSubstr("30 (indices from 0)"), HasSubstr("model.rank")));
  EXPECT_THAT(run({"inspect", path("ratings.txt")}).out, HasSubstr("entries             400"));
  const Finished similar = run({"similar", model, "--items", "3,4", "--top", "2"});
  EXPECT_EQ(std::count(similar.out.begin(), similar.out.end(), '\n'), 4);
  EXPECT_THAT(similar.out, testing::Not(HasSubstr("3\t3\t")));
  const Finished evaluated =
      run({"evaluate", model, "--data", path("ratings.txt"), "--metrics", "rmse,mae", "--report", path("e.json")});
  EXPECT_THAT(evaluated.out, HasSubstr("rmse"));
  EXPECT_TRUE(std::filesystem::exists(path("e.json")));
}

TEST_F(CliTest, RecommendationsLeaveOutWhatWasSeen) {
  train_model();
  const Finished finished =
      run({"recommend", path("model"), "--users", "0", "--top", "20", "--exclude", path("ratings.txt")});
  std::istringstream lines(finished.out);
  std::vector<int> items;
  std::string user;
  int item = 0;
  double score = 0.0;
  double last = 1e9;
  while (lines >> user >> item >> score) {
    EXPECT_EQ(user, "0");
    EXPECT_LE(score, last);
    last = score;
    items.push_back(item);
  }
  // User 0 has rated every item that is no multiple of 3.
  EXPECT_THAT(items, testing::UnorderedElementsAre(0, 3, 6, 9, 12, 15, 18));
  const Finished everyone = run({"recommend", path("model"), "--users", "all", "--top", "2", "--format", "json"});
  EXPECT_EQ(std::count(everyone.out.begin(), everyone.out.end(), '\n'), 30);
  EXPECT_THAT(everyone.out, testing::StartsWith("{\"id\": \"0\", \"items\": [{\"item\": "));
}

TEST_F(CliTest, AHistoryOfATrainingUserGivesItsRecommendations) {
  train_model();
  // The user half-sweep comes last, so the same history under another name gives the same scores.
  std::string history;
  for (int i = 0; i < 20; ++i) {
    if ((7 + i) % 3 != 0) history += "newcomer " + std::to_string(i) + " " + std::to_string(1 + 7 * i % 5) + "\n";
  }
  write("history.txt", history);
  const Finished folded = run({"recommend", path("model"), "--history", path("history.txt"), "--top", "3"});
  ASSERT_EQ(folded.status, 0) << folded.err;
  const Finished known =
      run({"recommend", path("model"), "--users", "7", "--top", "3", "--exclude", path("ratings.txt")});
  std::istringstream a(folded.out);
  std::istringstream b(known.out);
  std::string user_a, user_b;
  int item_a = 0, item_b = 0, lines = 0;
  double score_a = 0.0, score_b = 0.0;
  while (a >> user_a >> item_a >> score_a && b >> user_b >> item_b >> score_b) {
    EXPECT_EQ(user_a, "newcomer");
    EXPECT_EQ(item_a, item_b);
    EXPECT_NEAR(score_a, score_b, 0.02);
    ++lines;
  }
  EXPECT_EQ(lines, 3);
}

TEST_F(CliTest, AHistoryIsFilteredAsTheTrainingDataWas) {
  write_ratings("ratings.txt");
  const Finished trained =
      run(train_arguments({"data.min_value=4", "model.objective=implicit", "solver.inner=cholesky"}));
  ASSERT_EQ(trained.status, 0) << trained.err;
  const std::vector<std::string> folding = {"recommend", path("model"), "--history", path("ratings.txt"), "--top", "5"};
  const Finished known =
      run({"recommend", path("model"), "--users", "all", "--top", "5", "--exclude", path("ratings.txt")});
  std::istringstream a(run(folding).out);
  std::istringstream b(known.out);
  std::map<std::string, std::map<int, double>> folded_lists;
  std::map<std::string, std::map<int, double>> known_lists;
  std::string user;
  int item = 0;
  double score = 0.0;
  while (a >> user >> item >> score) folded_lists[user][item] = score;
  while (b >> user >> item >> score) known_lists[user][item] = score;
  ASSERT_EQ(known_lists.size(), 24U);  // every fifth user liked nothing and is not in the model
  ASSERT_EQ(folded_lists.size(), 30U);
  for (const auto& [id, list] : known_lists) {
    for (const auto& [item_id, known_score] : list) EXPECT_NEAR(folded_lists[id][item_id], known_score, 1e-4) << id;
  }
  const auto with = [&](const std::string& least) {
    std::vector<std::string> arguments = folding;
    arguments.insert(arguments.end(), {"--min-value", least});
    return run(arguments).out;
  };
  EXPECT_EQ(with("4"), run(folding).out);
  EXPECT_NE(with("1"), run(folding).out);
  expect_refused({"recommend", path("model"), "--users", "1", "--min-value", "4"}, "--min-value: ");
  // Clicks without values are all of them likes.
  write("clicks.txt", "someone 1\nsomeone 2\n");
  EXPECT_EQ(run({"recommend", path("model"), "--history", path("clicks.txt"), "--top", "2"}).status, 0);
}

TEST_F(CliTest, EvaluationFiltersAsTrainingDid) {
  write_ratings("ratings.txt");
  const Finished trained = run(train_arguments({"data.min_value=4"}));
  ASSERT_EQ(trained.status, 0) << trained.err;
  const std::vector<std::string> by_default = {"evaluate", path("model"), "--data", path("ratings.txt")};
  std::vector<std::string> with = by_default;
  with.insert(with.end(), {"--min-value", "4"});
  const Finished evaluated = run(by_default);
  EXPECT_EQ(evaluated.status, 0) << evaluated.err;
  EXPECT_EQ(run(with).out, evaluated.out);
  with.back() = "1";
  EXPECT_NE(run(with).out, evaluated.out);
}

TEST_F(CliTest, EvaluationMergesAsTrainingDid) {
  write_ratings("ratings.txt");
  write("repeated.txt", "0 1 1\n0 1 3\n2 2 5\n");
  const auto arguments =
      train_arguments({"data.duplicates=sum", "data.test=" + path("repeated.txt"), "evaluate.metrics=rmse"});
  const Finished trained = run(arguments);
  ASSERT_EQ(trained.status, 0) << trained.err;
  const Finished evaluated = run({"evaluate", path("model"), "--data", path("repeated.txt"), "--metrics", "rmse"});
  const auto rmse = [](const std::string& text) {
    double value = 0.0;
    std::istringstream(text.substr(text.find("rmse") + 4)) >> value;
    return value;
  };
  EXPECT_GT(rmse(evaluated.out), 0.0) << evaluated.err;
  EXPECT_EQ(rmse(evaluated.out), rmse(trained.out.substr(trained.out.find("on the test part:"))));
}

TEST_F(CliTest, UnknownIdsAreNamed) {
  train_model();
  expect_refused({"recommend", path("model"), "--users", "1,77,cat"}, "--users: the model does not know 77, cat");
  expect_refused({"similar", path("model"), "--items", "20"}, "--items: the model does not know 20");
}

TEST_F(CliTest, IdsWithCommasCanBeNamed) {
  write("ratings.txt", "anna\tred, round\t5\nanna\tblue\t3\n\"b,c\tred, round\t1\n\"b,c\tblue\t2\n");
  const Finished trained = run(train_arguments());
  ASSERT_EQ(trained.status, 0) << trained.err;
  const Finished similar = run({"similar", path("model"), "--items", "red, round", "--items", "blue", "--top", "1"});
  EXPECT_THAT(similar.out, testing::MatchesRegex("red, round\tblue\t.*\nblue\tred, round\t.*\n")) << similar.err;
  const Finished lists = run({"recommend", path("model"), "--users", "\"b,c", "--users", "anna,anna", "--top", "1"});
  EXPECT_EQ(std::count(lists.out.begin(), lists.out.end(), '\n'), 3) << lists.err;
  expect_refused({"recommend", path("model"), "--users", "anna,b,c"}, "the model does not know b, c");
  expect_refused({"similar", path("model"), "--items", ""}, "the model does not know \"\"");
}

TEST_F(CliTest, PreparedDataIsMeasuredOnItsTestPart) {
  write_ratings("ratings.txt");
  ASSERT_EQ(run({"prepare", path("ratings.txt"), "--out", path("split"), "--split", "0.2"}).status, 0);
  ASSERT_EQ(run({"prepare", path("ratings.txt"), "--out", path("whole")}).status, 0);
  const auto metrics = [&](const std::vector<std::string>& settings) {
    const Finished finished = run(train_arguments(settings));
    EXPECT_EQ(finished.status, 0) << finished.err;
    const std::size_t begin = finished.out.find("on the test part:");
    return finished.out.substr(begin, finished.out.find("model  ", begin) - begin);
  };
  const std::string train = "data.train=" + path("split");
  EXPECT_EQ(metrics({train, "data.test=" + path("split")}), metrics({train}));
  for (const char* key : {"data.test=", "data.validation="}) {
    const auto arguments = train_arguments({"data.train=" + path("whole"), key + path("whole")});
    expect_refused(arguments, path("whole") + ": was prepared without a test part");
  }
}

TEST_F(CliTest, UsersFoldedInAreNotMeasuredOnPreparedData) {
  train_model();
  ASSERT_EQ(run({"prepare", path("ratings.txt"), "--out", path("prepared"), "--split", "0.2"}).status, 0);
  write("history.txt", "77 1 3\n77 2 4\n");
  expect_refused({"evaluate", path("model"), "--data", path("prepared"), "--history", path("history.txt")},
                 "--history: folds in users that the model does not know");
}

TEST_F(CliTest, ValuesAreNotAskedForWhereNoneAreUsed) {
  train_model();
  write("clicks.txt", "0 1\n0 2\n3 4\n");
  const Finished lists =
      run({"recommend", path("model"), "--users", "0", "--top", "20", "--exclude", path("clicks.txt")});
  EXPECT_EQ(std::count(lists.out.begin(), lists.out.end(), '\n'), 18) << lists.err;
  const std::vector<std::string> evaluate = {"evaluate",  path("model"),       "--data",    path("clicks.txt"),
                                             "--exclude", path("ratings.txt"), "--metrics", "recall@5"};
  EXPECT_EQ(run(evaluate).status, 0) << run(evaluate).err;
  std::vector<std::string> rating = evaluate;
  rating.back() = "recall@5,rmse";
  expect_refused(rating, "has no column of values");
  expect_refused({"recommend", path("model"), "--history", path("clicks.txt")}, "has no column of values");
}

TEST_F(CliTest, RankingNeedsWhatToExclude) {
  train_model();
  expect_refused({"evaluate", path("model"), "--data", path("ratings.txt"), "--metrics", "ndcg@5"}, "--exclude");
  expect_refused({"evaluate", path("model"), "--data", path("ratings.txt"), "--metrics", "ndgc@5"}, "ndgc@5");
}

TEST_F(CliTest, TrainingIsRefusedBeforeItBegins) {
  write_ratings("ratings.txt");
  const auto args = [&](const std::string& setting) { return train_arguments({setting}); };
  (void)args("");  // so that the configuration file is there before names are compared
  expect_refused(args("compute.gather=fp16"), "compute.gather");
  expect_refused(args("compute.memory_limit_bytes=1000000"), "memory: ");
  expect_refused(args("output.model=" + path("no/model")), "output.model");
  expect_refused(args("output.report=" + path("no/report.json")), "output.report");
  expect_refused(args("data.train=" + path("nothing.txt")), "data.train");
  expect_refused(args("data.test=" + path("nothing.txt")), "data.test");
  expect_refused(args("model.warm_start=" + path("nothing")), "model.warm_start");
  std::filesystem::create_directory(path("foreign"));
  write("foreign/precious.txt", "keep me");
  expect_refused(args("output.model=" + path("foreign")), "may replace");
  EXPECT_TRUE(std::filesystem::exists(path("foreign/precious.txt")));
}

TEST_F(CliTest, DataIsAFileOrAPreparedDirectory) {
  train_model();
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  for (const std::string& place : {path("pipe"), scratch_.string(), std::string("/dev/null")}) {
    const std::string words = place + " is neither a regular file nor prepared data";
    for (const char* key : {"data.train", "data.test", "data.validation"}) {
      std::string setting = std::string(key) + "=" + place;
      expect_refused(train_arguments({setting}), std::string(key) + ": " + words);
    }
    expect_refused({"prepare", place, "--out", path("prepared")}, "DATA: " + words);
    expect_refused({"prepare", path("ratings.txt"), "--out", path("prepared"), "--test", place}, "--test: " + words);
    expect_refused({"evaluate", path("model"), "--data", place}, "--data: " + words);
    expect_refused({"recommend", path("model"), "--history", place}, "--history: " + words);
    if (place != scratch_) expect_refused({"inspect", place}, "PATH: " + words);
  }
  expect_refused({"inspect", path("ratings.txt/model")}, "PATH: there is no ");
  expect_refused({"similar", path("ratings.txt"), "--items", "1"}, "MODEL: ");
}

TEST_F(CliTest, NoInputIsOverwritten) {
  train_model();
  ASSERT_EQ(run({"prepare", path("ratings.txt"), "--out", path("prepared")}).status, 0);
  std::filesystem::create_symlink(path("ratings.txt"), path("link.txt"));
  const auto arguments = train_arguments({"data.train=" + path("prepared"), "data.test=" + path("ratings.txt")});
  const auto with = [](std::vector<std::string> words, const std::string& option, const std::string& value) {
    words.push_back(option);
    words.push_back(value);
    return words;
  };
  const auto refused = [&](const std::vector<std::string>& words, const std::string& place, const std::string& input) {
    expect_refused(words, place + ": writing ");
    expect_refused(words, "would overwrite what " + input + " reads");
  };
  refused(with(arguments, "--report", path("run.toml")), "output.report", "CONFIG");
  refused(with(arguments, "--report", path("link.txt")), "output.report", "data.test");
  refused(with(arguments, "--report", path("prepared/report.json")), "output.report", "data.train");
  refused(with(arguments, "--set", "output.model=" + path("prepared/model")), "output.model", "data.train");
  expect_refused(with(arguments, "--report", path("model/report.json")), "lies in output.model");
  expect_refused(with(arguments, "--report", path("prepared")), "is a directory");
  const std::vector<std::string> evaluate = {"evaluate", path("model"), "--data", path("ratings.txt")};
  refused(with(evaluate, "--report", path("./model/../link.txt")), "--report", "--data");
  refused(with(evaluate, "--report", path("model/manifest.json")), "--report", "MODEL");
  expect_refused(with(evaluate, "--report", path("prepared")), "--report: ");
  refused({"export", path("model"), "--format", "npy", "--out", path("model")}, "--out", "MODEL");
  write("prepared/more.txt", "1 1 1\n");
  refused({"prepare", path("prepared/more.txt"), "--out", path("prepared")}, "--out", "DATA");
  refused({"prepare", path("ratings.txt"), "--out", path("ratings.txt")}, "--out", "DATA");
}

TEST_F(CliTest, APartThatCannotBeMeasuredIsNamedBeforeTraining) {
  train_model();
  write("strangers.txt", "77 1 3\n78 2 4\n");
  const std::string strangers = path("strangers.txt");
  for (const std::string key : {"data.test", "data.validation"}) {
    const auto arguments = train_arguments({key + "=" + strangers, "evaluate.metrics=rmse,recall@5"});
    expect_refused(arguments, key + ": no held-out user is known");
    EXPECT_THAT(run(arguments).err, testing::Not(HasSubstr("epoch 1")));
  }
  expect_refused(train_arguments({"data.validation=" + strangers, "evaluate.metrics=rmse", "solver.stop_after=1",
                                  "solver.stop_metric=ndcg@5"}),
                 "data.validation: no held-out user is known");
  expect_refused(
      {"evaluate", path("model"), "--data", strangers, "--exclude", path("ratings.txt"), "--metrics", "recall@5"},
      "--data " + strangers + ": no held-out user is known");
}

TEST_F(CliTest, TheReportOfAnEvaluationRecordsItsOptions) {
  write_ratings("ratings.txt");
  ASSERT_EQ(run(train_arguments({"data.min_value=2"})).status, 0);
  const std::string data = write_ratings("bad\xff.txt");
  const std::string report = path("e.json");
  const Finished evaluated = run({"evaluate", path("model"), "--data", data, "--report", report, "--clip", "range",
                                  "--exclude", path("ratings.txt"), "--format", "text"});
  ASSERT_EQ(evaluated.status, 0) << evaluated.err;
  std::map<std::string, std::string> values;
  for (const auto& [name, value] : json_leaves(read_file(report), report)) values[name] = value;
  EXPECT_EQ(values["data.file"], path("bad\xEF\xBF\xBD.txt"));
  EXPECT_EQ(values["options.exclude"], path("ratings.txt"));
  EXPECT_EQ(values["options.history"], "");
  EXPECT_EQ(values["options.format"], "text");
  EXPECT_EQ(values["options.min_value"], "2.0");
  EXPECT_EQ(values["options.clip"], "range");
}

TEST_F(CliTest, AlphaCountsClicksWithoutValuesOnce) {
  std::string ones;
  std::string clicks;
  for (int entry = 0; entry < 90; ++entry) {
    const std::string pair = std::to_string(entry % 30) + " " + std::to_string(entry * 7 % 20);
    ones += pair + " 1\n";
    clicks += pair + "\n";
  }
  write("ones.txt", ones);
  write("clicks.txt", clicks);
  const auto train_on = [&](const std::string& name) {
    const Finished finished = run(train_arguments({"data.train=" + path(name + ".txt"), "model.objective=implicit",
                                                   "model.alpha=4", "output.model=" + path(name)}));
    EXPECT_EQ(finished.status, 0) << finished.err;
    return run({"recommend", path(name), "--users", "all", "--top", "5"}).out;
  };
  const std::string lists = train_on("ones");
  EXPECT_EQ(std::count(lists.begin(), lists.end(), '\n'), 150);
  EXPECT_EQ(train_on("clicks"), lists);
}

TEST_F(CliTest, AWarmStartOfAnotherRankIsRefused) {
  train_model();
  expect_refused(train_arguments({"model.warm_start=" + path("model"), "model.rank=4", "output.model=" + path("m2")}),
                 "model.warm_start: ");
  const Finished same = run(train_arguments({"model.warm_start=" + path("model"), "output.model=" + path("m2")}));
  EXPECT_EQ(same.status, 0) << same.err;
}

TEST_F(CliTest, PreparedDataMergedByAnotherRuleIsRefused) {
  write("repeated.txt", "0 0 3\n0 0 4\n1 1 2\n1 0 5\n");
  const auto train_prepared = [&](const std::string& setting) {
    return train_arguments({"data.train=" + path("prepared"), setting});
  };
  ASSERT_EQ(run({"prepare", path("repeated.txt"), "--out", path("prepared")}).status, 0);
  EXPECT_EQ(run(train_prepared("data.duplicates=last")).status, 0);
  expect_refused(train_prepared("data.duplicates=sum"), "data.duplicates: ");
}

TEST_F(CliTest, DataLargerThanMemoryIsNotGenerated) {
  expect_refused({"synth", "--users", "4000000000", "--rank", "8192", "--out", path("data")}, "memory: ");
}

TEST_F(CliTest, DeclaredCountsAreInThePredictionOfMemory) {
  write_ratings("ratings.txt");
  (void)train_arguments({""});
  expect_refused(train_arguments({"data.users=4000000000", "compute.memory_limit_bytes=4000000000"}), "memory: ");
}

TEST_F(CliTest, APreparedDirectoryRefusesWhatItHasDecided) {
  write_ratings("ratings.txt");
  ASSERT_EQ(run({"prepare", path("ratings.txt"), "--out", path("prepared"), "--split", "0.2"}).status, 0);
  const std::string prepared = "data.train=" + path("prepared");
  (void)train_arguments();
  expect_refused(train_arguments({prepared, "data.min_value=2"}), "data.min_value: ");
  expect_refused(train_arguments({prepared, "data.split.test=0.1"}), "data.split: ");
  expect_refused(train_arguments({prepared, "data.validation=0.1"}), "data.validation: ");
  EXPECT_EQ(run(train_arguments({prepared})).status, 0);
  // One directory serves both objectives: values are dropped where they are ignored.
  const Finished implicit =
      run(train_arguments({prepared, "model.objective=implicit", "output.model=" + path("clicks")}));
  EXPECT_EQ(implicit.status, 0) << implicit.err;
  EXPECT_THAT(implicit.out, HasSubstr("recall@20"));
  EXPECT_THAT(run({"inspect", path("prepared")}).out, HasSubstr("held out"));
}

}  // namespace
}  // namespace concerto
