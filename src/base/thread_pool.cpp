// Worker threads that sleep between loops and take ranges from one atomic counter within them.
#include "concerto/base/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sched.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"

namespace concerto {

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable done;
  std::uint64_t generation = 0;  // rises by one for each loop; guarded by mutex
  unsigned running = 0;          // workers still in the present loop; guarded by mutex
  bool stopping = false;
  const std::function<void(unsigned)>* job = nullptr;
  std::exception_ptr failure;
  std::vector<std::thread> threads;

  void call(unsigned worker) noexcept {
    try {
      (*job)(worker);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    for (std::thread& thread : threads) thread.join();
  }

  void work(unsigned worker) {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stopping || generation != seen; });
        if (stopping) return;
        seen = generation;
      }
      call(worker);
      const std::lock_guard lock(mutex);
      if (--running == 0) done.notify_one();
    }
  }
};

ThreadPool::ThreadPool(unsigned threads) : state_(std::make_unique<State>()) {
  const unsigned count = threads == 0 ? usable_processors() : threads;
  try {
    for (unsigned worker = 1; worker < count; ++worker) {
      state_->threads.emplace_back([state = state_.get(), worker] { state->work(worker); });
    }
  } catch (const std::exception& error) {
    const std::size_t started = state_->threads.size() + 1;
    state_->stop();
    throw Error(ErrorCode::kOutOfMemory,
                fmt::format("the system gave {} of {} threads: {}", started, count, error.what()), "compute.threads");
  }
}

ThreadPool::~ThreadPool() {
  state_->stop();
}

unsigned ThreadPool::size() const noexcept {
  return static_cast<unsigned>(state_->threads.size()) + 1;
}

void ThreadPool::run_on_all(const std::function<void(unsigned)>& body) {
  State& state = *state_;
  {
    const std::lock_guard lock(state.mutex);
    CONCERTO_CHECK(state.job == nullptr, "a thread pool was used from within one of its own loops");
    state.job = &body;
    state.running = static_cast<unsigned>(state.threads.size());
    ++state.generation;
  }
  state.wake.notify_all();
  state.call(0);
  std::exception_ptr failure;
  {
    std::unique_lock lock(state.mutex);
    state.done.wait(lock, [&] { return state.running == 0; });
    state.job = nullptr;
    failure = std::exchange(state.failure, nullptr);
  }
  if (failure) std::rethrow_exception(failure);
}

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              const std::function<void(std::size_t, std::size_t, unsigned)>& body) {
  if (count == 0) return;
  const std::size_t step = std::max<std::size_t>(grain, 1);
  std::atomic<std::size_t> next{0};
  run_on_all([&](unsigned worker) {
    for (;;) {
      const std::size_t begin = next.fetch_add(step, std::memory_order_relaxed);
      if (begin >= count) return;
      try {
        body(begin, std::min(begin + step, count), worker);
      } catch (...) {
        next.store(count, std::memory_order_relaxed);  // drop what has not begun
        throw;
      }
    }
  });
}

unsigned usable_processors() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1U, static_cast<unsigned>(CPU_COUNT(&set)));
  return std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace concerto
