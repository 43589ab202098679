// The file by which launchers join: back as it was written, refused where it is not private, silent about secrets.
#include "join_file.hpp"

#include <fstream>

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class JoinFileTest : public ::testing::Test {
 protected:
  JoinFileTest() : folder_(testing::TempDir() + "join_file_" + std::to_string(getpid())), path_(folder_ / "join") {
    std::filesystem::create_directories(folder_);
  }
  ~JoinFileTest() override { std::filesystem::remove_all(folder_); }

  static JoinToken example() { return {"job", "h:1", std::string(64, 'a'), std::string(64, '5'), 1'700'000'000}; }
  void write(const std::string& text, mode_t mode = 0600) const {
    std::ofstream(path_) << text;
    chmod(path_.c_str(), mode);
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

TEST_F(JoinFileTest, ComesBackAsItWasAndIsPrivate) {
  write("an older one", 0644);
  write_join_file(path_, example());
  const auto read = read_join_file(path_);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read.value(), example());
  struct stat facts {};
  ASSERT_EQ(stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);  // nothing temporary is left
}

TEST_F(JoinFileTest, WhatIsMissingPublicOrNoFileIsToldApart) {
  EXPECT_EQ(read_join_file(path_).failure().kind, FailureKind::kUnreachable);
  write(format_join_token(example()), 0640);
  EXPECT_EQ(read_join_file(path_).failure().kind, FailureKind::kRefused);
  std::filesystem::remove(path_);
  std::filesystem::create_symlink("/etc/passwd", path_);
  EXPECT_EQ(read_join_file(path_).failure().kind, FailureKind::kRefused);
  EXPECT_EQ(read_join_file(folder_).failure().kind, FailureKind::kRefused);
}

TEST_F(JoinFileTest, NonsenseIsCorruptAndNotQuoted) {
  const std::string good = format_join_token(example());
  for (const std::string& text :
       {std::string(), good.substr(0, good.size() - 1), good + "5", good + good, std::string(5'000, '5')}) {
    write(text);
    const auto read = read_join_file(path_);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.failure().kind, FailureKind::kCorrupt);
    EXPECT_THAT(read.failure().message, Not(HasSubstr("555")));
  }
}

TEST_F(JoinFileTest, WhereItCannotBeWrittenIsSaid) {
  EXPECT_THROW(write_join_file(folder_ / "no" / "join", example()), Error);
}

}  // namespace
}  // namespace concerto
