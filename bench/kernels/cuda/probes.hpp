// Kernels that find a device's ceilings: copying, gathering rows, and the random data that they run on.
#pragma once

#include <cstdint>

#include "runtime.hpp"

namespace concerto::bench {

/// Random values in (-1, 1) x scale, as fp32 and as bf16.
void fill_random(const cuda::Stream& stream, float* values, std::uint64_t size, std::uint64_t seed, float scale);
void fill_random_bf16(const cuda::Stream& stream, std::uint16_t* values, std::uint64_t size, std::uint64_t seed);

/// Copies `bytes` (a multiple of 16), 16 bytes a thread and turn.
void copy_by_kernel(const cuda::Stream& stream, void* to, const void* from, std::uint64_t bytes, unsigned blocks);

/// Reads `gathers` whole rows of a table of `rows` rows of 128 or 256 bytes in random order, and writes a word a thread
/// so that the reads are needed. `sink` holds 256 * blocks words.
void gather_rows(const cuda::Stream& stream, const void* table, std::uint32_t rows, unsigned row_bytes,
                 std::uint64_t gathers, std::uint64_t seed, std::uint32_t* sink, unsigned blocks);

/// The number of floats that are not finite, or equal to `poison`; `count` is one device word.
void count_bad(const cuda::Stream& stream, const float* values, std::uint64_t size, float poison, std::uint64_t* count);

}  // namespace concerto::bench
