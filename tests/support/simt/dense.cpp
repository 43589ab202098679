// Dense products of kernels/cuda/dense.hpp as plain loops, summed in fp32 in ascending order.
#include "dense.hpp"

#include <bit>

namespace concerto::cuda {
namespace {

float element(const MatrixView& matrix, std::size_t row, std::size_t column) {
  const std::size_t at = row * matrix.stride + column;
  if (matrix.element == Element::kFp32) return static_cast<const float*>(matrix.data)[at];
  return std::bit_cast<float>(std::uint32_t{static_cast<const std::uint16_t*>(matrix.data)[at]} << 16);
}

}  // namespace

Dense::Dense(const Stream& stream) : stream_(stream) {}
Dense::~Dense() = default;

void Dense::product_transposed(std::size_t rows, std::size_t columns, std::size_t inner, const MatrixView& a,
                               const MatrixView& b, float* c, std::size_t c_stride) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t s = 0; s < columns; ++s) {
      float sum = 0.0F;
      for (std::size_t k = 0; k < inner; ++k) sum += element(a, r, k) * element(b, s, k);
      c[r * c_stride + s] = sum;
    }
  }
}

void Dense::product(std::size_t rows, std::size_t columns, std::size_t inner, const MatrixView& a, const MatrixView& b,
                    float* c, std::size_t c_stride) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t s = 0; s < columns; ++s) c[r * c_stride + s] = 0.0F;
    for (std::size_t k = 0; k < inner; ++k) {
      const float weight = element(a, r, k);
      for (std::size_t s = 0; s < columns; ++s) c[r * c_stride + s] += weight * element(b, k, s);
    }
  }
}

void Dense::grams(std::size_t count, std::size_t rows, std::size_t columns, const MatrixView& a, float* c) {
  for (std::size_t part = 0; part < count; ++part) {
    float* out = c + part * columns * columns;
    for (std::size_t i = 0; i < columns * columns; ++i) out[i] = 0.0F;
    for (std::size_t r = part * rows; r < (part + 1) * rows; ++r) {
      for (std::size_t i = 0; i < columns; ++i) {
        const float weight = element(a, r, i);
        for (std::size_t j = 0; j < columns; ++j) out[i * columns + j] += weight * element(a, r, j);
      }
    }
  }
}

}  // namespace concerto::cuda
