// Conjugate gradient from the row's present value, for any way to apply the row's matrix, by one thread block.
//
// Source: Hestenes and Stiefel 1952; Takacs, Pilaszy and Tikk 2011 for its use here. Stops as compute/backend.hpp says.
#pragma once

#include "concerto/compute/backend.hpp"

#include "row_system.cuh"

namespace concerto::cuda {

/// A p for a packed matrix: component c of the product, by one thread. 2 * width reads of shared memory without bank
/// conflicts for 32 neighbouring c.
__device__ inline float packed_product(const float* matrix, const float* p, unsigned width, unsigned c) {
  const float* row = matrix + packed_floats(c);
  float low = 0.0F;
  float high = 0.0F;
  for (unsigned j = 0; j <= c; ++j) low += row[j] * p[j];
  const float* column = matrix + packed_floats(c + 1) + c;
  for (unsigned i = c + 1; i < width; ++i) {
    high += *column * p[i];
    column += i + 1;
  }
  return low + high;
}

/// Improves `x` (shared memory, width floats) by at most `steps` steps towards A x = right. `apply(p, out)` writes A p
/// by the whole block and returns synchronized. residual, direction, image: shared memory, width floats each.
template <class Apply>
__device__ void solve_by_cg(const Apply& apply, const float* right, unsigned width, std::uint32_t steps, float* x,
                            float* residual, float* direction, float* image, float* scratch) {
  apply(x, image);
  float right_norm = 0.0F;
  float norm = 0.0F;
  for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
    const float value = right[c] - image[c];
    residual[c] = value;
    direction[c] = value;
    right_norm += right[c] * right[c];
    norm += value * value;
  }
  const float negligible = static_cast<float>(kCgNegligible) * block_sum(right_norm, scratch);
  norm = block_sum(norm, scratch);
  for (std::uint32_t step = 0; step < steps && norm > negligible; ++step) {
    __syncthreads();  // all of the direction is written
    apply(direction, image);
    float curvature = 0.0F;
    for (unsigned c = threadIdx.x; c < width; c += blockDim.x) curvature += direction[c] * image[c];
    curvature = block_sum(curvature, scratch);
    if (!(curvature > 0.0F)) break;
    const float length = norm / curvature;
    float next = 0.0F;
    for (unsigned c = threadIdx.x; c < width; c += blockDim.x) {
      x[c] += length * direction[c];
      const float value = residual[c] - length * image[c];
      residual[c] = value;
      next += value * value;
    }
    next = block_sum(next, scratch);
    const float share = next / norm;
    for (unsigned c = threadIdx.x; c < width; c += blockDim.x) direction[c] = residual[c] + share * direction[c];
    norm = next;
  }
  __syncthreads();
}

}  // namespace concerto::cuda
