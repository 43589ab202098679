// Opened prepared directories: a reader gets the rows it asks for, verifies what it touches and nothing else, and
// damage is found by those who read it, by name of file and rows.
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <unistd.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/data/partition.hpp"

#include "unit/train/small_data.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;
using testing::EndsWith;
using testing::HasSubstr;

/// 300 users in five chunks, 90 items in two.
class OpenedTest : public testing::Test {
 protected:
  OpenedTest()
      : root_(fs::temp_directory_path() / ("concerto-opened-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name())),
        data_(test::planted_data(300, 90)),
        test_(test::held_out_of(300, 90, test::planted_entries(300, 90, 0.05, 9))) {
    test_.unknown = {{kNoRow, 3, 4.0F}, {5, kNoRow, 2.0F}, {kNoRow, kNoRow, 3.0F}, {299, kNoRow, 1.0F}};
    test_.unknown_users = 2;
    fs::create_directories(root_);
    data_.write(directory(), &test_, {Duplicates::kLast, 7});
  }
  ~OpenedTest() override { fs::remove_all(root_); }

  [[nodiscard]] fs::path directory() const { return root_ / "prepared"; }
  [[nodiscard]] Dataset::Opened open() { return Dataset::open(directory(), pool_); }

  void flip(const std::string& name, std::size_t place) {
    std::string content = read_file(directory() / name);
    content.at(place) = static_cast<char>(content.at(place) ^ 0x10);
    std::ofstream(directory() / name, std::ios::binary) << content;
  }
  [[nodiscard]] static std::string message_of(const std::function<void()>& body) {
    try {
      body();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      return error.what();
    }
    return "no error";
  }
  [[nodiscard]] std::string path(const std::string& name) const { return (directory() / name).string(); }

  ThreadPool pool_{2};
  fs::path root_;
  Dataset data_;
  HeldOut test_;
};

void expect_equal(const CompressedMatrix& a, const CompressedMatrix& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.column_count, b.column_count);
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.columns, b.columns);
  EXPECT_EQ(a.values, b.values);
}

const std::vector<RowRange> kSomeUsers = {{64, 128}, {192, 300}};

TEST_F(OpenedTest, GivesTheRowsThatAreAskedFor) {
  const Dataset::Opened opened = open();
  const Dataset& data = opened.dataset;
  EXPECT_EQ(data.entries(), data_.entries());
  EXPECT_TRUE(data.has_values());
  EXPECT_EQ(opened.merging.merged, 7U);
  for (const Side side : {Side::kUsers, Side::kItems}) {
    EXPECT_TRUE(std::ranges::equal(data.lengths(side).offsets, data_.lengths(side).offsets));
    const RowIndex rows = data.lengths(side).rows;
    for (const std::vector<RowRange>& some : {std::vector<RowRange>{}, {{0, rows}}, {{64, rows}}, {{0, 64}}}) {
      expect_equal(data.rows(side, some), data_.rows(side, some));
    }
  }
  expect_equal(data.rows(Side::kUsers, kSomeUsers), data_.rows(Side::kUsers, kSomeUsers));
  EXPECT_EQ(data.users().serialize(), data_.users().serialize());
  EXPECT_EQ(data.items().serialize(), data_.items().serialize());
}

TEST_F(OpenedTest, GivesTheHeldOutEntriesOfSomeUsers) {
  const SharedHeldOut shared = open().held_out;
  ASSERT_TRUE(shared.is_there());
  EXPECT_EQ(shared.facts(), test_.facts());
  EXPECT_EQ(shared.facts().entries(), test_.entries());
  for (const bool takes_unknown : {true, false}) {
    const HeldOut part = shared.of_users(kSomeUsers, takes_unknown);
    const HeldOut expected = SharedHeldOut(&test_).of_users(kSomeUsers, takes_unknown);
    expect_equal(part.known, expected.known);
    ASSERT_EQ(part.unknown.size(), takes_unknown ? 3U : 1U);
    ASSERT_EQ(expected.unknown.size(), part.unknown.size());
    EXPECT_EQ(part.unknown.back().user, 299U);
    EXPECT_EQ(part.unknown.back().value, 1.0F);
  }
  EXPECT_FALSE(SharedHeldOut(nullptr).is_there());
  EXPECT_EQ(SharedHeldOut().facts().entries(), 0U);
}

TEST_F(OpenedTest, IgnoredValuesAreNotRead) {
  Dataset::Opened opened = open();
  flip("by_user.values", 0);
  flip("test.values", 0);
  opened.dataset.ignore_values();
  opened.held_out.ignore_values();
  EXPECT_FALSE(opened.dataset.has_values());
  const std::vector<RowRange> all = {{0, 300}};
  EXPECT_TRUE(opened.dataset.rows(Side::kUsers, all).values.empty());
  const HeldOut part = opened.held_out.of_users(all, true);
  EXPECT_TRUE(part.known.values.empty());
  EXPECT_EQ(part.unknown.front().value, 1.0F);
}

TEST_F(OpenedTest, DamageIsFoundByThoseWhoReadIt) {
  // The first entry of row 128, in the third chunk.
  flip("by_user.columns", data_.lengths(Side::kUsers).offsets[128] * 4);
  const Dataset::Opened opened = open();
  EXPECT_EQ(message_of([&] {
              (void)opened.dataset.rows(Side::kUsers, std::vector<RowRange>{{128, 192}});
            }),
            path("by_user.columns") + ": is altered: the checksum of rows 128 to 192 differs");
  EXPECT_EQ(message_of([&] {
              (void)opened.dataset.rows(Side::kUsers, std::vector<RowRange>{{0, 300}});
            }),
            path("by_user.columns") + ": is altered: the checksum of rows 128 to 192 differs");
  expect_equal(opened.dataset.rows(Side::kUsers, kSomeUsers), data_.rows(Side::kUsers, kSomeUsers));
  EXPECT_EQ(opened.dataset.rows(Side::kItems, std::vector<RowRange>{{0, 90}}).columns.size(), data_.entries());
  EXPECT_EQ(message_of([&] { (void)Dataset::map(directory(), pool_); }),
            path("by_user.columns") + ": is altered: the checksum of rows 128 to 192 differs");
}

TEST_F(OpenedTest, EachFileIsVerifiedWhenItIsRead) {
  flip("by_item.values", 0);
  flip("test.columns", 0);
  flip("users.ids", 9);
  const Dataset::Opened opened = open();
  EXPECT_EQ(message_of([&] {
              (void)opened.dataset.rows(Side::kItems, std::vector<RowRange>{{0, 64}});
            }),
            path("by_item.values") + ": is altered: the checksum of rows 0 to 64 differs");
  EXPECT_EQ(opened.dataset.rows(Side::kItems, std::vector<RowRange>{{64, 90}}).offsets.size(), 91U);
  EXPECT_EQ(message_of([&] {
              (void)opened.held_out.of_users(std::vector<RowRange>{{0, 64}}, false);
            }),
            path("test.columns") + ": is altered: the checksum of rows 0 to 64 differs");
  EXPECT_NO_THROW((void)opened.held_out.of_users(kSomeUsers, false));
  EXPECT_EQ(message_of([&] { (void)opened.dataset.users(); }),
            path("users.ids") + ": is altered: its checksum differs");
  EXPECT_EQ(opened.dataset.items().size(), 90U);
}

TEST_F(OpenedTest, WhatAllReadIsVerifiedAtOnce) {
  for (const char* name : {"by_user.offsets", "by_item.offsets", "test.offsets", "test.unknown", "prepared.bin"}) {
    const std::string whole = read_file(directory() / name);
    flip(name, whole.size() / 2);
    EXPECT_THAT(message_of([&] { (void)open(); }), testing::StartsWith(path(name) + ": is ")) << name;
    std::ofstream(directory() / name, std::ios::binary) << whole;
  }
  EXPECT_EQ(open().dataset.entries(), data_.entries());
}

TEST_F(OpenedTest, TruncationIsFoundBeforeAnythingIsRead) {
  for (const auto& file : fs::directory_iterator(directory())) {
    const std::string whole = read_file(file.path());
    std::ofstream(file.path(), std::ios::binary) << whole.substr(0, whole.size() - 4);
    EXPECT_THAT(message_of([&] { (void)open(); }), testing::StartsWith(file.path().string() + ": is truncated"));
    std::ofstream(file.path(), std::ios::binary) << whole;
  }
  fs::remove(directory() / "by_item.columns");
  EXPECT_EQ(message_of([&] { (void)open(); }), path("by_item.columns") + ": is missing");
}

TEST_F(OpenedTest, AFileThatShrinksAfterOpeningIsTruncated) {
  const Dataset::Opened opened = open();
  fs::resize_file(directory() / "by_user.columns", 8);
  EXPECT_EQ(message_of([&] { (void)opened.dataset.rows(Side::kUsers, kSomeUsers); }),
            path("by_user.columns") + ": is truncated");
}

TEST_F(OpenedTest, DigestsTellDataApart) {
  const std::uint64_t digest = open().digest;
  data_.write(root_ / "again", &test_, {Duplicates::kLast, 7});
  EXPECT_EQ(Dataset::open(root_ / "again", pool_).digest, digest);
  test_.known.values.front() += 1.0F;
  data_.write(root_ / "other", &test_, {Duplicates::kLast, 7});
  EXPECT_NE(Dataset::open(root_ / "other", pool_).digest, digest);
}

TEST_F(OpenedTest, PreparedByAnOlderVersionSaysSo) {
  std::string header = read_file(directory() / "prepared.bin");
  header[8] = 2;  // behind the magic number
  const std::string_view content = std::string_view(header).substr(0, header.size() - 8);
  const std::uint64_t sum = checksum(std::as_bytes(std::span(content.data(), content.size())));
  header.replace(header.size() - 8, 8, reinterpret_cast<const char*>(&sum), 8);
  std::ofstream(directory() / "prepared.bin", std::ios::binary) << header;
  try {
    (void)open();
    FAIL() << "it was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_EQ(std::string(error.what()),
              path("prepared.bin") + ": has format version 2, this program reads 3; prepare the data again");
  }
}

TEST_F(OpenedTest, AllEntriesOfOpenedDataCannotBeAskedFor) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Dataset::Opened opened = open();
  EXPECT_DEATH((void)opened.dataset.by_user(), "all entries of opened data are asked for");
  EXPECT_DEATH((void)opened.dataset.rows(Side::kUsers, std::vector<RowRange>{{0, 63}}), "whole chunks");
}

}  // namespace
}  // namespace concerto
