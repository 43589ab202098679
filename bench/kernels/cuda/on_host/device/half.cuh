// fp16 on the host machine of the tests: the functions of nvidia/device/half.cuh by arithmetic.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace concerto::bench {

inline float half_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                               : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25));
}

/// The fp16 nearest to `value`, ties to even.
inline std::uint16_t half_bits(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000U : 0U);
  if (std::isnan(value)) return 0x7fffU;
  const float size = std::fabs(value);
  if (size >= 65520.0F) return sign | 0x7c00U;
  if (size < 0x1p-14F) return static_cast<std::uint16_t>(sign + static_cast<int>(std::nearbyint(std::ldexp(size, 24))));
  int exponent = 0;
  const float fraction = std::frexp(size, &exponent);                                // in [0.5, 1)
  const auto mantissa = static_cast<int>(std::nearbyint(std::ldexp(fraction, 11)));  // 1024 .. 2048; 2048 carries over
  return static_cast<std::uint16_t>(sign + ((exponent + 13) << 10) + mantissa);
}

}  // namespace concerto::bench
