// fp16 in kernels, by the two conversion instructions. The host machine of the tests has a header of the same name.
#pragma once

#include <cstdint>

namespace concerto::bench {

/// The fp16 nearest to `value`, ties to even.
__device__ __forceinline__ std::uint16_t half_bits(float value) {
  std::uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
__device__ __forceinline__ float half_value(std::uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

}  // namespace concerto::bench
