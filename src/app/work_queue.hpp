// What drivers of ranks are made of: a queue of things to do, the thread that computes, and what wakes a queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace concerto {

/// Things to do, in order, from any thread, done by one.
class WorkQueue {
 public:
  void push(std::function<void()> work) {
    const std::scoped_lock lock(mutex_);
    work_.push_back(std::move(work));
    changed_.notify_all();
  }
  /// The next piece of work; nothing when `limit` is over first, or after close().
  std::optional<std::function<void()>> pop(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, limit, [this] { return !work_.empty() || is_closed_; });
    if (work_.empty()) return std::nullopt;
    auto next = std::move(work_.front());
    work_.pop_front();
    return next;
  }
  /// Drops what waits.
  void close() {
    const std::scoped_lock lock(mutex_);
    is_closed_ = true;
    work_.clear();
    changed_.notify_all();
  }
  [[nodiscard]] bool is_closed() const {
    const std::scoped_lock lock(mutex_);
    return is_closed_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  bool is_closed_ = false;
};

/// What a communicator rings when an operation has changed: wakes a queue, and outlives it, because a communicator that
/// is used on may still be ringing.
class Doorbell {
 public:
  explicit Doorbell(WorkQueue& queue) : shared_(std::make_shared<Shared>()) { shared_->queue = &queue; }
  ~Doorbell() {
    const std::scoped_lock lock(shared_->mutex);
    shared_->queue = nullptr;
  }
  Doorbell(const Doorbell&) = delete;
  [[nodiscard]] std::function<void()> ringer() const {
    return [shared = shared_] {
      const std::scoped_lock lock(shared->mutex);
      if (shared->queue != nullptr) shared->queue->push([] {});
    };
  }

 private:
  struct Shared {
    std::mutex mutex;
    WorkQueue* queue = nullptr;
  };
  std::shared_ptr<Shared> shared_;
};

/// The thread of compute effects.
class ComputeLane {
 public:
  ComputeLane() : thread_([this] { run(); }) {}
  ~ComputeLane() {
    work_.close();
    thread_.join();
  }
  ComputeLane(const ComputeLane&) = delete;
  void push(std::function<void()> work) { work_.push(std::move(work)); }

 private:
  void run() {
    while (!work_.is_closed()) {
      if (const auto next = work_.pop(std::chrono::seconds(60))) (*next)();
    }
  }
  WorkQueue work_;
  std::thread thread_;
};

}  // namespace concerto
