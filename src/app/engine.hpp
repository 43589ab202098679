// The machine part of a command: threads and the backend that the configuration asks for. The only place that names
// concrete backends.
#pragma once

#include <memory>
#include <string>

#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/config/config.hpp"

#include "log.hpp"

namespace concerto {

class Engine {
 public:
  /// Starts the threads and says in one log line what runs, and, with "auto", why the GPU does or does not. A backend
  /// that was asked for by its name and cannot run is Error{kUnsupported} with the reason; nothing else runs instead.
  Engine(ComputeConfig compute, Log& log);
  [[nodiscard]] ThreadPool& pool() noexcept { return pool_; }
  [[nodiscard]] Backend& backend() noexcept { return *backend_; }

  /// Where a GPU runs and this training does not fit in what it has free: Error{kOutOfMemory} saying by how much, or,
  /// with "auto", the cpu from here on, said in one log line. `what` opens the sentence: "training 3 users ...". To be
  /// called before anything is kept in the backend.
  void settle_for(const MemoryShape& shape, const std::string& what);

 private:
  ComputeConfig compute_;
  Log& log_;
  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
};

/// A backend, and in a few words why "auto" is this one: "no GPU: this machine has no NVIDIA driver"; else empty.
struct ChosenBackend {
  std::unique_ptr<Backend> backend;
  std::string reason;
};
/// The backend that is asked for: "auto" is the GPU where there is one that can run, else the cpu.
[[nodiscard]] ChosenBackend choose_backend(const ComputeConfig& compute, ThreadPool& pool);

}  // namespace concerto
