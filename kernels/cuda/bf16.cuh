// bf16 in kernels: a bf16 is the upper half of an fp32.
#pragma once

#include <cstdint>

#include "device/simt.cuh"

namespace concerto::cuda {

__device__ __forceinline__ float bf16_low(std::uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float bf16_high(std::uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000U);
}
__device__ __forceinline__ float bf16_value(std::uint16_t bits) {
  return __uint_as_float(static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace concerto::cuda
