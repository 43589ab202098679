// Child processes: how they end, what is kept of their output, and that a stop request ends them.
#include <chrono>
#include <cstdlib>
#include <thread>

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"

#include "bench/child.hpp"

namespace concerto::bench {
namespace {

class ChildTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "concerto_child_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] int shell(const std::string& script, const std::stop_token& stop = {}) const {
    return run_child({"/bin/sh", "-c", script}, log(), stop);
  }
  [[nodiscard]] std::filesystem::path log() const { return folder_ / "run.log"; }

  std::filesystem::path folder_;
};

TEST_F(ChildTest, EndsWithItsStatusAndItsOutputIsKept) {
  EXPECT_EQ(shell("echo one; echo two >&2; exit 3"), 3);
  EXPECT_EQ(read_file(log()), "one\ntwo\n");
  EXPECT_EQ(shell("echo three; cat"), 0) << "there is nothing to read";
  EXPECT_EQ(read_file(log()), "one\ntwo\nthree\n");
  EXPECT_EQ(shell("kill -9 $$"), 128 + 9);
}

TEST_F(ChildTest, IsNoPartOfAnotherJob) {
  setenv("CONCERTO_RANK", "3", 1);
  setenv("SLURM_JOB_ID", "7", 1);
  setenv("BENCH_CHILD_TEST", "kept", 1);
  EXPECT_EQ(shell("echo \"$CONCERTO_RANK$SLURM_JOB_ID$BENCH_CHILD_TEST\""), 0);
  for (const char* name : {"CONCERTO_RANK", "SLURM_JOB_ID", "BENCH_CHILD_TEST"}) unsetenv(name);
  EXPECT_EQ(read_file(log()), "kept\n");
}

TEST_F(ChildTest, AStopRequestIsPassedOn) {
  std::stop_source source;
  std::thread stopper([&] {
    while (!std::filesystem::exists(folder_ / "ready")) std::this_thread::yield();
    source.request_stop();
  });
  const std::string ready = (folder_ / "ready").string();
  EXPECT_EQ(
      shell("trap 'echo stopped; exit 5' TERM; : > " + ready + "; while :; do read nothing; done", source.get_token()),
      5);
  stopper.join();
  EXPECT_EQ(read_file(log()), "stopped\n");
}

TEST_F(ChildTest, AProgramThatIsNotThereIsNamed) {
  try {
    (void)run_child({"/no/such/program"}, log(), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "/no/such/program: is not a program");
  }
}

TEST(LastWords, AreTheLastLinesThatSaySomething) {
  EXPECT_EQ(last_words("a\nb\nc\n\nd\n  \ne\n", 100), "b | c | d | e");
  EXPECT_EQ(last_words("no newline", 100), "no newline");
  EXPECT_EQ(last_words("a\tb\x01\n", 100), "a b ");
  EXPECT_EQ(last_words("0123456789\n", 4), "...6789");
  EXPECT_EQ(last_words("\n\n", 100), "");
  EXPECT_EQ(last_words("", 100), "");
}

}  // namespace
}  // namespace concerto::bench
