// Signal masks of threads.
#include "threads.hpp"

#include <ctime>
#include <utility>

namespace concerto {

AsynchronousSignalBlock::AsynchronousSignalBlock() {
  sigset_t blocked;
  (void)sigfillset(&blocked);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) (void)sigdelset(&blocked, fault);
  (void)pthread_sigmask(SIG_BLOCK, &blocked, &before_);
}

AsynchronousSignalBlock::~AsynchronousSignalBlock() {
  (void)pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

PipeSignalBlock::PipeSignalBlock() {
  sigset_t pipe;
  sigset_t before;
  (void)sigemptyset(&pipe);
  (void)sigaddset(&pipe, SIGPIPE);
  (void)pthread_sigmask(SIG_BLOCK, &pipe, &before);
  was_blocked_ = sigismember(&before, SIGPIPE) == 1;
}

PipeSignalBlock::~PipeSignalBlock() {
  if (was_blocked_) return;
  sigset_t pipe;
  (void)sigemptyset(&pipe);
  (void)sigaddset(&pipe, SIGPIPE);
  // One that came meanwhile is taken, or it would be delivered now.
  constexpr timespec kNow{0, 0};
  (void)sigtimedwait(&pipe, nullptr, &kNow);
  (void)pthread_sigmask(SIG_UNBLOCK, &pipe, nullptr);
}

std::thread start_thread(std::function<void()> body) {
  const AsynchronousSignalBlock block;  // a new thread inherits the mask of the one that starts it
  return std::thread(std::move(body));
}

}  // namespace concerto
