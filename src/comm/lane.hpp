// A lane: operations of one rank that go one after another, executed by a thread of its own.
//
// A communicator has some lanes for operations among all ranks, which take them in turn, and two for each peer that it
// sends to or receives from, so that sends and receives may cross each other and everything else. A thread a lane,
// because what carries the bytes can only be waited for one message at a time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "concerto/base/ids.hpp"

#include "operation_book.hpp"
#include "operation_header.hpp"
#include "schedule.hpp"
#include "transport.hpp"

namespace concerto {

/// Bytes that move within this rank. They may overlap.
struct Copy {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  std::size_t bytes = 0;
};

/// An operation as a lane executes it.
struct Work {
  Record record;
  OperationHeader header;
  Schedule schedule;
  const std::byte* give = nullptr;  ///< what the schedule's sends are within
  std::byte* fill = nullptr;        ///< what its receives are within
  std::vector<std::byte> staging;   ///< what `give` and `fill` are within, where not the caller's buffers
  std::vector<Copy> before;         ///< done before the first message
  std::vector<Copy> after;          ///< done after the last
};

/// Which streams a lane's messages take.
struct LaneStreams {
  Stream header_out = group_header(0);
  Stream header_in = group_header(0);
  Stream data = group_data(0);
};

class Lane {
 public:
  /// `fail` is called where an execution finds that the communicator has to fail; it sees to it that every lane is
  /// interrupted. Transport and book outlive the lane.
  Lane(Transport& transport, OperationBook& book, LaneStreams streams,
       std::function<void(const OperationRecord&, FailureKind, const std::string&, Rank suspect)> fail);
  /// What is pending must have ended: no work, or the book has failed.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void push(Work work);
  /// After the book has failed: wakes the lane, which gives up its links and drops its operations.
  void interrupt() noexcept;
  /// After interrupt(): returns when the links are gone. Also from the lane's own thread, while it tells of an
  /// operation's end.
  void await_quiet() noexcept;

 private:
  void run();
  [[nodiscard]] Link* link_to(Rank peer);
  void give_up_links();
  [[nodiscard]] bool execute(const Work& work);

  Transport& transport_;
  OperationBook& book_;
  const LaneStreams streams_;
  const std::function<void(const OperationRecord&, FailureKind, const std::string&, Rank)> fail_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  std::map<Rank, std::unique_ptr<Link>> links_;
  bool interrupted_ = false;
  bool quiet_ = false;  ///< links are gone for good
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above

  friend class Execution;
};

}  // namespace concerto
