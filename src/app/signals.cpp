// Signals by descriptor: one thread waits for a signal or for the end, so that no code runs inside a signal handler.
#include "signals.hpp"

#include <array>
#include <cstdint>

#include <poll.h>
#include <signal.h>
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

}  // namespace

StopSignals::StopSignals(std::ostream& err) : err_(err) {
  const sigset_t set = stop_signals();
  CONCERTO_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "signals cannot be blocked");
  signal_descriptor_ = signalfd(-1, &set, SFD_CLOEXEC);
  end_descriptor_ = eventfd(0, EFD_CLOEXEC);
  CONCERTO_CHECK(signal_descriptor_ >= 0 && end_descriptor_ >= 0, "no descriptor for signals");
  watcher_ = std::thread([this] { watch(); });
}

StopSignals::~StopSignals() {
  const std::uint64_t one = 1;
  CONCERTO_CHECK(write(end_descriptor_, &one, sizeof one) == sizeof one, "the signal thread cannot be told to end");
  watcher_.join();
  close(signal_descriptor_);
  close(end_descriptor_);
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void StopSignals::watch() {
  constexpr int kInterrupted = 130;
  for (;;) {
    std::array<pollfd, 2> waits = {pollfd{signal_descriptor_, POLLIN, 0}, pollfd{end_descriptor_, POLLIN, 0}};
    if (poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[1].revents != 0) return;
    signalfd_siginfo info{};
    if (read(signal_descriptor_, &info, sizeof info) != sizeof info) continue;
    if (!source_.request_stop()) _exit(kInterrupted);
    err_ << "\nconcerto: stopping; the last complete epoch is kept (again to end at once)" << std::endl;
  }
}

}  // namespace concerto
