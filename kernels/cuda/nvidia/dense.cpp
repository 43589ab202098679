// Dense products through cuBLAS, which is loaded when the first of them is made. cuBLAS is column-major: a row-major
// matrix is its transpose there, so that c = a b^T is asked for as c^T = b a^T.
#include "dense.hpp"

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "nvidia/cublas_library.hpp"

namespace concerto::cuda {
namespace {

/// What Dense::handle_ points to: the library and a handle of it.
struct Blas {
  CublasLibrary library;
  cublasHandle_t handle = nullptr;

  ~Blas() {
    if (handle != nullptr) (void)library.destroy(handle);
  }
  void check(cublasStatus_t status, const char* what) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw Error(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorCode::kOutOfMemory : ErrorCode::kIo,
                fmt::format("cuBLAS refused {}: {}", what, library.status_string(status)), "cuda");
  }
};

const Blas& blas_of(void* handle) {
  return *static_cast<const Blas*>(handle);
}

cudaDataType_t type_of(Element element) {
  return element == Element::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
}
cublasComputeType_t compute_of(Element element) {
  return element == Element::kBf16 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC;
}
int narrow(std::size_t value) {
  return static_cast<int>(value);
}

constexpr float kOne = 1.0F;
constexpr float kZero = 0.0F;

}  // namespace

Dense::Dense(const Stream& stream) : stream_(stream) {
  auto blas = std::make_unique<Blas>();
  blas->check(blas->library.create(&blas->handle), "to start");
  blas->check(blas->library.set_stream(blas->handle, static_cast<cudaStream_t>(stream.native())), "a stream");
  handle_ = blas.release();
}
Dense::~Dense() {
  delete static_cast<Blas*>(handle_);
}

void Dense::product_transposed(std::size_t rows, std::size_t columns, std::size_t inner, const MatrixView& a,
                               const MatrixView& b, float* c, std::size_t c_stride) {
  if (rows == 0 || columns == 0) return;
  const Blas& blas = blas_of(handle_);
  blas.check(
      blas.library.product(blas.handle, CUBLAS_OP_T, CUBLAS_OP_N, narrow(columns), narrow(rows), narrow(inner), &kOne,
                           b.data, type_of(b.element), narrow(b.stride), a.data, type_of(a.element), narrow(a.stride),
                           &kZero, c, CUDA_R_32F, narrow(c_stride), compute_of(a.element), CUBLAS_GEMM_DEFAULT),
      "a product");
}

void Dense::product(std::size_t rows, std::size_t columns, std::size_t inner, const MatrixView& a, const MatrixView& b,
                    float* c, std::size_t c_stride) {
  if (rows == 0 || columns == 0) return;
  const Blas& blas = blas_of(handle_);
  blas.check(
      blas.library.product(blas.handle, CUBLAS_OP_N, CUBLAS_OP_N, narrow(columns), narrow(rows), narrow(inner), &kOne,
                           b.data, type_of(b.element), narrow(b.stride), a.data, type_of(a.element), narrow(a.stride),
                           &kZero, c, CUDA_R_32F, narrow(c_stride), compute_of(a.element), CUBLAS_GEMM_DEFAULT),
      "a product");
}

void Dense::grams(std::size_t count, std::size_t rows, std::size_t columns, const MatrixView& a, float* c) {
  if (count == 0) return;
  const Blas& blas = blas_of(handle_);
  const auto part = static_cast<long long>(rows * a.stride);
  blas.check(blas.library.batched_product(blas.handle, CUBLAS_OP_N, CUBLAS_OP_T, narrow(columns), narrow(columns),
                                          narrow(rows), &kOne, a.data, type_of(a.element), narrow(a.stride), part,
                                          a.data, type_of(a.element), narrow(a.stride), part, &kZero, c, CUDA_R_32F,
                                          narrow(columns), static_cast<long long>(columns * columns), narrow(count),
                                          compute_of(a.element), CUBLAS_GEMM_DEFAULT),
             "Gram matrices");
}

}  // namespace concerto::cuda
