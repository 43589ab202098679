// The device as the cuda backend sees it: facts, one stream, memory from one pool, copies, time.
//
// No vendor header is needed to use it. kernels/cuda/nvidia implements it on CUDA; tests/support/simt on the host. All
// work of a backend is put into one stream, in order: an operation's result is visible to the next operation without
// waiting, and host code waits (`wait`) only where it reads. Errors of the device are thrown as Error{kIo}, and are
// final for the process: CUDA says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace concerto::cuda {

struct DeviceFacts {
  std::string name;
  int major = 0;  ///< compute capability
  int minor = 0;
  unsigned multiprocessors = 1;
  std::size_t l2_bytes = 0;
  std::size_t shared_bytes_per_block = 0;  ///< the most that a block may ask for
  std::uint64_t memory_bytes = 0;
  int driver = 0;  ///< as CUDA writes versions: 13000 is 13.0
  int runtime = 0;
};

/// Whether there is a device that this program can use, and if not, why, in a few words for the user.
struct Availability {
  bool usable = false;
  std::string reason;
  DeviceFacts facts;
};
[[nodiscard]] Availability find_device();

struct LaunchShape {
  unsigned grid_x = 1;
  unsigned grid_y = 1;
  unsigned block = 32;
  std::size_t shared_bytes = 0;
};

/// Work in order. Move-only owner.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(Stream&& other) noexcept : native_(std::exchange(other.native_, nullptr)) {}
  Stream& operator=(Stream&&) = delete;
  Stream(const Stream&) = delete;
  [[nodiscard]] void* native() const noexcept { return native_; }
  /// Returns when all work put in so far is done; throws the first error that it met.
  void wait() const;

 private:
  void* native_ = nullptr;
};

/// A point in a stream, for measuring. Move-only owner.
class Event {
 public:
  Event();
  ~Event();
  Event(Event&& other) noexcept : native_(std::exchange(other.native_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  Event(const Event&) = delete;
  void record(const Stream& stream);
  /// Milliseconds from `begin` to this event, both recorded; waits for this one.
  [[nodiscard]] double milliseconds_since(const Event& begin) const;

 private:
  void* native_ = nullptr;
};

/// Copies and fills in the order of the stream. Host memory may be pageable; it may be changed or freed on return of
/// `to_device`, and is written when `wait` returns after `to_host`.
void copy_to_device(const Stream& stream, void* device, const void* host, std::size_t bytes);
void copy_to_host(const Stream& stream, void* host, const void* device, std::size_t bytes);
void copy_on_device(const Stream& stream, void* to, const void* from, std::size_t bytes);
void fill_zero(const Stream& stream, void* device, std::size_t bytes);

/// Straight from and to the device; null where the device has no such memory left.
[[nodiscard]] void* raw_allocate(std::size_t bytes) noexcept;
void raw_free(void* pointer) noexcept;
/// Bytes free on the device now.
[[nodiscard]] std::uint64_t free_memory();
/// Should freed memory be handed out again (a device), or given back at once, so that a checker sees each use of freed
/// memory (the host machine)?
[[nodiscard]] bool keeps_freed_memory() noexcept;

/// The one place that device memory comes from. Freed blocks are kept and handed out again for requests of the same
/// rounded size, so that nothing is allocated in a loop. Not thread-safe. Outlives what it gave.
class MemoryPool {
 public:
  MemoryPool() = default;
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Never null for bytes > 0. Error{kOutOfMemory} saying what asked for how much and what is left.
  [[nodiscard]] void* allocate(std::size_t bytes, const char* what);
  void release(void* pointer, std::size_t bytes) noexcept;
  /// 0: what the device has. A request beyond the limit fails as if the device had no more.
  void set_limit(std::uint64_t bytes) noexcept { limit_ = bytes; }
  [[nodiscard]] std::uint64_t used_bytes() const noexcept { return used_; }
  /// The most that was in use at a time.
  [[nodiscard]] std::uint64_t peak_bytes() const noexcept { return peak_; }
  void reset_peak() noexcept { peak_ = used_; }
  /// What could still be allocated: free on the device or kept here, within the limit.
  [[nodiscard]] std::uint64_t available_bytes() const;

  /// The size that a request of `bytes` takes.
  [[nodiscard]] static std::size_t rounded(std::size_t bytes) noexcept;

 private:
  void give_back_kept() noexcept;
  std::multimap<std::size_t, void*> kept_;
  std::uint64_t kept_bytes_ = 0;
  std::uint64_t used_ = 0;
  std::uint64_t peak_ = 0;
  std::uint64_t limit_ = 0;
};

/// An array on the device, not initialized. Move-only owner.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(MemoryPool& pool, std::size_t size, const char* what)
      : pool_(&pool), data_(static_cast<T*>(pool.allocate(size * sizeof(T), what))), size_(size) {}
  /// A copy of `values`.
  DeviceArray(MemoryPool& pool, const Stream& stream, std::span<const T> values, const char* what)
      : DeviceArray(pool, values.size(), what) {
    copy_to_device(stream, data_, values.data(), values.size_bytes());
  }
  DeviceArray(DeviceArray&& other) noexcept
      : pool_(other.pool_), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    if (this != &other) {
      reset();
      pool_ = other.pool_;
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~DeviceArray() { reset(); }

  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return size_ * sizeof(T); }

 private:
  void reset() noexcept {
    if (data_ != nullptr) pool_->release(data_, size_ * sizeof(T));
    data_ = nullptr;
    size_ = 0;
  }
  MemoryPool* pool_ = nullptr;
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Scratch memory of an operation that keeps its size between calls: grows, never shrinks, contents not kept.
template <class T>
class Scratch {
 public:
  [[nodiscard]] T* at_least(MemoryPool& pool, std::size_t size, const char* what) {
    if (array_.size() < size) {
      array_ = {};
      array_ = DeviceArray<T>(pool, size, what);
    }
    return array_.data();
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return array_.bytes(); }

 private:
  DeviceArray<T> array_;
};

}  // namespace concerto::cuda
