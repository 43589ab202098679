// What CUDA and cuBLAS return, as Errors. Private to kernels/cuda/nvidia.
#pragma once

#include <string_view>

namespace concerto::cuda {

/// Throws Error{kIo} naming `what` when a CUDA status is not success. Error{kOutOfMemory} where it says so.
void check_cuda(int status, std::string_view what);

/// The same, naming a kernel.
void check_launch(int status, const char* name);

}  // namespace concerto::cuda
