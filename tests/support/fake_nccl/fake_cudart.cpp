// A libcudart with the functions that the communicator of devices loads, over FakeDevice. Which of a machine's devices
// it has is said as to the real one, by CUDA_VISIBLE_DEVICES; where that is not set it has the first.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "support/fake_nccl/fake_device.hpp"

namespace concerto {
namespace {

using Status = int;
constexpr Status kSuccess = 0;
constexpr Status kInvalidValue = 1;
constexpr Status kInvalidDevice = 101;
constexpr Status kNotReady = 600;

/// cudaEvent_t: recorded or not.
struct Event {
  NcclDevice::Mark mark = nullptr;
};

FakeDevice& device() {
  static auto* one = new FakeDevice(FakeDevice::Copies::kOwnMemory);  // never ends: processes leave memory behind
  return *one;
}

void release(Event& event) {
  if (event.mark != nullptr) device().release(event.mark);
  event.mark = nullptr;
}

}  // namespace

extern "C" {

Status cudaSetDevice(int number) {
  return number == 0 ? kSuccess : kInvalidDevice;
}
Status cudaDeviceGetPCIBusId(char* name, int length, int) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  (void)std::snprintf(name, static_cast<std::size_t>(length), "0000:%02d:00.0",
                      visible == nullptr ? 0 : std::atoi(visible));
  return kSuccess;
}
Status cudaStreamCreateWithFlags(void** stream, unsigned) {
  *stream = device().open_stream();
  return kSuccess;
}
Status cudaStreamDestroy(void* stream) {
  device().close_stream(stream);
  return kSuccess;
}
Status cudaStreamWaitEvent(void* stream, void* event, unsigned) {
  if (const auto* recorded = static_cast<Event*>(event); recorded->mark != nullptr) {
    device().follow(stream, recorded->mark);
  }
  return kSuccess;
}
Status cudaEventCreateWithFlags(void** event, unsigned) {
  *event = new Event;
  return kSuccess;
}
Status cudaEventRecord(void* event, void* stream) {
  auto& recorded = *static_cast<Event*>(event);
  release(recorded);
  recorded.mark = device().mark(stream);
  return kSuccess;
}
Status cudaEventQuery(void* event) {
  const auto& recorded = *static_cast<Event*>(event);
  return recorded.mark == nullptr || device().is_reached(recorded.mark) ? kSuccess : kNotReady;
}
Status cudaEventDestroy(void* event) {
  auto* recorded = static_cast<Event*>(event);
  release(*recorded);
  delete recorded;
  return kSuccess;
}
Status cudaMalloc(void** memory, std::size_t bytes) {
  *memory = device().allocate(bytes);
  return kSuccess;
}
Status cudaFree(void* memory) {
  device().free(static_cast<std::byte*>(memory));
  return kSuccess;
}
Status cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  *memory = device().allocate_on_host(bytes);
  return kSuccess;
}
Status cudaFreeHost(void* memory) {
  device().free_on_host(static_cast<std::byte*>(memory));
  return kSuccess;
}
Status cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, int direction, void* stream) {
  constexpr int kAnyDirection = 4;
  if (direction != kAnyDirection) return kInvalidValue;
  device().copy(stream, static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes);
  return kSuccess;
}
const char* cudaGetErrorString(Status status) {
  return status == kInvalidDevice ? "invalid device ordinal" : "invalid argument";
}

}  // extern "C"

}  // namespace concerto
