// Sorting and scanning of kernels/cuda/sort.hpp by the standard library. Only the low `bits` of a key are looked at, as
// on the device.
#include "sort.hpp"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace concerto::cuda {
namespace {

template <class Key>
Key low_bits(Key key, int bits) {
  return bits >= static_cast<int>(8 * sizeof(Key)) ? key : key & ((Key{1} << bits) - 1);
}

}  // namespace

void sort_keys(const Stream&, MemoryPool&, std::uint64_t* keys, std::size_t size, int bits) {
  std::stable_sort(keys, keys + size,
                   [bits](std::uint64_t a, std::uint64_t b) { return low_bits(a, bits) < low_bits(b, bits); });
}

void sort_pairs(const Stream&, MemoryPool&, std::uint32_t* keys, std::uint64_t* values, std::size_t size, int bits) {
  std::vector<std::pair<std::uint32_t, std::uint64_t>> pairs(size);
  for (std::size_t i = 0; i < size; ++i) pairs[i] = {keys[i], values[i]};
  std::ranges::stable_sort(
      pairs, [bits](const auto& a, const auto& b) { return low_bits(a.first, bits) < low_bits(b.first, bits); });
  for (std::size_t i = 0; i < size; ++i) std::tie(keys[i], values[i]) = pairs[i];
}

void sort_entries(const Stream&, MemoryPool& pool, DeviceArray<std::uint64_t>& keys, DeviceArray<float>& values,
                  KeyBits bits) {
  if (keys.empty() || bits.begin == bits.end) return;
  // A second copy is taken from the pool, as on the device, so that peaks are those of the device.
  DeviceArray<std::uint64_t> sorted_keys(pool, keys.size(), "sorted keys");
  DeviceArray<float> sorted_values(pool, values.size(), "sorted values");
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto part = [&](std::size_t i) { return low_bits(keys.data()[i], bits.end) >> bits.begin; };
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return part(a) < part(b); });
  for (std::size_t i = 0; i < order.size(); ++i) {
    sorted_keys.data()[i] = keys.data()[order[i]];
    if (!values.empty()) sorted_values.data()[i] = values.data()[order[i]];
  }
  std::swap(keys, sorted_keys);
  std::swap(values, sorted_values);
}

void exclusive_sum(const Stream&, MemoryPool&, std::uint64_t* values, std::size_t size) {
  std::exclusive_scan(values, values + size, values, std::uint64_t{0});
}

}  // namespace concerto::cuda
