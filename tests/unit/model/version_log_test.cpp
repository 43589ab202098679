// Versions over time: what was written by ranks comes back in the order of time, and nonsense is refused.
#include "concerto/model/version_log.hpp"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

class VersionLogTest : public ::testing::Test {
 protected:
  VersionLogTest() { std::filesystem::remove_all(folder_); }
  ~VersionLogTest() override { std::filesystem::remove_all(folder_); }
  std::string error() const {
    try {
      (void)VersionHistory(folder_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) /
      (std::string("versions-") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
  TableShape users_{5, 2, true};
  TableShape items_{3, 2, true};
};

/// Rows of two factors, a bias and a state of an optimizer that is not kept.
std::vector<std::byte> rows(std::initializer_list<float> floats) {
  const auto bytes = std::as_bytes(std::span(floats.begin(), floats.size()));
  return {bytes.begin(), bytes.end()};
}

TEST_F(VersionLogTest, TablesAreAsTheyWereAtEachMoment) {
  {
    VersionLog one(folder_, 0, 2, users_, items_);
    VersionLog two(folder_, 1, 2, users_, items_);
    one.add(Side::kUsers, {0, 2}, rows({1, 2, 3, 9, 4, 5, 6, 9}), 4);
    two.add(Side::kItems, {2, 3}, rows({7, 8, 0.5F}), 3);
    one.add(Side::kUsers, {1, 2}, rows({10, 11, 12, 9}), 4);
    one.finish();
    two.finish();
  }
  VersionHistory history(folder_);
  ASSERT_EQ(history.times().size(), 3U);
  EXPECT_GE(history.times()[0], 0.0);
  EXPECT_TRUE(std::ranges::is_sorted(history.times()));
  EXPECT_EQ(history.users().row(0)[0], 0.0F);
  history.advance(history.times().back());
  EXPECT_EQ(history.users().row(0)[1], 2.0F);
  EXPECT_EQ(history.users().bias(0), 3.0F);
  EXPECT_EQ(history.users().row(1)[0], 10.0F);
  EXPECT_EQ(history.users().bias(1), 12.0F);
  EXPECT_EQ(history.users().row(4)[0], 0.0F);
  EXPECT_EQ(history.items().row(2)[1], 8.0F);
  EXPECT_EQ(history.items().bias(2), 0.5F);
}

TEST_F(VersionLogTest, WhatWasWrittenBeforeAnAbruptEndCounts) {
  {
    VersionLog log(folder_, 0, 1, users_, items_);
    log.add(Side::kUsers, {0, 1}, rows({1, 2, 3}), 3);
    log.add(Side::kUsers, {0, 1}, rows({4, 5, 6}), 3);
    log.finish();
  }
  const auto file = folder_ / "rank-0.versions";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  VersionHistory history(folder_);
  ASSERT_EQ(history.times().size(), 1U);
  history.advance(history.times().back());
  EXPECT_EQ(history.users().row(0)[0], 1.0F);
}

TEST_F(VersionLogTest, NonsenseIsNamed) {
  EXPECT_THAT(error(), HasSubstr("rank-0.versions"));
  VersionLog(folder_, 0, 2, users_, items_).finish();
  EXPECT_THAT(error(), HasSubstr("rank-1.versions"));
  VersionLog(folder_, 1, 2, items_, items_).finish();
  EXPECT_THAT(error(), HasSubstr("of another run than rank 0's"));
  VersionLog other(folder_, 1, 2, users_, items_);
  other.add(Side::kItems, {3, 4}, rows({1, 2, 3}), 3);
  other.finish();
  EXPECT_THAT(error(), HasSubstr("rows that its tables have not"));
  std::ofstream(folder_ / "rank-0.versions") << "hello";
  EXPECT_THAT(error(), HasSubstr("is not the versions of rank 0"));
}

}  // namespace
}  // namespace concerto
