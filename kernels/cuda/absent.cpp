// The cuda backend of a program that was built without CUDA: it says so. The only file of its library then.
#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

namespace concerto {

std::string cuda_obstacle() {
  return "this program was built without CUDA";
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions&) {
  throw Error(ErrorCode::kUnsupported, cuda_obstacle() + R"(; use "auto", "cpu" or "reference")",
              R"(compute.backend = "cuda")");
}

std::uint64_t cuda_device_bytes(const MemoryShape&, Gather) {
  return 0;
}
std::uint64_t cuda_host_bytes(const MemoryShape&) {
  return 0;
}
std::uint64_t cuda_available_bytes() {
  return 0;
}

}  // namespace concerto
