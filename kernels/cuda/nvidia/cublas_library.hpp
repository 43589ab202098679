// cuBLAS, loaded when it is needed: the program starts, and says what is missing, on machines without it.
//
// Private to kernels/cuda/nvidia. It finds and opens the library and knows the five functions that dense.cpp calls.
#pragma once

#include <string>
#include <utility>

#include <cublas_v2.h>

namespace concerto::cuda {

/// An open cuBLAS. Move-only owner. The process keeps the library mapped once it was opened, so that a probe before the
/// first use costs nothing twice.
class CublasLibrary {
 public:
  /// Tries the loader's path, the toolkit and Python's packages. Error{kUnsupported} saying what was tried.
  CublasLibrary();
  ~CublasLibrary();
  CublasLibrary(CublasLibrary&& other) noexcept;
  CublasLibrary& operator=(CublasLibrary&&) = delete;
  CublasLibrary(const CublasLibrary&) = delete;

  /// "" where it can be opened, else why not.
  [[nodiscard]] static std::string obstacle();

  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  cublasStatus_t (*product)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                            const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                            cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
  cublasStatus_t (*batched_product)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                                    const void*, cudaDataType, int, long long, const void*, cudaDataType, int,
                                    long long, const void*, void*, cudaDataType, int, long long, int,
                                    cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
  decltype(&cublasGetStatusString) status_string = nullptr;

 private:
  void* light_ = nullptr;  ///< libcublasLt, which libcublas needs
  void* library_ = nullptr;
};

}  // namespace concerto::cuda
