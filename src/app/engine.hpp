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
  /// Starts the threads and says in one log line what runs. Error{kUnsupported} for a backend that is not built in.
  Engine(const ComputeConfig& compute, Log& log);
  [[nodiscard]] ThreadPool& pool() noexcept { return pool_; }
  [[nodiscard]] Backend& backend() noexcept { return *backend_; }

 private:
  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
};

/// The backend alone: "auto" is the cpu.
[[nodiscard]] std::unique_ptr<Backend> make_backend(const std::string& name, ThreadPool& pool);

}  // namespace concerto
