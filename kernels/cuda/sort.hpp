// Sorting and scanning on the device, through CUB (the host machine of the tests has the standard library's). Stable,
// ascending, by some bits of unsigned keys; the result is in `keys` and `values` themselves. Scratch comes from the
// pool.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime.hpp"

namespace concerto::cuda {

/// Sorts 64-bit keys alone. O(size); needs as much again and a little more.
void sort_keys(const Stream& stream, MemoryPool& pool, std::uint64_t* keys, std::size_t size, int bits);
/// Sorts 32-bit keys with a 64-bit value each.
void sort_pairs(const Stream& stream, MemoryPool& pool, std::uint32_t* keys, std::uint64_t* values, std::size_t size,
                int bits);
/// The bits of a key that a sort looks at: [begin, end).
struct KeyBits {
  int begin = 0;
  int end = 0;
};
/// Sorts all of `keys`, with a float each where `values` is not empty. It may put other memory in place of that of the
/// arrays, so that no result is copied. O(size) for each 8 bits; needs as much again as the arrays hold, and little
/// more than that: sort_scratch_bytes.
void sort_entries(const Stream& stream, MemoryPool& pool, DeviceArray<std::uint64_t>& keys, DeviceArray<float>& values,
                  KeyBits bits);
/// At least what sort_entries takes beyond a second copy of its arrays, for `size` keys.
[[nodiscard]] constexpr std::uint64_t sort_scratch_bytes(std::uint64_t size) noexcept {
  // A radix sort in one sweep keeps 256 counts of 4 bytes for each tile of at least some 4,000 keys.
  return size / 4 + (std::uint64_t{4} << 20);
}
/// values[i] becomes the sum of values[0..i-1]; in place.
void exclusive_sum(const Stream& stream, MemoryPool& pool, std::uint64_t* values, std::size_t size);

}  // namespace concerto::cuda
