// Files: reads, atomic writes, staged directories.
#include "concerto/base/file.hpp"

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 2> kNames = {"manifest", "values"};

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::temp_directory_path() / ("concerto-file-" + std::to_string(::getpid()));
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }
  [[nodiscard]] std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }
  fs::path directory_;
};

TEST_F(FileTest, WritesAndReadsBack) {
  const std::string content(100000, 'x');
  write_file(directory_ / "a", content);
  EXPECT_EQ(read_file(directory_ / "a"), content);
  EXPECT_EQ(MappedFile(directory_ / "a").bytes().size(), content.size());
  write_file(directory_ / "a", "");
  EXPECT_EQ(read_file(directory_ / "a"), "");
  EXPECT_TRUE(MappedFile(directory_ / "a").bytes().empty());
  EXPECT_EQ(entries(), 1U);
}

TEST_F(FileTest, NamesTheFileThatItCannotRead) {
  try {
    (void)read_file(directory_ / "absent");
    FAIL() << "reading an absent file succeeded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("absent"), testing::HasSubstr("No such file")));
  }
  EXPECT_THROW((void)read_file(directory_), Error);
}

TEST_F(FileTest, ReadsFilesWithoutASize) {
  EXPECT_FALSE(read_file("/proc/self/status").empty());
}

TEST_F(FileTest, AStagedDirectoryAppearsWholeOrNotAtAll) {
  const fs::path target = directory_ / "model";
  {
    StagedDirectory staged(target, kNames);
    write_file(staged.path() / "manifest", "1");
  }
  EXPECT_EQ(entries(), 0U);
  for (const char* content : {"1", "2"}) {
    StagedDirectory staged(target, kNames);
    write_file(staged.path() / "manifest", content);
    staged.commit();
    EXPECT_EQ(read_file(target / "manifest"), content);
    EXPECT_EQ(entries(), 1U);
  }
}

TEST_F(FileTest, AStagedDirectoryRefusesToReplaceAForeignOne) {
  fs::create_directories(directory_ / "home");
  write_file(directory_ / "home" / "letter", "dear");
  EXPECT_THROW(StagedDirectory(directory_ / "home", kNames), Error);
  // Nor one of its own kind into which something was put.
  write_file(directory_ / "home" / "manifest", "1");
  EXPECT_THROW(StagedDirectory(directory_ / "home", kNames), Error);
  EXPECT_EQ(read_file(directory_ / "home" / "letter"), "dear");
  fs::remove(directory_ / "home" / "letter");
  fs::create_directory(directory_ / "home" / "data");
  EXPECT_THROW(StagedDirectory(directory_ / "home", kNames), Error);
  fs::remove(directory_ / "home" / "data");
  EXPECT_NO_THROW(StagedDirectory(directory_ / "home", kNames));
  EXPECT_EQ(entries(), 1U);
}

TEST_F(FileTest, WhatAKilledProcessLeftIsRemovedByTheNext) {
  const fs::path target = directory_ / "model";
  const fs::path abandoned = directory_ / ".model.tmp-abc123";
  const auto an_hour_ago = fs::file_time_type::clock::now() - std::chrono::hours(1);
  fs::create_directory(abandoned);
  write_file(abandoned / "manifest", "half");
  fs::create_directory(directory_ / ".model.tmp-young1");
  StagedDirectory working(target, kNames);
  for (const fs::path& path : {abandoned, working.path()}) fs::last_write_time(path, an_hour_ago);
  StagedDirectory next(target, kNames);
  EXPECT_FALSE(fs::exists(abandoned));
  EXPECT_TRUE(fs::exists(directory_ / ".model.tmp-young1"));
  EXPECT_TRUE(fs::exists(working.path())) << "somebody works in it";
  EXPECT_EQ(fs::status(next.path()).permissions() & fs::perms::owner_all, fs::perms::owner_all);
}

TEST_F(FileTest, LinksAreFollowedAndKept) {
  fs::create_directory(directory_ / "real");
  write_file(directory_ / "real" / "manifest", "1");
  fs::create_directory_symlink(directory_ / "real", directory_ / "link");
  StagedDirectory staged(directory_ / "link", kNames);
  write_file(staged.path() / "manifest", "2");
  staged.commit();
  EXPECT_EQ(read_file(directory_ / "real" / "manifest"), "2");
  EXPECT_TRUE(fs::is_symlink(directory_ / "link"));
  fs::create_symlink(directory_ / "nothing", directory_ / "dangling");
  EXPECT_THROW(StagedDirectory(directory_ / "dangling", kNames), Error);
  write_file(directory_ / "file", "1");
  fs::create_symlink(directory_ / "file", directory_ / "alias");
  write_file(directory_ / "alias", "2");
  EXPECT_EQ(read_file(directory_ / "file"), "2");
  EXPECT_TRUE(fs::is_symlink(directory_ / "alias"));
}

TEST_F(FileTest, WhatIsNoFileIsWrittenToAndNotReplaced) {
  ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  const int reader = ::open((directory_ / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  write_file(directory_ / "pipe", "report");
  std::array<char, 16> got{};
  EXPECT_EQ(::read(reader, got.data(), got.size()), 6);
  ::close(reader);
  EXPECT_TRUE(fs::is_fifo(directory_ / "pipe"));
  EXPECT_THROW(write_file(directory_, "report"), Error);
}

}  // namespace
}  // namespace concerto
