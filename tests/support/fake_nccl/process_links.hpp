// Messages between the ranks of one fake NCCL communicator that are processes of their own, over Unix sockets.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace concerto {

class ProcessLinks {
 public:
  using Bytes = std::vector<char>;
  /// A message has come; `taken` is to be called when somebody has taken it.
  using Arrived = std::function<void(int from, Bytes bytes, std::function<void()> taken)>;

  /// Ranks find each other by `name`.
  ProcessLinks(std::string name, int rank, int ranks, Arrived arrived);
  ~ProcessLinks();
  ProcessLinks(const ProcessLinks&) = delete;
  ProcessLinks& operator=(const ProcessLinks&) = delete;

  /// Tries to reach those that are not reached yet; true when all are. From one thread.
  [[nodiscard]] bool connect();
  /// Messages to one rank arrive in order. From one thread, as await_taken().
  void send(int to, const void* bytes, std::size_t size);
  /// Waits until the next message to `to`, in order, is taken; false when that rank is gone, or after close().
  [[nodiscard]] bool await_taken(int to);
  /// From any thread: wakes who waits.
  void close();

 private:
  void accept_all();
  void read_all(int connection);

  const std::string name_;
  const int rank_;
  const Arrived arrived_;
  const int listener_;
  std::vector<int> to_;  ///< by rank; -1: not reached
  std::mutex mutex_;
  std::vector<int> from_;
  std::vector<std::thread> readers_;
  bool is_closed_ = false;
  std::thread acceptor_;
};

}  // namespace concerto
