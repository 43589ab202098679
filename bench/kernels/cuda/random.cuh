// Counter-based random numbers in kernels: a value is a function of (seed, counter). Good enough to be no pattern that
// a cache or a compressing memory could use; not for statistics.
#pragma once

#include <cstdint>

#include "device/simt.cuh"

namespace concerto::bench {

/// Steele, Lea and Flood's SplitMix64 output function.
__device__ __forceinline__ std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}
__device__ __forceinline__ std::uint64_t word_at(std::uint64_t seed, std::uint64_t counter) {
  return mixed(mixed(seed) ^ counter);
}
/// In (0, 1).
__device__ __forceinline__ double uniform(std::uint64_t word) {
  return (static_cast<double>(word >> 12) + 0.5) * (1.0 / 4503599627370496.0);
}
/// In (-1, 1).
__device__ __forceinline__ float signed_uniform(std::uint64_t word) {
  return static_cast<float>(2.0 * uniform(word) - 1.0);
}

}  // namespace concerto::bench
