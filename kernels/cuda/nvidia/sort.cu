// Sorting and scanning through CUB's device-wide algorithms. The only file that holds their templates: they take long
// to compile.
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <utility>

#include "nvidia/checked.hpp"
#include "sort.hpp"

namespace concerto::cuda {
namespace {

/// Calls an algorithm of CUB twice, as it wants to be called: for the size of its scratch, then with it.
template <class Algorithm>
void with_scratch(MemoryPool& pool, const char* what, const Algorithm& run) {
  std::size_t bytes = 0;
  check_cuda(run(nullptr, bytes), what);
  DeviceArray<unsigned char> scratch(pool, bytes == 0 ? 1 : bytes, what);
  check_cuda(run(scratch.data(), bytes), what);
}

cudaStream_t native(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.native());
}

}  // namespace

void sort_keys(const Stream& stream, MemoryPool& pool, std::uint64_t* keys, std::size_t size, int bits) {
  DeviceArray<std::uint64_t> other(pool, size, "sorted keys");
  cub::DoubleBuffer<std::uint64_t> buffer(keys, other.data());
  with_scratch(pool, "a sort", [&](void* scratch, std::size_t& bytes) {
    return cub::DeviceRadixSort::SortKeys(scratch, bytes, buffer, size, 0, bits, native(stream));
  });
  if (buffer.Current() != keys) copy_on_device(stream, keys, buffer.Current(), size * sizeof(std::uint64_t));
}

void sort_pairs(const Stream& stream, MemoryPool& pool, std::uint32_t* keys, std::uint64_t* values, std::size_t size,
                int bits) {
  DeviceArray<std::uint32_t> other_keys(pool, size, "sorted keys");
  DeviceArray<std::uint64_t> other_values(pool, size, "sorted values");
  cub::DoubleBuffer<std::uint32_t> key_buffer(keys, other_keys.data());
  cub::DoubleBuffer<std::uint64_t> value_buffer(values, other_values.data());
  with_scratch(pool, "a sort", [&](void* scratch, std::size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(scratch, bytes, key_buffer, value_buffer, size, 0, bits, native(stream));
  });
  if (key_buffer.Current() != keys) copy_on_device(stream, keys, key_buffer.Current(), size * sizeof(std::uint32_t));
  if (value_buffer.Current() != values) {
    copy_on_device(stream, values, value_buffer.Current(), size * sizeof(std::uint64_t));
  }
}

void sort_entries(const Stream& stream, MemoryPool& pool, DeviceArray<std::uint64_t>& keys, DeviceArray<float>& values,
                  KeyBits bits) {
  if (keys.empty() || bits.begin == bits.end) return;
  const std::size_t size = keys.size();
  DeviceArray<std::uint64_t> other_keys(pool, size, "sorted keys");
  DeviceArray<float> other_values(pool, values.size(), "sorted values");
  cub::DoubleBuffer<std::uint64_t> key_buffer(keys.data(), other_keys.data());
  cub::DoubleBuffer<float> value_buffer(values.data(), other_values.data());
  with_scratch(pool, "a sort", [&](void* scratch, std::size_t& bytes) {
    if (values.empty()) {
      return cub::DeviceRadixSort::SortKeys(scratch, bytes, key_buffer, size, bits.begin, bits.end, native(stream));
    }
    return cub::DeviceRadixSort::SortPairs(scratch, bytes, key_buffer, value_buffer, size, bits.begin, bits.end,
                                           native(stream));
  });
  if (key_buffer.Current() != keys.data()) std::swap(keys, other_keys);
  if (!values.empty() && value_buffer.Current() != values.data()) std::swap(values, other_values);
}

void exclusive_sum(const Stream& stream, MemoryPool& pool, std::uint64_t* values, std::size_t size) {
  with_scratch(pool, "a scan", [&](void* scratch, std::size_t& bytes) {
    return cub::DeviceScan::ExclusiveSum(scratch, bytes, values, values, size, native(stream));
  });
}

}  // namespace concerto::cuda
