// A fixed set of worker threads for data-parallel loops. What a loop computes must not depend on which worker runs
// which part: the pool promises coverage, not order.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace concerto {

class ThreadPool {
 public:
  /// `threads` workers, the calling thread counted in; 0 means one for each processor this process may use.
  /// Error{kOutOfMemory} naming compute.threads when the system does not start that many.
  explicit ThreadPool(unsigned threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// The number of workers, at least 1.
  [[nodiscard]] unsigned size() const noexcept;

  /// Calls `body(begin, end, worker)` on disjoint ranges of at most `grain` indices that cover [0, count), worker in
  /// [0, size()); ranges are handed out in increasing order as workers become free. Returns when all are done. The
  /// first exception a body throws is rethrown here after the others have finished; ranges not yet begun are dropped.
  /// Not reentrant: a body must not call back into its own pool.
  void parallel_for(std::size_t count, std::size_t grain,
                    const std::function<void(std::size_t begin, std::size_t end, unsigned worker)>& body);

  /// Calls `body(worker)` once on every worker.
  void run_on_all(const std::function<void(unsigned worker)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The number of processors this process may use (its affinity mask), at least 1.
[[nodiscard]] unsigned usable_processors() noexcept;

}  // namespace concerto
