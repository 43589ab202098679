// What kernels are written in, on the host machine: the names of CUDA C++ that kernels/cuda uses, and the functions of
// kernels/cuda/nvidia/device/simt.cuh, with the meaning that NVIDIA's manuals give them. See ../machine.hpp.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "machine.hpp"

// The language. Shared memory is dynamic only (dynamic_shared): a name for static arrays is left out on purpose.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define threadIdx (::concerto::simt::thread_index())
#define blockIdx (::concerto::simt::block_index())
#define blockDim (::concerto::simt::block_size())
#define gridDim (::concerto::simt::grid_size())
#define SIMT_TEXT_OF(x) #x
#define SIMT_TEXT(x) SIMT_TEXT_OF(x)
#define SIMT_HERE(what) what " at " __FILE__ ":" SIMT_TEXT(__LINE__)
#define __syncthreads() ::concerto::simt::block_barrier(SIMT_HERE("__syncthreads"))
#define __syncwarp() ::concerto::simt::warp_sync(SIMT_HERE("__syncwarp"))
#define __shfl_sync(mask, value, source) \
  ::concerto::simt::shuffle(mask, SIMT_HERE("__shfl_sync"), value, static_cast<unsigned>(source) % 32U)
#define __shfl_xor_sync(mask, value, lanes)                            \
  ::concerto::simt::shuffle(mask, SIMT_HERE("__shfl_xor_sync"), value, \
                            ::concerto::simt::lane() ^ static_cast<unsigned>(lanes))
#define __ballot_sync(mask, predicate) ::concerto::simt::ballot(mask, SIMT_HERE("__ballot_sync"), predicate)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace concerto::simt {

/// What lane l gave in an exchange of T.
template <class T>
T given(const WarpSlot* slots, unsigned l) {
  T value;
  std::memcpy(&value, slots[l].bytes, sizeof(T));
  return value;
}

inline void warp_sync(const char* where) {
  const char mine = 0;
  (void)warp_exchange(0xffffffffU, where, &mine, 1);
}
template <class T>
T shuffle(unsigned mask, const char* where, T value, unsigned source) {
  return given<T>(warp_exchange(mask, where, &value, sizeof(T)), source);
}
inline unsigned ballot(unsigned mask, const char* where, bool predicate) {
  const WarpSlot* slots = warp_exchange(mask, where, &predicate, sizeof(bool));
  unsigned votes = 0;
  for (unsigned l = 0; l < 32; ++l) votes |= (mask >> l & 1U) != 0 && given<bool>(slots, l) ? 1U << l : 0U;
  return votes;
}

}  // namespace concerto::simt

// Arithmetic and atomics by their CUDA names. Threads never run at the same time, so an atomic is what it computes.
inline float rsqrtf(float x) {
  return 1.0F / std::sqrt(x);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __clz(unsigned x) {
  return std::countl_zero(x);
}
inline int __ffs(unsigned x) {
  return x == 0 ? 0 : std::countr_zero(x) + 1;
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}
template <class T, class U>
T atomicAdd(T* place, U value) {
  const T before = *place;
  *place = static_cast<T>(before + static_cast<T>(value));
  return before;
}
template <class T, class U>
T atomicOr(T* place, U value) {
  const T before = *place;
  *place = before | static_cast<T>(value);
  return before;
}
template <class T, class U>
T atomicMax(T* place, U value) {
  const T before = *place;
  if (static_cast<T>(value) > before) *place = static_cast<T>(value);
  return before;
}

namespace concerto::cuda {

using simt::dynamic_shared;
using std::max;
using std::min;

/// The bf16 nearest to `value`, ties to even; NaN stays NaN.
inline std::uint16_t bf16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return 0x7fffU;
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}
/// Two of them in one word, `low` in the low half.
inline std::uint32_t bf16_pair(float low, float high) {
  return bf16_bits(low) | static_cast<std::uint32_t>(bf16_bits(high)) << 16;
}

namespace simt_matrix {
inline float low(std::uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
inline float high(std::uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000U);
}

inline std::uint16_t element(const std::byte* row, unsigned column) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, row + 2 * std::size_t{column}, sizeof bits);
  return bits;
}
inline void load_transposed(std::uint32_t (&out)[4], const void* row, const char* where) {
  simt::require_aligned(row, 16, "a row of a matrix in shared memory that is not aligned to 16 bytes");
  const auto* mine = static_cast<const std::byte*>(row);
  const simt::WarpSlot* rows = simt::warp_exchange(0xffffffffU, where, &mine, sizeof mine);
  const unsigned l = simt::lane();
  for (unsigned m = 0; m < 4; ++m) {
    const std::uint16_t first = element(simt::given<const std::byte*>(rows, 8 * m + 2 * (l % 4)), l / 4);
    const std::uint16_t second = element(simt::given<const std::byte*>(rows, 8 * m + 2 * (l % 4) + 1), l / 4);
    out[m] = first | static_cast<std::uint32_t>(second) << 16;
  }
}
/// What a lane brings to a product.
struct Fragment {
  std::uint32_t a[4];
  std::uint32_t b[2];
};
inline void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                     const char* where) {
  const Fragment mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const simt::WarpSlot* slots = simt::warp_exchange(0xffffffffU, where, &mine, sizeof mine);
  const unsigned g = simt::lane() / 4;
  const unsigned t = simt::lane() % 4;
  // A: row g in registers 0 and 2, row g + 8 in 1 and 3; k 0-7 in 0 and 1, 8-15 in 2 and 3. B: k 0-7 in 0, 8-15 in 1.
  for (unsigned pair = 0; pair < 4; ++pair) {
    const auto left = simt::given<Fragment>(slots, 4 * g + pair);
    for (unsigned column = 0; column < 2; ++column) {
      const auto right = simt::given<Fragment>(slots, 4 * (2 * t + column) + pair);
      for (unsigned upper = 0; upper < 2; ++upper) {
        float& sum = c[2 * upper + column];
        sum += low(left.a[upper]) * low(right.b[0]) + high(left.a[upper]) * high(right.b[0]);
        sum += low(left.a[upper + 2]) * low(right.b[1]) + high(left.a[upper + 2]) * high(right.b[1]);
      }
    }
  }
}
}  // namespace simt_matrix

#define load_matrices_transposed(out, row) simt_matrix::load_transposed(out, row, SIMT_HERE("load_matrices_transposed"))
#define multiply_bf16(c, a, b0, b1) simt_matrix::multiply(c, a, b0, b1, SIMT_HERE("multiply_bf16"))

/// Starts a copy of `Bytes` (4, 8 or 16) to shared memory; bytes from `from_bytes` on become zero.
template <unsigned Bytes>
void copy_async(void* shared, const void* global, unsigned from_bytes = Bytes) {
  simt::copy_async(shared, global, Bytes, from_bytes);
}
inline void copy_async_commit() {
  simt::copy_async_commit();
}
template <unsigned GroupsInFlight>
void copy_async_wait() {
  simt::copy_async_wait(GroupsInFlight);
}

/// Loads of global memory that other threads of the grid add to at the same time, and the additions.
template <class Vector>
Vector load_relaxed(const Vector* place) {
  simt::require_aligned(place, sizeof(Vector), "a vector load");
  return *place;
}
inline void add_to(float2* place, float2 value) {
  simt::require_aligned(place, sizeof value, "an addition to a vector");
  *place = {place->x + value.x, place->y + value.y};
}
inline void add_to(float4* place, float4 value) {
  simt::require_aligned(place, sizeof value, "an addition to a vector");
  *place = {place->x + value.x, place->y + value.y, place->z + value.z, place->w + value.w};
}
/// A hint.
inline void prefetch_line(const void*) {}

}  // namespace concerto::cuda
