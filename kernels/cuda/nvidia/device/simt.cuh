// What kernels are written in beyond CUDA C++ itself: the few instructions that the language has no name for.
//
// The host machine of the tests (tests/support/simt) has a header of the same name with the same functions, so that the
// kernels can be run where there is no GPU. Layouts of fragments are those of the PTX manual for mma.m16n8k16: with
// g = lane / 4 and t = lane % 4, A holds (row g, columns 2t, 2t+1), (row g+8, same), (row g, columns 2t+8, 2t+9),
// (row g+8, same); B holds (rows 2t, 2t+1 of column g), (rows 2t+8, 2t+9 of it); C holds (row g, columns 2t, 2t+1),
// (row g+8, same).
#pragma once

#include <cstddef>
#include <cstdint>

namespace concerto::cuda {

/// The block's dynamic shared memory, aligned to 128 bytes.
__device__ __forceinline__ std::byte* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  return reinterpret_cast<std::byte*>(shared_bytes);
}

/// The bf16 nearest to `value`, ties to even; NaN stays NaN.
__device__ __forceinline__ std::uint16_t bf16_bits(float value) {
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
/// Two of them in one word, `low` in the low half.
__device__ __forceinline__ std::uint32_t bf16_pair(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// Four 8 x 8 matrices of bf16 from shared memory, each transposed: lane l gives the address of row l % 8 of matrix
/// l / 8 (16 bytes, aligned to 16), and gets of each matrix rows 2t and 2t+1 of column g.
__device__ __forceinline__ void load_matrices_transposed(std::uint32_t (&out)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}

/// c += a b, 16 x 8 of it, over 16 columns of a.
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                              std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Starts a copy of `Bytes` (4, 8 or 16) to shared memory; bytes from `from_bytes` on become zero.
template <unsigned Bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, unsigned from_bytes = Bytes) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(from_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(global), "n"(Bytes),
                 "r"(from_bytes)
                 : "memory");
  }
}
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Until at most `GroupsInFlight` of this thread's groups are under way. Other threads' copies need a barrier besides.
template <unsigned GroupsInFlight>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GroupsInFlight) : "memory");
}

/// Loads of memory that other threads of the grid add to at the same time (add_to): each element is some value that it
/// had, and not one that a nearer cache kept from long before. Global memory.
__device__ __forceinline__ float2 load_relaxed(const float2* place) {
  float2 value;
  asm volatile("ld.relaxed.gpu.global.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "l"(place) : "memory");
  return value;
}
__device__ __forceinline__ float4 load_relaxed(const float4* place) {
  float4 value;
  asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "l"(place)
               : "memory");
  return value;
}

/// Adds each element to the one in place, atomically by itself: no addition is lost, and their order is not defined.
/// Global memory. One instruction from sm_90 on; before, one an element. (What an architecture has only the compiler
/// that compiles for it can say: hence the condition.)
__device__ __forceinline__ void add_to(float2* place, float2 value) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};" ::"l"(place), "f"(value.x), "f"(value.y) : "memory");
#else
  atomicAdd(&place->x, value.x);
  atomicAdd(&place->y, value.y);
#endif
}
__device__ __forceinline__ void add_to(float4* place, float4 value) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(place), "f"(value.x), "f"(value.y),
               "f"(value.z), "f"(value.w)
               : "memory");
#else
  atomicAdd(&place->x, value.x);
  atomicAdd(&place->y, value.y);
  atomicAdd(&place->z, value.z);
  atomicAdd(&place->w, value.w);
#endif
}

/// Has a line of global memory brought to the second-level cache; a hint.
__device__ __forceinline__ void prefetch_line(const void* place) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(place));
}

}  // namespace concerto::cuda
