// What a communicator knows of its operations: which are pending, why it failed, how many bytes went; and the waiting
// for any of that to change. Every implementation keeps its operations in one.
//
// The first failure is the communicator's for good. It does not end operations by itself: whoever executes one gives
// its buffers up first and then drops it, so that a handle that says failed is one whose buffers are no longer used.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/communicator.hpp"

namespace concerto {

/// An operation, to its caller a handle. Thread-safe.
class OperationRecord final : public Operation {
 public:
  using Clock = std::chrono::steady_clock;
  OperationRecord(OperationKind kind, const OperationTag& tag, Clock::time_point deadline)
      : kind_(kind), tag_(tag), deadline_(deadline) {}

  [[nodiscard]] OperationState state() const noexcept override { return state_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t bytes_moved() const noexcept override { return moved_.load(std::memory_order_relaxed); }

  [[nodiscard]] OperationKind kind() const noexcept { return kind_; }
  /// Operations among all ranks end in the order in which they were opened.
  [[nodiscard]] bool is_ordered() const noexcept {
    return kind_ != OperationKind::kSend && kind_ != OperationKind::kReceive;
  }
  [[nodiscard]] const OperationTag& tag() const noexcept { return tag_; }
  [[nodiscard]] Clock::time_point deadline() const noexcept { return deadline_; }
  void add_moved(std::uint64_t bytes) noexcept { moved_.fetch_add(bytes, std::memory_order_relaxed); }
  /// For whom its execution waits at the moment: whom to suspect at the deadline. kNoRank: nobody in particular.
  void set_awaited(Rank peer) noexcept { awaited_.store(peer, std::memory_order_relaxed); }
  [[nodiscard]] Rank awaited() const noexcept { return awaited_.load(std::memory_order_relaxed); }

 private:
  friend class OperationBook;
  const OperationKind kind_;
  const OperationTag tag_;
  const Clock::time_point deadline_;
  std::atomic<OperationState> state_{OperationState::kPending};
  std::atomic<std::uint64_t> moved_{0};
  std::atomic<Rank> awaited_{kNoRank};
  bool is_executed_ = false;  ///< and waits for those before it; guarded by the book
};
using Record = std::shared_ptr<OperationRecord>;

/// Thread-safe.
class OperationBook {
 public:
  explicit OperationBook(const CommLimits& limits) : limits_(limits) {}

  /// A new operation: pending, or failed where the communicator has failed.
  [[nodiscard]] Record open(OperationKind kind, const OperationTag& tag);
  /// Its execution has ended well. One among all ranks is done once those before it are, and fails if one of them does.
  void complete(const Record& record);
  /// Its execution has ended because the communicator has failed.
  void drop(const Record& record);

  /// True if this is the communicator's failure, false if it had one.
  bool fail(CommFailure failure);
  /// A failure of this kind in this operation: "KIND (TAG): what".
  bool fail(const OperationRecord& record, FailureKind kind, const std::string& what, std::vector<Rank> suspects);
  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  [[nodiscard]] std::optional<CommFailure> failure() const;
  [[nodiscard]] bool has_pending() const;

  /// Blocks until `operation` is done or failed.
  [[nodiscard]] Result<void> wait(const OperationHandle& operation);
  /// Called with no lock held after an operation has been completed or dropped.
  void set_notify(std::function<void()> notify);

  /// If an operation is past its deadline, that is the communicator's failure.
  void expire();
  /// Blocks until an operation is past its deadline, which then is the communicator's failure, or the communicator has
  /// failed otherwise, or the book is closed: false only then.
  bool watch_deadlines();
  /// Ends watch_deadlines().
  void close();

  void count_sent(std::uint64_t payload) noexcept { sent_.fetch_add(payload, std::memory_order_relaxed); }
  void count_received(std::uint64_t payload) noexcept { received_.fetch_add(payload, std::memory_order_relaxed); }
  void count_header(std::uint64_t bytes) noexcept { headers_.fetch_add(bytes, std::memory_order_relaxed); }
  [[nodiscard]] CommCounters counters() const noexcept;

 private:
  /// Of what has been executed, all that need not wait for another; called with the lock held.
  void end_executed();
  bool fail_locked(CommFailure failure);
  bool expire_locked();

  const CommLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Record> pending_;  ///< in the order in which they were opened, which is that of their deadlines
  std::optional<CommFailure> failure_;
  std::function<void()> notify_;
  bool has_lost_order_ = false;  ///< an operation among all ranks was dropped: none after it is done
  bool closed_ = false;
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> headers_{0};
  std::atomic<std::uint64_t> operations_{0};
};

}  // namespace concerto
