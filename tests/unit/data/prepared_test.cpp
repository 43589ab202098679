// Prepared directories: what is mapped equals what was written, and every damage to every file is found and named.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/data/dataset.hpp"

#include "unit/data/raw_ratings.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;
using test::raw_ratings;
using test::Shape;
using test::shaped_entries;

class PreparedTest : public testing::Test {
 protected:
  PreparedTest()
      : root_(fs::temp_directory_path() / ("concerto-prepared-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(root_);
  }
  ~PreparedTest() override { fs::remove_all(root_); }

  [[nodiscard]] fs::path directory() const { return root_ / "prepared"; }

  BuiltDataset built(bool with_values = true) {
    return build_dataset(raw_ratings(shaped_entries(Shape::kPrime), with_values), {},
                         SplitOptions{0.2, SplitBy::kRandom, 1}, {}, pool_);
  }

  ThreadPool pool_{2};
  fs::path root_;
};

void expect_equal(const CompressedRows& a, const CompressedRows& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.column_count, b.column_count);
  EXPECT_TRUE(std::ranges::equal(a.offsets, b.offsets));
  EXPECT_TRUE(std::ranges::equal(a.columns, b.columns));
  EXPECT_TRUE(std::ranges::equal(a.values, b.values));
}

TEST_F(PreparedTest, GivesBackWhatWasWritten) {
  for (const bool with_values : {true, false}) {
    for (const bool with_test : {true, false}) {
      const BuiltDataset data = built(with_values);
      data.train.write(directory(), with_test ? &*data.test : nullptr, {});
      EXPECT_TRUE(Dataset::is_prepared(directory()));
      Dataset::Prepared mapped = Dataset::map(directory(), pool_);
      const Dataset moved = std::move(mapped.dataset);
      expect_equal(moved.by_user(), data.train.by_user());
      expect_equal(moved.by_item(), data.train.by_item());
      EXPECT_EQ(moved.users().serialize(), data.train.users().serialize());
      EXPECT_EQ(moved.items().serialize(), data.train.items().serialize());
      ASSERT_EQ(mapped.held_out.has_value(), with_test);
      if (!with_test) continue;
      expect_equal(mapped.held_out->known.view(), data.test->known.view());
      EXPECT_EQ(mapped.held_out->unknown_users, data.test->unknown_users);
      ASSERT_EQ(mapped.held_out->unknown.size(), data.test->unknown.size());
      for (std::size_t i = 0; i < data.test->unknown.size(); ++i) {
        EXPECT_EQ(mapped.held_out->unknown[i].user, data.test->unknown[i].user);
        EXPECT_EQ(mapped.held_out->unknown[i].item, data.test->unknown[i].item);
        EXPECT_EQ(mapped.held_out->unknown[i].value, data.test->unknown[i].value);
      }
    }
  }
}

TEST_F(PreparedTest, WritingTwiceGivesTheSameBytes) {
  const BuiltDataset data = built();
  data.train.write(directory(), &*data.test, {});
  data.train.write(root_ / "again", &*data.test, {});
  std::size_t files = 0;
  for (const auto& file : fs::directory_iterator(directory())) {
    EXPECT_EQ(read_file(file.path()), read_file(root_ / "again" / file.path().filename())) << file.path();
    ++files;
  }
  EXPECT_EQ(files, 13U);
}

/// Maps and returns the error that names the damage.
Error map_error(const fs::path& directory, ThreadPool& pool) {
  try {
    (void)Dataset::map(directory, pool);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "the damage was not found";
  return {ErrorCode::kIo, ""};
}

TEST_F(PreparedTest, EveryDamagedFileIsCorruptAndNamed) {
  const BuiltDataset data = built();
  data.train.write(directory(), &*data.test, {});
  std::vector<fs::path> files;
  for (const auto& file : fs::directory_iterator(directory())) files.push_back(file.path());
  for (const fs::path& file : files) {
    const std::string good = read_file(file);
    ASSERT_FALSE(good.empty() && file.filename() != "test.unknown") << file;
    if (good.empty()) continue;
    std::vector<std::string> damages;
    for (const std::size_t place : {std::size_t{0}, good.size() / 2, good.size() - 1}) {
      damages.push_back(good);
      damages.back()[place] = static_cast<char>(damages.back()[place] ^ 0x10);
    }
    damages.push_back(good.substr(0, good.size() - 1));
    damages.push_back(good.substr(0, good.size() / 3));
    damages.emplace_back();
    damages.push_back(good + "x");
    for (std::size_t k = 0; k < damages.size(); ++k) {
      std::ofstream(file, std::ios::binary) << damages[k];
      const Error error = map_error(directory(), pool_);
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << file << " damage " << k;
      EXPECT_EQ(error.where(), file.string()) << "damage " << k << ": " << error.message();
    }
    fs::remove(file);
    if (file.filename() != "prepared.bin") {
      const Error error = map_error(directory(), pool_);
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_EQ(error.where(), file.string());
    }
    std::ofstream(file, std::ios::binary) << good;
  }
  EXPECT_EQ(Dataset::map(directory(), pool_).dataset.entries(), data.train.entries());
}

TEST_F(PreparedTest, OtherDirectoriesAreNotPrepared) {
  EXPECT_FALSE(Dataset::is_prepared(root_ / "nothing"));
  EXPECT_FALSE(Dataset::is_prepared(root_));
  EXPECT_THROW((void)Dataset::map(root_, pool_), Error);
}

TEST_F(PreparedTest, AForeignDirectoryIsNotReplaced) {
  fs::create_directories(directory());
  std::ofstream(directory() / "thesis.txt") << "keep me";
  const BuiltDataset data = built();
  EXPECT_THROW(data.train.write(directory(), nullptr, {}), Error);
  EXPECT_EQ(read_file(directory() / "thesis.txt"), "keep me");
}

}  // namespace
}  // namespace concerto
