// Files: reads, atomic writes, staged directories.
#include "concerto/base/file.hpp"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

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
    StagedDirectory staged(target, "manifest");
    write_file(staged.path() / "manifest", "1");
  }
  EXPECT_EQ(entries(), 0U);
  for (const char* content : {"1", "2"}) {
    StagedDirectory staged(target, "manifest");
    write_file(staged.path() / "manifest", content);
    staged.commit();
    EXPECT_EQ(read_file(target / "manifest"), content);
    EXPECT_EQ(entries(), 1U);
  }
}

TEST_F(FileTest, AStagedDirectoryRefusesToReplaceAForeignOne) {
  fs::create_directories(directory_ / "home");
  write_file(directory_ / "home" / "letter", "dear");
  EXPECT_THROW(StagedDirectory(directory_ / "home", "manifest"), Error);
  EXPECT_EQ(read_file(directory_ / "home" / "letter"), "dear");
  EXPECT_EQ(entries(), 1U);
}

}  // namespace
}  // namespace concerto
