// Pinned host memory by the CUDA runtime.
#include "pinned.hpp"

#include <cuda_runtime.h>

#include "concerto/base/error.hpp"

namespace concerto::bench {

PinnedBytes::PinnedBytes(std::size_t bytes) {
  if (cudaHostAlloc(&data_, bytes, cudaHostAllocDefault) != cudaSuccess) {
    (void)cudaGetLastError();
    throw Error(ErrorCode::kOutOfMemory, "there is not enough host memory to pin", "bench");
  }
}
PinnedBytes::~PinnedBytes() {
  (void)cudaFreeHost(data_);
}

}  // namespace concerto::bench
