// Finding and starting programs, and the end of everything that was started. Whole lives are in tests/e2e.
#include <algorithm>
#include <csignal>
#include <limits>
#include <sstream>

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process_posix.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

ProcessSpec shell(const std::string& script) {
  ProcessSpec spec;
  spec.program = "/bin/sh";
  spec.command = {"sh", "-c", script};
  spec.environment = {{"PATH", "/usr/bin:/bin"}, {"GREETING", "hello"}};
  return spec;
}

/// What comes until there are so many lines, or the other end is closed everywhere.
std::string read_some(const Descriptor& source, std::ptrdiff_t lines) {
  std::string text;
  while (std::ranges::count(text, '\n') < lines) {
    pollfd ready{source.get(), POLLIN, 0};
    poll(&ready, 1, 30'000);
    std::string part(4096, '\0');
    const ssize_t count = read(source.get(), part.data(), part.size());
    if (count <= 0) break;
    text.append(part, 0, static_cast<std::size_t>(count));
  }
  return text;
}
std::string read_all(const Descriptor& source) {
  return read_some(source, std::numeric_limits<std::ptrdiff_t>::max());
}

/// The end of this child, which must come.
ExitStatus end_of(pid_t id) {
  for (;;) {
    for (const DeadProcess& dead : collect_dead_children([](pid_t) {})) {
      if (dead.id == id) return dead.status;
    }
    usleep(1'000);
  }
}

TEST(Process, ProgramsAreFoundAsAShellDoes) {
  EXPECT_EQ(find_program("sh", "/nowhere:/bin:/usr/bin").value(), "/bin/sh");
  EXPECT_EQ(find_program("/bin/sh", "").value(), "/bin/sh");
  EXPECT_THAT(find_program("sh", "/nowhere").failure().message, HasSubstr("sh: no such program in PATH"));
  EXPECT_THAT(find_program("", "/bin").failure().message, HasSubstr("no such program in PATH"));
  EXPECT_THAT(find_program("/bin", "").failure().message, HasSubstr("is not a program that may be run"));
  EXPECT_THAT(find_program("./no/such", "").failure().message, HasSubstr("No such file or directory"));
}

TEST(Process, HasItsStreamsEnvironmentAndGroup) {
  auto started =
      start_process(shell("echo $GREETING; echo oops >&2; [ $(ps -o pgid= $$) = $$ ] || echo other group; exit 3"));
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(read_all(started.value().out), "hello\n");
  EXPECT_EQ(read_all(started.value().err), "oops\n");
  EXPECT_EQ(end_of(started.value().id), (ExitStatus{false, 3}));
}

TEST(Process, GetsItsCredentialsAndNoOtherDescriptor) {
  const Descriptor memory(memfd_create("test", 0));  // would be passed on by itself
  ASSERT_EQ(write(memory.get(), "secret", 6), 6);
  ASSERT_EQ(lseek(memory.get(), 0, SEEK_SET), 0);
  ProcessSpec spec = shell("cat <&3; ls /proc/self/fd | wc -l");
  spec.credentials = memory.get();
  auto started = start_process(spec);
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(read_all(started.value().out), "secret5\n");
  EXPECT_EQ(end_of(started.value().id), ExitStatus{});
}

TEST(Process, WhatTheSystemDoesNotRunIsSaidAndReaped) {
  ProcessSpec spec = shell("");
  spec.program = "/etc/passwd";
  const auto started = start_process(spec);
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.failure().kind, FailureKind::kRefused);
  EXPECT_EQ(started.failure().message, "/etc/passwd: Permission denied");
  EXPECT_TRUE(collect_dead_children([](pid_t) { FAIL() << "somebody is left"; }).empty());
}

TEST(Process, SignalledDeathsComeFirst) {
  auto first = start_process(shell("exit 1"));
  auto second = start_process(shell("kill -9 $$"));
  ASSERT_TRUE(first.ok() && second.ok());
  read_all(first.value().out);  // both have closed their streams
  read_all(second.value().out);
  std::vector<DeadProcess> dead;
  while (dead.size() < 2) {
    siginfo_t info{};
    // Both are to be dead before they are collected.
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(first.value().id), &info, WEXITED | WNOWAIT), 0);
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(second.value().id), &info, WEXITED | WNOWAIT), 0);
    dead = collect_dead_children([](pid_t) {});
  }
  EXPECT_EQ(dead[0].id, second.value().id);
  EXPECT_EQ(dead[0].status, (ExitStatus{true, SIGKILL}));
  EXPECT_EQ(dead[1].status, (ExitStatus{false, 1}));
}

TEST(Process, DescendantsThatHaveLeftTheGroupAreKilledToo) {
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, &before);
  become_subreaper();
  auto started =
      start_process(shell("for i in 1 2 3; do setsid sh -c 'sleep 1000 & echo $!; echo $$; wait' & done; wait"));
  ASSERT_TRUE(started.ok());
  const std::string numbers = read_some(started.value().out, 6);
  signal_group(started.value().id, SIGKILL);
  EXPECT_EQ(end_of(started.value().id), (ExitStatus{true, SIGKILL}));
  EXPECT_TRUE(kill_descendants(30'000));
  EXPECT_EQ(read_all(started.value().out), "");  // nobody holds the other end any more
  std::istringstream lines(numbers);
  int count = 0;
  for (pid_t id = 0; lines >> id; ++count) EXPECT_EQ(kill(id, 0), -1) << id;
  EXPECT_EQ(count, 6);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace concerto
