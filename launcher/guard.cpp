// The guarding process: it waits, passes signals on, and cleans up.
#include "guard.hpp"

#include <array>
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

#include "process_posix.hpp"

namespace concerto {
namespace {

constexpr int kCleaning_ms = 10'000;
constexpr int kSignalBase = 128;

sigset_t blocked_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&set, number);
  struct sigaction present {};
  // As nohup asks: an ignored SIGHUP stays ignored.
  if (sigaction(SIGHUP, nullptr, &present) == 0 && present.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);  // NOLINT
  return set;
}

int watch_over(pid_t launcher, const sigset_t& signals, const std::function<void(const char* line)>& report) {
  for (;;) {
    siginfo_t info{};
    const int number = sigwaitinfo(&signals, &info);
    if (number < 0) continue;
    if (number != SIGCHLD) {
      kill(launcher, number);
      continue;
    }
    for (const DeadProcess& dead : collect_dead_children([](pid_t) {})) {
      if (dead.id != launcher) continue;
      if (dead.status.is_signal) report("the launcher was killed; what is left of the job is killed, too");
      kill_descendants(kCleaning_ms);
      return dead.status.code();
    }
  }
}

}  // namespace

int run_guarded(const std::function<int(Descriptor guard)>& body, const std::function<void(const char* line)>& report) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw io_error("be made", "a pipe");
  Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const sigset_t signals = blocked_signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  become_subreaper();
  const pid_t launcher = fork();
  if (launcher < 0) throw io_error("be started", "the launcher's process");
  if (launcher == 0) {
    writing.reset();
    setpgid(0, 0);
    // Being in the background of a terminal must not stop it when it writes there.
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;  // NOLINT: the macro's cast
    for (const int number : {SIGTTOU, SIGPIPE}) sigaction(number, &ignore, nullptr);
    become_subreaper();
    return body(std::move(reading));
  }
  setpgid(launcher, launcher);
  reading.reset();
  return watch_over(launcher, signals, report);
}

}  // namespace concerto
