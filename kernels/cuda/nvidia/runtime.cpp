// The device through the CUDA runtime: stream, events, memory, copies, and whether there is one at all, with cuBLAS.
#include "runtime.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "nvidia/checked.hpp"
#include "nvidia/cublas_library.hpp"

namespace concerto::cuda {

void check_cuda(int status, std::string_view what) {
  const auto code = static_cast<cudaError_t>(status);
  if (code == cudaSuccess) return;
  const bool is_memory = code == cudaErrorMemoryAllocation;
  throw Error(is_memory ? ErrorCode::kOutOfMemory : ErrorCode::kIo,
              fmt::format("the GPU refused {}: {} ({})", what, cudaGetErrorString(code), cudaGetErrorName(code)),
              "cuda");
}

void check_launch(int status, const char* name) {
  check_cuda(status, fmt::format("kernel {}", name));
}

Availability find_device() {
  Availability found;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver || status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    int driver = 0;
    const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
    found.reason = !has_driver ? "this machine has no NVIDIA driver"
                   : status == cudaErrorInsufficientDriver
                       ? fmt::format("its driver serves CUDA {}.{}, this program needs {}.{}", driver / 1000,
                                     driver % 100 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 100 / 10)
                       : "the driver finds no GPU";
    (void)cudaGetLastError();
    return found;
  }
  if (status != cudaSuccess) {
    found.reason = fmt::format("the driver answers: {}", cudaGetErrorString(status));
    return found;
  }
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, 0), "to describe itself");
  found.facts = {properties.name,
                 properties.major,
                 properties.minor,
                 static_cast<unsigned>(properties.multiProcessorCount),
                 static_cast<std::size_t>(properties.l2CacheSize),
                 properties.sharedMemPerBlockOptin,
                 properties.totalGlobalMem,
                 0,
                 CUDART_VERSION};
  check_cuda(cudaDriverGetVersion(&found.facts.driver), "to name its driver");
  if (properties.major < 8) {
    found.reason = fmt::format("{} has compute capability {}.{}, 8.0 is the least", properties.name, properties.major,
                               properties.minor);
    return found;
  }
  found.reason = CublasLibrary::obstacle();
  found.usable = found.reason.empty();
  return found;
}

Stream::Stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  native_ = stream;
}
Stream::~Stream() {
  if (native_ != nullptr) (void)cudaStreamDestroy(static_cast<cudaStream_t>(native_));
}
void Stream::wait() const {
  check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(native_)), "the work it was given");
}

Event::Event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreate(&event), "an event");
  native_ = event;
}
Event::~Event() {
  if (native_ != nullptr) (void)cudaEventDestroy(static_cast<cudaEvent_t>(native_));
}
void Event::record(const Stream& stream) {
  check_cuda(cudaEventRecord(static_cast<cudaEvent_t>(native_), static_cast<cudaStream_t>(stream.native())),
             "to record an event");
}
double Event::milliseconds_since(const Event& begin) const {
  float milliseconds = 0.0F;
  check_cuda(cudaEventSynchronize(static_cast<cudaEvent_t>(native_)), "the work it was given");
  check_cuda(
      cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(begin.native_), static_cast<cudaEvent_t>(native_)),
      "the time between two events");
  return milliseconds;
}

namespace {

void copy(const Stream& stream, void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return;
  check_cuda(cudaMemcpyAsync(to, from, bytes, kind, static_cast<cudaStream_t>(stream.native())), "a copy");
}

}  // namespace

void copy_to_device(const Stream& stream, void* device, const void* host, std::size_t bytes) {
  copy(stream, device, host, bytes, cudaMemcpyHostToDevice);
}
void copy_to_host(const Stream& stream, void* host, const void* device, std::size_t bytes) {
  copy(stream, host, device, bytes, cudaMemcpyDeviceToHost);
}
void copy_on_device(const Stream& stream, void* to, const void* from, std::size_t bytes) {
  copy(stream, to, from, bytes, cudaMemcpyDeviceToDevice);
}
void fill_zero(const Stream& stream, void* device, std::size_t bytes) {
  if (bytes == 0) return;
  check_cuda(cudaMemsetAsync(device, 0, bytes, static_cast<cudaStream_t>(stream.native())), "to clear memory");
}

void* raw_allocate(std::size_t bytes) noexcept {
  void* pointer = nullptr;
  if (cudaMalloc(&pointer, bytes) == cudaSuccess) return pointer;
  (void)cudaGetLastError();
  return nullptr;
}
void raw_free(void* pointer) noexcept {
  (void)cudaFree(pointer);
}
std::uint64_t free_memory() {
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "to say what memory is free");
  return free;
}
bool keeps_freed_memory() noexcept {
  return true;
}

}  // namespace concerto::cuda
