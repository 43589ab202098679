// Starting a kernel on a device, with its errors checked and named.
#pragma once

#include <type_traits>
#include <utility>

#include <cuda_runtime.h>

#include "device/simt.cuh"
#include "nvidia/checked.hpp"
#include "runtime.hpp"

namespace concerto::cuda {

/// Runs `kernel` on every thread of `shape`, in the order of `stream`. Arguments are converted to the kernel's
/// parameters. Returns before the kernel has run; an error while it runs is met at the next synchronization.
template <class... Parameters, class... Arguments>
void launch(const Stream& stream, const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Arguments&&... arguments) {
  constexpr std::size_t kSharedByDefault = std::size_t{48} << 10;
  const auto* entry = reinterpret_cast<const void*>(kernel);
  if (shape.shared_bytes > kSharedByDefault) {
    check_launch(
        cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared_bytes)),
        name);
  }
  const auto start = [&](std::remove_cv_t<Parameters>... values) {
    void* pointers[] = {&values..., nullptr};
    check_launch(cudaLaunchKernel(entry, dim3(shape.grid_x, shape.grid_y), dim3(shape.block), pointers,
                                  shape.shared_bytes, static_cast<cudaStream_t>(stream.native())),
                 name);
  };
  start(static_cast<Parameters>(arguments)...);
}

}  // namespace concerto::cuda
