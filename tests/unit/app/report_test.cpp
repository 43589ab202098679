// Small parts of the program: report arithmetic, JSON helpers, texts for people, predictions of memory.
#include "../src/app/report.hpp"

#include <algorithm>

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

#include "../src/app/machine.hpp"
#include "../src/app/memory.hpp"
#include "../src/app/progress.hpp"
#include "program.hpp"

namespace concerto {
namespace {

std::vector<EpochRecord> epochs_of(std::initializer_list<double> seconds) {
  std::vector<EpochRecord> epochs;
  for (const double value : seconds) {
    EpochRecord record;
    record.epoch = static_cast<std::uint32_t>(epochs.size() + 1);
    record.seconds = value;
    epochs.push_back(record);
  }
  return epochs;
}

TEST(Report, SecondsOfAnEpochAreTheMedianWithoutTheFirst) {
  EXPECT_DOUBLE_EQ(seconds_per_epoch(epochs_of({9.0, 1.0, 5.0, 2.0})), 2.0);
  EXPECT_DOUBLE_EQ(seconds_per_epoch(epochs_of({9.0, 1.0, 2.0})), 1.5);
  EXPECT_DOUBLE_EQ(seconds_per_epoch(epochs_of({9.0})), 9.0);
  EXPECT_DOUBLE_EQ(seconds_per_epoch({}), 0.0);
  EXPECT_DOUBLE_EQ(train_seconds(epochs_of({9.0, 1.0, 2.0})), 12.0);
}

TEST(Report, HoldsWhatTheRunSaid) {
  TrainReport report;
  report.config_json = R"({"model": {"rank": 3}})";
  report.data.train_entries = 600;
  report.epochs = epochs_of({3.0, 2.0});
  report.epochs[1].loss = 12.5;
  report.epochs[1].test = {{"recall@20", 0.25}};
  report.kept_epoch = 2;
  report.ended = "epochs";
  report.device_bytes = 123456789;
  report.test = MetricValues{{{"recall@20", 0.25}}, 10, 2, 0, 0};
  const auto leaves = json_leaves(to_json(report), "report");
  const auto value = [&](const std::string& key) {
    for (const auto& [name, text] : leaves) {
      if (name == key) return text;
    }
    return std::string("absent");
  };
  EXPECT_EQ(value("schema_version"), "2");
  EXPECT_EQ(value("config.model.rank"), "3");
  EXPECT_EQ(value("final.metrics.recall@20"), "0.25");
  EXPECT_EQ(value("final.loss"), "12.5");
  EXPECT_EQ(value("final.train_seconds"), "5.0");
  EXPECT_EQ(value("final.seconds_per_epoch"), "2.0");
  EXPECT_EQ(value("final.updates_per_second"), "300.0");
  EXPECT_EQ(value("final.device_bytes"), "123456789");
  EXPECT_EQ(value("replication"), "absent");
  EXPECT_THAT(value("epochs"), testing::HasSubstr(R"("loss":null)"));
}

TEST(Report, HoldsWhatLevelsButStrongPromise) {
  TrainReport report;
  report.config_json = "{}";
  PromisesReport& promises = report.replication.emplace().promises.emplace();
  const auto at = [&](const std::string& pointer) { return json_number(to_json(report), "/replication/" + pointer); };
  const auto has = [&](const std::string& text) {
    const auto leaves = json_leaves(to_json(report), "report");
    return std::ranges::any_of(leaves, [&](const auto& leaf) { return leaf.first + "=" + leaf.second == text; });
  };
  EXPECT_TRUE(has("replication.visibility_ms.p50=null"));
  EXPECT_TRUE(has("replication.consistency_index=[]"));
  EXPECT_TRUE(has("replication.consistency_skew_ms=null"));
  EXPECT_EQ(at("lag/max"), 0.0);
  promises.lags = {6, 0, 2};
  promises.blocked_seconds = {0.5, 0.25};
  promises.compute_seconds = {2.0, 3.0};
  promises.bytes_by_kind = {{"put", 100}, {"delta", 0}};
  promises.visibility_p50_ms = 2.0;
  promises.visibility_p99_ms = 8.0;
  promises.visibility_samples = 12;
  promises.consistency_index = {{1.5, 0.875}};
  promises.consistency_skew_ms = 0.125;
  EXPECT_TRUE(has("replication.lag.histogram=[6,0,2]"));
  EXPECT_TRUE(has("replication.lag.at_most=[0.75,0.75,1.0]"));
  EXPECT_EQ(at("lag/max"), 2.0);
  EXPECT_TRUE(has("replication.blocked_seconds=[0.5,0.25]"));
  EXPECT_TRUE(has("replication.compute_seconds_of_ranks=[2.0,3.0]"));
  EXPECT_EQ(at("bytes_by_kind/put"), 100.0);
  EXPECT_EQ(at("visibility_ms/p99"), 8.0);
  EXPECT_EQ(at("visibility_ms/samples"), 12.0);
  EXPECT_TRUE(has("replication.consistency_index=[[1.5,0.875]]"));
  EXPECT_EQ(at("consistency_skew_ms"), 0.125);
}

TEST(Report, QuotesForJson) {
  EXPECT_EQ(json_quote("a\"b\\c\n"), R"("a\"b\\c\n")");
  EXPECT_EQ(json_quote("\xff"), "\"\xEF\xBF\xBD\"");
  EXPECT_THROW((void)json_leaves("{", "x"), Error);
}

TEST(Texts, OfDurationsCountsAndBytes) {
  EXPECT_EQ(duration_text(0.0123), "12 ms");
  EXPECT_EQ(duration_text(2.34), "2.3 s");
  EXPECT_EQ(duration_text(125.0), "2 min 05 s");
  EXPECT_EQ(duration_text(3725.0), "1 h 02 min");
  EXPECT_EQ(count_text(2.14e6), "2.1 M");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(12), "12 bytes");
}

class MemoryTest : public test::ProgramTest {};

TEST_F(MemoryTest, LoadingIsPredictedFromTheFirstLines) {
  const std::string ratings = write_ratings("ratings.txt");  // 400 entries
  EXPECT_NEAR(static_cast<double>(predict_loading_bytes(ratings, true, 0)), 400 * 20, 400);
  EXPECT_NEAR(static_cast<double>(predict_loading_bytes(ratings, false, 0)), 400 * 12, 400);
  const std::string adjacency = write("adjacency.txt", "0 1 2 3 4 5 6 7 8\n1 1 2 3 4 5 6 7 8\n");
  EXPECT_EQ(predict_loading_bytes(adjacency, false, 0), 16U * 12);
  EXPECT_EQ(predict_loading_bytes(write("empty.txt", ""), true, 0), 0U);
}

TEST(Memory, TooLittleIsAnErrorThatSaysNeedHaveAndRemedy) {
  MemoryShape shape;
  shape.users = 4000000000U;
  shape.items = 4000000000U;
  shape.rank = 8192;
  try {
    require_memory(predict_training_bytes(shape, 1, "cpu"), {}, "training", "lower model.rank");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_THAT(error.what(), testing::ContainsRegex("needs about .* TiB more, .* are available; lower model.rank"));
  }
  EXPECT_NO_THROW(require_memory(1000, {}, "this", "that"));
}

TEST(Memory, TrainingOnAGpuTakesNoWorkingMemoryOfTheHost) {
  MemoryShape shape;
  shape.users = 100000;
  shape.items = 20000;
  shape.entries = 10000000;
  shape.rank = 64;
  shape.threads = 64;
  shape.solver = MemoryShape::Solver::kCholesky;
  const std::uint64_t tables =
      FactorTable::bytes({shape.users, 64, false}) + FactorTable::bytes({shape.items, 64, false});
  EXPECT_GE(predict_training_bytes(shape, 2, "cpu"), 3 * tables);
  EXPECT_GE(predict_training_bytes(shape, 2, "cuda"), 2 * tables);
  EXPECT_LT(predict_training_bytes(shape, 2, "cuda"), 3 * tables);
}

TEST(Memory, ARankOfSgdTakesItsEntriesByPartsToo) {
  MemoryShape shape;
  shape.users = 100000;
  shape.items = 20000;
  shape.entries = 10000000;
  shape.rank = 64;
  for (const std::uint32_t ranks : {1U, 4U}) {
    shape.solver = MemoryShape::Solver::kCholesky;
    const std::uint64_t alternating = predict_share_bytes(shape, ranks);
    shape.solver = MemoryShape::Solver::kSgd;
    const std::uint64_t grids = 2 * 8 * shape.entries / ranks + std::uint64_t{2} * ranks * 8 * (100000 + 20000);
    EXPECT_GE(predict_share_bytes(shape, ranks), alternating + grids);
    EXPECT_LE(predict_share_bytes(shape, ranks), alternating + grids + 8 * (100000 + 20000));
  }
}

TEST(Memory, SamplesOfTheConsistencyIndexTakeSoMuchAtMost) {
  MemoryShape shape;
  shape.users = 300;
  shape.items = 100'000;
  shape.rank = 4;
  EXPECT_EQ(predict_sampling_bytes(shape), 257U * (300 + 1024) * 4 * 4);
  shape.users = 100'000;
  shape.rank = 256;
  EXPECT_LE(predict_sampling_bytes(shape), std::uint64_t{67} << 20);
}

TEST(Memory, AShortageOnTheGpuIsSaidInOneSentence) {
  EXPECT_EQ(device_shortage(4096, 4096, "training"), "");
  EXPECT_EQ(device_shortage(4608, 3072, "training"),
            "training needs about 4.5 KiB, the GPU has 3.0 KiB free, 1.5 KiB too much");
}

TEST(Machine, FactsAreThere) {
  EXPECT_GT(physical_memory_bytes(), std::uint64_t{1} << 27);
  EXPECT_GT(available_memory_bytes(), std::uint64_t{1} << 20);
  EXPECT_LE(available_memory_bytes(), physical_memory_bytes());
  EXPECT_GT(resident_bytes(), std::uint64_t{1} << 18);
  EXPECT_GE(peak_resident_bytes() + (std::uint64_t{1} << 20), resident_bytes());
  EXPECT_GE(seconds_since_process_start(), 0.0);
}

}  // namespace
}  // namespace concerto
