// What a communicator of devices needs of the device besides NCCL: streams, marks in them, a few bytes of memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace concerto {

/// One device. Thread-safe. What fails throws std::runtime_error with the runtime's words: after that the device is of
/// no more use.
class NcclDevice {
 public:
  using Stream = void*;  ///< a sequence of work on the device
  using Mark = void*;    ///< a place in a stream
  virtual ~NcclDevice() = default;

  /// Where it is on its machine's bus: "0000:17:00.0".
  [[nodiscard]] virtual std::string place() = 0;

  [[nodiscard]] virtual Stream open_stream() = 0;
  virtual void close_stream(Stream stream) noexcept = 0;
  /// The place that `stream` has reached when all that it holds now is done.
  [[nodiscard]] virtual Mark mark(Stream stream) = 0;
  [[nodiscard]] virtual bool is_reached(Mark mark) = 0;
  /// What is put into `stream` from now on waits for `mark`.
  virtual void follow(Stream stream, Mark mark) = 0;
  virtual void release(Mark mark) noexcept = 0;

  [[nodiscard]] virtual std::byte* allocate(std::size_t bytes) = 0;
  virtual void free(std::byte* memory) noexcept = 0;
  /// Memory of the host with which copies do not make the caller wait.
  [[nodiscard]] virtual std::byte* allocate_on_host(std::size_t bytes) = 0;
  virtual void free_on_host(std::byte* memory) noexcept = 0;
  /// In stream order, between any two of allocate_on_host() and the device.
  virtual void copy(Stream stream, std::byte* to, const std::byte* from, std::size_t bytes) = 0;
};

/// Device number `device` by CUDA's runtime, loaded from `path` or where it is found. Error{kUnsupported} where there
/// is no runtime or no such device.
[[nodiscard]] std::unique_ptr<NcclDevice> open_cuda_device(const std::string& path, int device);

}  // namespace concerto
