// Signals by descriptor: one thread waits for a signal or for the end, so that no work is done inside a signal handler.
//
// The descriptor sees a signal only when every thread blocks it, but libraries may have started threads before main. A
// handler therefore passes the signal on: it blocks it in the thread it happened to interrupt, for good, and sends it
// to the process again.
#include "signals.hpp"

#include <array>
#include <csignal>
#include <cstdint>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

/// Runs in a thread that does not block the signal. Only calls that are safe in a handler.
void pass_on(int number, siginfo_t* /*info*/, void* context) {
  sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, number);
  kill(getpid(), number);
}

}  // namespace

StopSignals::StopSignals(std::ostream& err) : err_(err) {
  const sigset_t set = stop_signals();
  CONCERTO_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "signals cannot be blocked");
  signal_descriptor_ = signalfd(-1, &set, SFD_CLOEXEC);
  end_descriptor_ = eventfd(0, EFD_CLOEXEC);
  CONCERTO_CHECK(signal_descriptor_ >= 0 && end_descriptor_ >= 0, "no descriptor for signals");
  struct sigaction action {};
  action.sa_sigaction = pass_on;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  for (const int number : {SIGINT, SIGTERM}) {
    CONCERTO_CHECK(sigaction(number, &action, nullptr) == 0, "a signal cannot be handled");
  }
  watcher_ = std::thread([this] { watch(); });
}

StopSignals::~StopSignals() {
  const std::uint64_t one = 1;
  CONCERTO_CHECK(write(end_descriptor_, &one, sizeof one) == sizeof one, "the signal thread cannot be told to end");
  watcher_.join();
  close(signal_descriptor_);
  close(end_descriptor_);
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &by_default, nullptr);
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void StopSignals::watch() {
  constexpr int kInterrupted = 130;
  StopWishes wishes;
  for (;;) {
    std::array<pollfd, 2> waits = {pollfd{signal_descriptor_, POLLIN, 0}, pollfd{end_descriptor_, POLLIN, 0}};
    if (poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[1].revents != 0) return;
    signalfd_siginfo info{};
    if (read(signal_descriptor_, &info, sizeof info) != sizeof info) continue;
    const StopWishes::Answer answer = wishes.take(std::chrono::steady_clock::now());
    if (answer == StopWishes::Answer::kEndNow) _exit(kInterrupted);
    if (answer == StopWishes::Answer::kNothingNew) continue;
    source_.request_stop();
    err_ << "\nconcerto: stopping; " << left_.load() << " (again to end at once)" << std::endl;
  }
}

}  // namespace concerto
