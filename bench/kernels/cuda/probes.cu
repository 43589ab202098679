// Ceilings' kernels and random data.
#include "device/launch.cuh"
#include "probes.hpp"
#include "random.cuh"

namespace concerto::bench {
namespace {

using cuda::launch;

constexpr unsigned kBlock = 256;
constexpr unsigned kFlights = 4;  // independent reads that a thread has under way

__device__ __forceinline__ std::uint64_t thread_place() {
  return std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::uint64_t all_threads() {
  return std::uint64_t{gridDim.x} * blockDim.x;
}

__global__ void random_values(float* values, std::uint64_t size, std::uint64_t seed, float scale) {
  for (std::uint64_t i = thread_place(); i < size; i += all_threads()) {
    values[i] = scale * signed_uniform(word_at(seed, i));
  }
}

__global__ void random_bf16(std::uint16_t* values, std::uint64_t size, std::uint64_t seed) {
  for (std::uint64_t i = thread_place(); i < size; i += all_threads()) {
    values[i] = cuda::bf16_bits(signed_uniform(word_at(seed, i)));
  }
}

__global__ void copy_words(uint4* to, const uint4* from, std::uint64_t size) {
  for (std::uint64_t i = thread_place(); i < size; i += all_threads()) to[i] = from[i];
}

template <unsigned Lanes>
__global__ void gather(const uint4* table, std::uint32_t rows, std::uint64_t gathers, std::uint64_t seed,
                       std::uint32_t* sink) {
  const unsigned lane = threadIdx.x % Lanes;
  const std::uint64_t groups = all_threads() / Lanes;
  std::uint32_t sum = 0;
  for (std::uint64_t first = thread_place() / Lanes; first < gathers; first += groups * kFlights) {
#pragma unroll
    for (unsigned flight = 0; flight < kFlights; ++flight) {
      const std::uint64_t g = first + flight * groups;
      if (g < gathers) {
        const auto row = static_cast<std::uint32_t>((word_at(seed, g) >> 32) * rows >> 32);
        const uint4 part = table[std::uint64_t{row} * Lanes + lane];
        sum += part.x ^ part.y ^ part.z ^ part.w;
      }
    }
  }
  sink[thread_place()] = sum;
}

__global__ void count_bad_values(const float* values, std::uint64_t size, float poison, std::uint64_t* count) {
  unsigned bad = 0;
  for (std::uint64_t i = thread_place(); i < size; i += all_threads()) {
    const float value = values[i];
    bad += !(value - value == 0.0F) || value == poison ? 1U : 0U;
  }
  if (bad > 0) atomicAdd(reinterpret_cast<unsigned long long*>(count), static_cast<unsigned long long>(bad));
}

unsigned blocks_of(std::uint64_t size) {
  constexpr std::uint64_t kMost = 4096;
  const std::uint64_t needed = (size + kBlock - 1) / kBlock;
  return static_cast<unsigned>(needed < kMost ? needed : kMost);
}

}  // namespace

void fill_random(const cuda::Stream& stream, float* values, std::uint64_t size, std::uint64_t seed, float scale) {
  if (size == 0) return;
  launch(stream, "random_values", random_values, {.grid_x = blocks_of(size), .block = kBlock}, values, size, seed,
         scale);
}

void fill_random_bf16(const cuda::Stream& stream, std::uint16_t* values, std::uint64_t size, std::uint64_t seed) {
  if (size == 0) return;
  launch(stream, "random_bf16", random_bf16, {.grid_x = blocks_of(size), .block = kBlock}, values, size, seed);
}

void copy_by_kernel(const cuda::Stream& stream, void* to, const void* from, std::uint64_t bytes, unsigned blocks) {
  launch(stream, "copy_words", copy_words, {.grid_x = blocks, .block = kBlock}, static_cast<uint4*>(to),
         static_cast<const uint4*>(from), bytes / sizeof(uint4));
}

void gather_rows(const cuda::Stream& stream, const void* table, std::uint32_t rows, unsigned row_bytes,
                 std::uint64_t gathers, std::uint64_t seed, std::uint32_t* sink, unsigned blocks) {
  const auto kernel = row_bytes == 128 ? gather<8> : gather<16>;
  launch(stream, "gather", kernel, {.grid_x = blocks, .block = kBlock}, static_cast<const uint4*>(table), rows, gathers,
         seed, sink);
}

void count_bad(const cuda::Stream& stream, const float* values, std::uint64_t size, float poison,
               std::uint64_t* count) {
  cuda::fill_zero(stream, count, sizeof(std::uint64_t));
  if (size == 0) return;
  launch(stream, "count_bad_values", count_bad_values, {.grid_x = blocks_of(size), .block = kBlock}, values, size,
         poison, count);
}

}  // namespace concerto::bench
