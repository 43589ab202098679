// A model written by ranks that are threads of this process: the bytes of one writer whatever their number, and errors
// that name the rank, with what stood there before untouched and nothing left beside it.
#include "../src/app/model_writing.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/comm/communicators.hpp"
#include "concerto/data/partition.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Model whole_model(bool biases) {
  Model model;
  model.objective.biases = biases;
  model.users = FactorTable({.rows = 700, .rank = 9, .biases = biases});
  model.items = FactorTable({.rows = 130, .rank = 9, .biases = biases});
  initialize(model.users, Side::kUsers, 3, 1.0);
  initialize(model.items, Side::kItems, 3, 1.0);
  for (std::size_t row = 0; row < model.users.biases().size(); ++row) model.users.biases()[row] = 0.25F;
  model.user_ids = IdMap::indices(700, kRowOrderSeed, 0);
  model.item_ids = IdMap::indices(130, kRowOrderSeed, 1);
  model.metrics_json = R"({"rmse": 0.8})";
  return model;
}

/// What the ranks behind the first have: tables alone.
Model tables_of(const Model& model) {
  Model tables;
  tables.users = model.users;
  tables.items = model.items;
  return tables;
}

ShardPlan plan_of(const Model& model, Rank ranks) {
  // One entry a row: only lengths are looked at.
  std::vector<EntryIndex> users(model.users.rows() + std::size_t{1});
  std::vector<EntryIndex> items(model.items.rows() + std::size_t{1});
  for (std::size_t r = 0; r < users.size(); ++r) users[r] = r;
  for (std::size_t r = 0; r < items.size(); ++r) items[r] = r;
  return plan_shards({model.users.rows(), users}, {model.items.rows(), items}, {1.0, 1.0}, ranks, 4);
}

class ModelWriting : public testing::Test {
 protected:
  ModelWriting()
      : root_(fs::temp_directory_path() / ("concerto-writing-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(root_);
  }
  ~ModelWriting() override { fs::remove_all(root_); }

  struct Ended {
    std::optional<WritingFacts> facts;
    std::string error;
  };
  /// All ranks write to `root_/m`; `change` makes a rank's tables others than the rest's, `before` sees the group
  /// first.
  std::vector<Ended> write(const Model& model, Rank ranks, const std::function<void(Rank, Model&)>& change = {},
                           const std::function<void(InprocGroup&)>& before = {}) {
    InprocGroup group = make_inproc_group(ranks, {});
    const ShardPlan plan = plan_of(model, ranks);
    if (before) before(group);
    std::vector<Ended> ended(ranks);
    std::vector<std::jthread> threads;
    for (Rank r = 0; r < ranks; ++r) {
      threads.emplace_back([&, r] {
        Model own = tables_of(model);
        if (r == 0) {
          own.objective = model.objective;
          own.user_ids = model.user_ids;
          own.item_ids = model.item_ids;
          own.metrics_json = model.metrics_json;
        }
        if (change) change(r, own);
        try {
          ended[r].facts = write_model_together(own, root_ / "m", plan, *group.ranks[r], 1);
        } catch (const Error& error) {
          ended[r].error = error.what();
        }
      });
    }
    threads.clear();
    return ended;
  }
  [[nodiscard]] std::map<std::string, std::string> files_of(const std::string& name) const {
    std::map<std::string, std::string> files;
    for (const auto& file : fs::directory_iterator(root_ / name)) {
      files[file.path().filename().string()] = read_file(file.path());
    }
    return files;
  }
  [[nodiscard]] std::size_t entries_beside() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(root_), fs::directory_iterator()));
  }

  fs::path root_;
};

TEST_F(ModelWriting, AnyNumberOfRanksWritesTheBytesOfOneProcess) {
  for (const bool biases : {true, false}) {
    const Model model = whole_model(biases);
    save_model(model, root_ / "alone");
    for (const Rank ranks : {1U, 2U, 3U, 4U, 7U}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks");
      for (const Ended& rank : write(model, ranks)) {
        ASSERT_TRUE(rank.facts) << rank.error;
        EXPECT_EQ(rank.facts->writers, ranks);
      }
      EXPECT_EQ(files_of("m"), files_of("alone"));
      EXPECT_EQ(entries_beside(), 2U) << "nothing is left beside the model";
    }
  }
}

TEST_F(ModelWriting, EachRankWritesItsOwnRows) {
  // Where a rank's copy differs, its own rows alone are in the model; the copies of others are not looked at.
  const Model model = whole_model(true);
  const ShardPlan plan = plan_of(model, 3);
  const auto ended = write(model, 3, [](Rank rank, Model& own) {
    for (RowIndex row = 0; row < own.users.rows(); ++row) own.users.row(row)[0] = static_cast<float>(rank);
  });
  for (const Ended& rank : ended) ASSERT_TRUE(rank.facts) << rank.error;
  const Model written = load_model(root_ / "m");
  std::vector<int> rows_of(3, 0);
  for (std::size_t b = 0; b < plan.users.blocks.size(); ++b) {
    for (RowIndex row = plan.users.blocks[b].begin; row < plan.users.blocks[b].end; ++row) {
      ASSERT_EQ(written.users.row(row)[0], static_cast<float>(plan.users.owners[b])) << "row " << row;
      ++rows_of[plan.users.owners[b]];
    }
  }
  EXPECT_THAT(rows_of, testing::Each(testing::Gt(0)));
}

TEST_F(ModelWriting, ARankThatFailsIsNamedByAllAndTheOldModelStands) {
  const Model model = whole_model(true);
  save_model(model, root_ / "m");
  const auto before = files_of("m");
  const auto ended = write(model, 3, [](Rank rank, Model& own) {
    if (rank == 2)
      own.users.row(0)[0] = own.users.row(699)[0] = own.users.row(350)[0] = own.items.row(70)[3] =
          std::numeric_limits<float>::quiet_NaN();
    if (rank != 2) return;
    for (RowIndex row = 0; row < own.users.rows(); ++row)
      own.users.row(row)[1] = std::numeric_limits<float>::infinity();
  });
  EXPECT_THAT(ended[2].error, HasSubstr("user_factors.bin: the factors are not finite"));
  for (const Rank r : {0U, 1U}) {
    EXPECT_THAT(ended[r].error,
                StartsWith("writing the model: rank 2 gave up: user_factors.bin: the factors are not "));
  }
  EXPECT_EQ(files_of("m"), before);
  EXPECT_EQ(entries_beside(), 1U);
}

TEST_F(ModelWriting, ATargetThatMayNotBeReplacedIsRefusedOnAllRanks) {
  fs::create_directories(root_ / "m");
  write_file(root_ / "m" / "thesis.txt", "keep me");
  const auto ended = write(whole_model(false), 2);
  EXPECT_THAT(ended[0].error, HasSubstr("exists and is nothing that this command may replace"));
  EXPECT_THAT(ended[1].error, StartsWith("writing the model: rank 0 gave up: "));
  EXPECT_EQ(read_file(root_ / "m" / "thesis.txt"), "keep me");
}

TEST_F(ModelWriting, ARankThatIsLostEndsTheWritingForAll) {
  const Model model = whole_model(true);
  save_model(model, root_ / "m");
  const auto before = files_of("m");
  const auto ended = write(model, 3, {}, [](InprocGroup& group) { group.faults->cut(1); });
  for (const Rank r : {0U, 2U}) {
    EXPECT_FALSE(ended[r].facts);
    EXPECT_THAT(ended[r].error, testing::MatchesRegex("writing the model: .*rank 1.* was lost: .*"));
  }
  EXPECT_EQ(files_of("m"), before);
  EXPECT_EQ(entries_beside(), 1U);
}

}  // namespace
}  // namespace concerto
