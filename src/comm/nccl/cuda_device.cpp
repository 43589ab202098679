// A device by CUDA's runtime, whose functions are declared here from its public interface and loaded when needed.
#include <array>
#include <stdexcept>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "loaded_library.hpp"
#include "nccl_device.hpp"

namespace concerto {
namespace {

/// cudaError_t; 0 is success.
using Status = int;
constexpr Status kNotReady = 600;
constexpr unsigned kNonBlocking = 1;    ///< cudaStreamNonBlocking
constexpr unsigned kWithoutTiming = 2;  ///< cudaEventDisableTiming
constexpr int kAnyDirection = 4;        ///< cudaMemcpyDefault

struct Runtime {
  Status (*set_device)(int device) = nullptr;
  Status (*bus_id)(char* name, int length, int device) = nullptr;
  Status (*stream_create)(void** stream, unsigned flags) = nullptr;
  Status (*stream_destroy)(void* stream) = nullptr;
  Status (*stream_wait_event)(void* stream, void* event, unsigned flags) = nullptr;
  Status (*event_create)(void** event, unsigned flags) = nullptr;
  Status (*event_record)(void* event, void* stream) = nullptr;
  Status (*event_query)(void* event) = nullptr;
  Status (*event_destroy)(void* event) = nullptr;
  Status (*allocate)(void** memory, std::size_t bytes) = nullptr;
  Status (*free)(void* memory) = nullptr;
  Status (*allocate_host)(void** memory, std::size_t bytes, unsigned flags) = nullptr;
  Status (*free_host)(void* memory) = nullptr;
  Status (*copy)(void* to, const void* from, std::size_t bytes, int direction, void* stream) = nullptr;
  const char* (*error_string)(Status status) = nullptr;
};

class CudaDevice final : public NcclDevice {
 public:
  CudaDevice(const std::string& path, int device)
      : library_(path, {"libcudart.so.13", "libcudart.so.12"}, "cuda_runtime"), device_(device) {
    library_.resolve("cudaSetDevice", cuda_.set_device);
    library_.resolve("cudaDeviceGetPCIBusId", cuda_.bus_id);
    library_.resolve("cudaStreamCreateWithFlags", cuda_.stream_create);
    library_.resolve("cudaStreamDestroy", cuda_.stream_destroy);
    library_.resolve("cudaStreamWaitEvent", cuda_.stream_wait_event);
    library_.resolve("cudaEventCreateWithFlags", cuda_.event_create);
    library_.resolve("cudaEventRecord", cuda_.event_record);
    library_.resolve("cudaEventQuery", cuda_.event_query);
    library_.resolve("cudaEventDestroy", cuda_.event_destroy);
    library_.resolve("cudaMalloc", cuda_.allocate);
    library_.resolve("cudaFree", cuda_.free);
    library_.resolve("cudaHostAlloc", cuda_.allocate_host);
    library_.resolve("cudaFreeHost", cuda_.free_host);
    library_.resolve("cudaMemcpyAsync", cuda_.copy);
    library_.resolve("cudaGetErrorString", cuda_.error_string);
    if (const Status status = cuda_.set_device(device); status != 0) {
      throw Error(ErrorCode::kUnsupported, fmt::format("device {}: {}", device, cuda_.error_string(status)));
    }
  }

  [[nodiscard]] std::string place() override {
    std::array<char, 32> name{};
    check(cuda_.bus_id(name.data(), static_cast<int>(name.size()) - 1, device_), "say where it is");
    return name.data();
  }

  [[nodiscard]] Stream open_stream() override {
    void* stream = nullptr;
    use();
    check(cuda_.stream_create(&stream, kNonBlocking), "create a stream");
    return stream;
  }
  void close_stream(Stream stream) noexcept override { (void)cuda_.stream_destroy(stream); }

  [[nodiscard]] Mark mark(Stream stream) override {
    void* event = nullptr;
    use();
    check(cuda_.event_create(&event, kWithoutTiming), "create an event");
    if (const Status status = cuda_.event_record(event, stream); status != 0) {
      (void)cuda_.event_destroy(event);
      check(status, "record an event");
    }
    return event;
  }
  [[nodiscard]] bool is_reached(Mark mark) override {
    const Status status = cuda_.event_query(mark);
    if (status == kNotReady) return false;
    check(status, "query an event");
    return true;
  }
  void follow(Stream stream, Mark mark) override {
    check(cuda_.stream_wait_event(stream, mark, 0), "wait for an event");
  }
  void release(Mark mark) noexcept override { (void)cuda_.event_destroy(mark); }

  [[nodiscard]] std::byte* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    use();
    check(cuda_.allocate(&memory, bytes), "allocate memory");
    return static_cast<std::byte*>(memory);
  }
  void free(std::byte* memory) noexcept override { (void)cuda_.free(memory); }
  [[nodiscard]] std::byte* allocate_on_host(std::size_t bytes) override {
    void* memory = nullptr;
    use();
    check(cuda_.allocate_host(&memory, bytes, 0), "allocate memory of the host");
    return static_cast<std::byte*>(memory);
  }
  void free_on_host(std::byte* memory) noexcept override { (void)cuda_.free_host(memory); }
  void copy(Stream stream, std::byte* to, const std::byte* from, std::size_t bytes) override {
    check(cuda_.copy(to, from, bytes, kAnyDirection, stream), "copy");
  }

 private:
  /// The runtime keeps a current device for each thread.
  void use() { check(cuda_.set_device(device_), "use the device"); }
  void check(Status status, const char* action) const {
    if (status == 0) return;
    throw std::runtime_error(fmt::format("device {} cannot {}: {}", device_, action, cuda_.error_string(status)));
  }

  LoadedLibrary library_;
  Runtime cuda_;
  const int device_;
};

}  // namespace

std::unique_ptr<NcclDevice> open_cuda_device(const std::string& path, int device) {
  return std::make_unique<CudaDevice>(path, device);
}

}  // namespace concerto
