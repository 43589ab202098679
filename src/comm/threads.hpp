// Signals and threads that talk to sockets.
#pragma once

#include <functional>
#include <thread>

#include <signal.h>

namespace concerto {

/// While it lives, the calling thread takes no signals but those of its own faults; threads that it starts never do:
/// signals are for the program's own threads.
class AsynchronousSignalBlock {
 public:
  AsynchronousSignalBlock();
  ~AsynchronousSignalBlock();
  AsynchronousSignalBlock(const AsynchronousSignalBlock&) = delete;
  AsynchronousSignalBlock& operator=(const AsynchronousSignalBlock&) = delete;

 private:
  sigset_t before_{};
};

/// While it lives, the calling thread does not end the process by writing to a connection that the other side has
/// closed (SIGPIPE); what the process does about that signal elsewhere is not a library's business.
class PipeSignalBlock {
 public:
  PipeSignalBlock();
  ~PipeSignalBlock();
  PipeSignalBlock(const PipeSignalBlock&) = delete;
  PipeSignalBlock& operator=(const PipeSignalBlock&) = delete;

 private:
  bool was_blocked_ = false;
};

/// A thread under an AsynchronousSignalBlock.
[[nodiscard]] std::thread start_thread(std::function<void()> body);

}  // namespace concerto
