// The device of kernels/cuda/runtime.hpp on the host machine: memory is the host's, a stream does its work at once.
#include "runtime.hpp"

#include <chrono>
#include <cstring>
#include <new>

namespace concerto::cuda {

Availability find_device() {
  Availability found;
  found.usable = true;
  found.facts = {"host machine", 9, 0, 4, std::size_t{1} << 20, std::size_t{227} << 10, std::uint64_t{4} << 30, 0, 0};
  return found;
}

Stream::Stream() = default;
Stream::~Stream() = default;
void Stream::wait() const {}

Event::Event() : native_(new std::chrono::steady_clock::time_point) {}
Event::~Event() {
  delete static_cast<std::chrono::steady_clock::time_point*>(native_);
}
void Event::record(const Stream&) {
  *static_cast<std::chrono::steady_clock::time_point*>(native_) = std::chrono::steady_clock::now();
}
double Event::milliseconds_since(const Event& begin) const {
  const auto time = [](void* native) { return *static_cast<std::chrono::steady_clock::time_point*>(native); };
  return std::chrono::duration<double, std::milli>(time(native_) - time(begin.native_)).count();
}

void copy_to_device(const Stream&, void* device, const void* host, std::size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}
void copy_to_host(const Stream&, void* host, const void* device, std::size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}
void copy_on_device(const Stream&, void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void fill_zero(const Stream&, void* device, std::size_t bytes) {
  if (bytes > 0) std::memset(device, 0, bytes);
}

// Fresh memory holds NaN. Aligned as a device's is.
void* raw_allocate(std::size_t bytes) noexcept {
  void* pointer = ::operator new (bytes, std::align_val_t{256}, std::nothrow);
  if (pointer != nullptr) std::memset(pointer, 0xff, bytes);
  return pointer;
}
void raw_free(void* pointer) noexcept {
  ::operator delete (pointer, std::align_val_t{256});
}
std::uint64_t free_memory() {
  return std::uint64_t{4} << 30;
}
bool keeps_freed_memory() noexcept {
  return false;
}

}  // namespace concerto::cuda
