// Backends by name, and what "auto" is here.
#include "engine.hpp"

#include <utility>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

#include "memory.hpp"

namespace concerto {
namespace {

Gather parse_gather(const std::string& name) {
  if (name == "bf16") return Gather::kBf16;
  if (name == "fp32") return Gather::kFp32;
  throw Error(ErrorCode::kBadInput, "is bf16 or fp32", fmt::format(R"(compute.gather = "{}")", name));
}

/// compute.memory_limit_bytes is of host memory; the GPU's is bounded by what it has.
CudaOptions cuda_options(const ComputeConfig& compute) {
  CudaOptions options;
  options.gather = parse_gather(compute.gather);
  options.deterministic = compute.deterministic;
  return options;
}

/// The GPU, or null and in `obstacle` why not. A GPU that is there and refuses, such as one that another process keeps
/// to itself, is an obstacle too.
std::unique_ptr<Backend> try_cuda(const CudaOptions& options, std::string& obstacle) {
  try {
    obstacle = cuda_obstacle();
    if (obstacle.empty()) return make_cuda_backend(options);
  } catch (const Error& error) {
    obstacle = error.message();
  }
  return nullptr;
}

ChosenBackend choose_automatically(const CudaOptions& options, ThreadPool& pool) {
  std::string obstacle;
  if (auto cuda = try_cuda(options, obstacle)) return {std::move(cuda), "auto: there is a GPU"};
  return {make_cpu_backend(pool), "no GPU: " + obstacle};
}

}  // namespace

ChosenBackend choose_backend(const ComputeConfig& compute, ThreadPool& pool) {
  const CudaOptions options = cuda_options(compute);  // a wrong word is an error whatever runs
  if (compute.backend == "auto") return choose_automatically(options, pool);
  if (compute.backend == "cpu") return {make_cpu_backend(pool), ""};
  if (compute.backend == "reference") return {make_reference_backend(), ""};
  if (compute.backend == "cuda") return {make_cuda_backend(options), ""};
  throw Error(ErrorCode::kBadInput, "known backends are auto, reference, cpu and cuda",
              fmt::format(R"(compute.backend = "{}")", compute.backend));
}

Engine::Engine(ComputeConfig compute, Log& log) : compute_(std::move(compute)), log_(log), pool_(compute_.threads) {
  ChosenBackend chosen = choose_backend(compute_, pool_);
  backend_ = std::move(chosen.backend);
  const std::string why = chosen.reason.empty() ? "" : fmt::format(" ({})", chosen.reason);
  log_.info("runs on " + backend_->description() + why);
}

void Engine::settle_for(const MemoryShape& shape, const std::string& what) {
  if (backend_->name() != "cuda") return;
  const std::string shortage =
      device_shortage(cuda_device_bytes(shape, parse_gather(compute_.gather)), cuda_available_bytes(), what);
  if (shortage.empty()) return;
  if (compute_.backend != "auto") {
    throw Error(ErrorCode::kOutOfMemory, shortage + R"(; lower model.rank, or use compute.backend = "cpu")",
                "GPU memory");
  }
  backend_ = make_cpu_backend(pool_);
  log_.info(fmt::format("runs on {} (not on the GPU: {})", backend_->description(), shortage));
}

}  // namespace concerto
