// Operations, pending and ended, and the communicator's one failure.
#include "operation_book.hpp"

#include <utility>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "operation_header.hpp"

namespace concerto {

Record OperationBook::open(OperationKind kind, const OperationTag& tag) {
  auto record = std::make_shared<OperationRecord>(kind, tag, OperationRecord::Clock::now() + limits_.operation);
  operations_.fetch_add(1, std::memory_order_relaxed);
  std::function<void()> notify;
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) {
      pending_.push_back(record);
      changed_.notify_all();
      return record;
    }
    record->state_.store(OperationState::kFailed, std::memory_order_release);
    notify = notify_;
  }
  if (notify) notify();
  return record;
}

void OperationBook::end_executed() {
  bool is_blocked = false;  // by an operation among all ranks that has not been executed
  std::erase_if(pending_, [&](const Record& record) {
    const bool ends = record->is_executed_ && !(record->is_ordered() && is_blocked);
    is_blocked = is_blocked || (record->is_ordered() && !record->is_executed_);
    if (ends)
      record->state_.store(has_lost_order_ && record->is_ordered() ? OperationState::kFailed : OperationState::kDone,
                           std::memory_order_release);
    return ends;
  });
}

void OperationBook::complete(const Record& record) {
  std::function<void()> notify;
  {
    const std::lock_guard lock(mutex_);
    CONCERTO_CHECK(record->state() == OperationState::kPending && !record->is_executed_, "an operation ends twice");
    record->is_executed_ = true;
    end_executed();
    notify = notify_;
    changed_.notify_all();
  }
  if (notify) notify();
}

void OperationBook::drop(const Record& record) {
  CONCERTO_CHECK(failed(), "an operation is dropped and nothing has failed");
  std::function<void()> notify;
  {
    const std::lock_guard lock(mutex_);
    CONCERTO_CHECK(record->state() == OperationState::kPending, "an operation ends twice");
    record->state_.store(OperationState::kFailed, std::memory_order_release);
    std::erase(pending_, record);
    has_lost_order_ = has_lost_order_ || record->is_ordered();
    end_executed();
    notify = notify_;
    changed_.notify_all();
  }
  if (notify) notify();
}

bool OperationBook::fail_locked(CommFailure failure) {
  if (failure_) return false;
  failure_ = std::move(failure);
  failed_.store(true, std::memory_order_release);
  changed_.notify_all();
  return true;
}

bool OperationBook::fail(CommFailure failure) {
  const std::lock_guard lock(mutex_);
  return fail_locked(std::move(failure));
}

bool OperationBook::fail(const OperationRecord& record, FailureKind kind, const std::string& what,
                         std::vector<Rank> suspects) {
  CommFailure failure;
  failure.failure = {kind, fmt::format("{}: {}", describe(record.kind(), record.tag()), what)};
  failure.kind = record.kind();
  failure.tag = record.tag();
  failure.suspects = std::move(suspects);
  return fail(std::move(failure));
}

std::optional<CommFailure> OperationBook::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

bool OperationBook::has_pending() const {
  const std::lock_guard lock(mutex_);
  return !pending_.empty();
}

Result<void> OperationBook::wait(const OperationHandle& operation) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return operation->state() != OperationState::kPending; });
  if (operation->state() == OperationState::kDone) return {};
  return failure_->failure;
}

void OperationBook::set_notify(std::function<void()> notify) {
  const std::lock_guard lock(mutex_);
  notify_ = std::move(notify);
}

bool OperationBook::expire_locked() {
  if (failure_ || pending_.empty() || OperationRecord::Clock::now() < pending_.front()->deadline()) return false;
  const OperationRecord& oldest = *pending_.front();
  CommFailure late;
  late.kind = oldest.kind();
  late.tag = oldest.tag();
  std::string whom = "not finished";
  if (const Rank awaited = oldest.awaited(); awaited != kNoRank) {
    whom = fmt::format("nothing from rank {}", awaited);
    late.suspects = {awaited};
  }
  late.failure.kind = FailureKind::kTimeout;
  late.failure.message =
      fmt::format("{}: {} within {} ms", describe(oldest.kind(), oldest.tag()), whom, limits_.operation.count());
  return fail_locked(std::move(late));
}

void OperationBook::expire() {
  const std::lock_guard lock(mutex_);
  (void)expire_locked();
}

bool OperationBook::watch_deadlines() {
  std::unique_lock lock(mutex_);
  while (!failure_ && !closed_ && !expire_locked()) {
    if (pending_.empty()) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, pending_.front()->deadline());
    }
  }
  return failure_.has_value();
}

void OperationBook::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

CommCounters OperationBook::counters() const noexcept {
  CommCounters counters;
  counters.bytes_sent = sent_.load(std::memory_order_relaxed);
  counters.bytes_received = received_.load(std::memory_order_relaxed);
  counters.header_bytes_sent = headers_.load(std::memory_order_relaxed);
  counters.operations = operations_.load(std::memory_order_relaxed);
  return counters;
}

}  // namespace concerto
