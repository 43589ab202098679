// Backends by name.
#include "engine.hpp"

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

namespace concerto {

std::unique_ptr<Backend> make_backend(const std::string& name, ThreadPool& pool) {
  if (name == "auto" || name == "cpu") return make_cpu_backend(pool);
  if (name == "reference") return make_reference_backend();
  if (name == "cuda") {
    throw Error(ErrorCode::kUnsupported, R"(this program was built without CUDA; use "auto", "cpu" or "reference")",
                R"(compute.backend = "cuda")");
  }
  throw Error(ErrorCode::kBadInput, "known backends are auto, reference, cpu and cuda",
              fmt::format(R"(compute.backend = "{}")", name));
}

Engine::Engine(const ComputeConfig& compute, Log& log)
    : pool_(compute.threads), backend_(make_backend(compute.backend, pool_)) {
  log.info("runs on " + backend_->description());
}

}  // namespace concerto
