// Dense products on the device, through cuBLAS (the host machine of the tests has plain loops).
//
// Matrices are row-major here, as everywhere in Concerto; elements are fp32 or bf16 bits, sums and results fp32. fp32
// products are true fp32 (no tf32). The same call on the same device gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime.hpp"

namespace concerto::cuda {

enum class Element : std::uint8_t { kFp32, kBf16 };

/// A row-major matrix on the device; `stride` in elements.
struct MatrixView {
  const void* data = nullptr;
  Element element = Element::kFp32;
  std::size_t stride = 0;
};

class Dense {
 public:
  explicit Dense(const Stream& stream);
  ~Dense();
  Dense(const Dense&) = delete;
  Dense& operator=(const Dense&) = delete;

  /// c = a b^T, a: rows x inner, b: columns x inner, c: rows x columns of fp32. a and b of the same element.
  void product_transposed(std::size_t rows, std::size_t columns, std::size_t inner, const MatrixView& a,
                          const MatrixView& b, float* c, std::size_t c_stride);
  /// c = a b, a: rows x inner, b: inner x columns, both fp32.
  void product(std::size_t rows, std::size_t columns, std::size_t inner, const MatrixView& a, const MatrixView& b,
               float* c, std::size_t c_stride);
  /// c_p = a_p^T a_p for `count` parts of a: part p begins at row p * rows; a: (count * rows) x columns. c_p: columns x
  /// columns of fp32, dense, one after another.
  void grams(std::size_t count, std::size_t rows, std::size_t columns, const MatrixView& a, float* c);

 private:
  const Stream& stream_;
  void* handle_ = nullptr;
};

}  // namespace concerto::cuda
