// The cuda backend: whether it can run here, how it is made, what it says of itself.
#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "cuda_backend.hpp"

namespace concerto {

std::string cuda_obstacle() {
  const cuda::Availability found = cuda::find_device();
  return found.usable ? "" : found.reason;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  cuda::Availability found = cuda::find_device();
  if (!found.usable) {
    throw Error(ErrorCode::kUnsupported, found.reason + R"(; use "auto" or "cpu")", R"(compute.backend = "cuda")");
  }
  return std::make_unique<cuda::CudaBackend>(options, std::move(found.facts));
}

std::uint64_t cuda_available_bytes() {
  return cuda::find_device().usable ? cuda::free_memory() : 0;
}

namespace cuda {

CudaBackend::CudaBackend(const CudaOptions& options, DeviceFacts facts)
    : options_(options), facts_(std::move(facts)), dense_(stream_) {
  pool_.set_limit(options.memory_limit_bytes);
}

std::string CudaBackend::description() const {
  return fmt::format("cuda: {}, {} multiprocessors, {:.0f} GiB, {} gathers{}", facts_.name, facts_.multiprocessors,
                     static_cast<double>(facts_.memory_bytes) / (1 << 30),
                     options_.gather == Gather::kBf16 ? "bf16" : "fp32",
                     options_.deterministic ? ", deterministic" : "");
}

void CudaBackend::sum_systems(const SumStep& /*step*/, std::span<float> /*systems*/) {
  throw Error(ErrorCode::kUnsupported, "sums of row systems are not supported on cuda", "replication.collective");
}

void CudaBackend::solve_systems(const SystemsStep& /*step*/) {
  throw Error(ErrorCode::kUnsupported, "solving summed row systems is not supported on cuda", "replication.collective");
}

}  // namespace cuda
}  // namespace concerto
