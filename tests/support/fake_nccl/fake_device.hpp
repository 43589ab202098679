// A device in host memory, for the fake NCCL. It knows its own memory, and refuses when told to.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "concerto/base/check.hpp"

#include "nccl_device.hpp"
#include "support/fake_nccl/fake_stream.hpp"

namespace concerto {

class FakeDevice final : public NcclDevice {
 public:
  enum class Copies : std::uint8_t {
    kAny,        ///< "device memory" is whatever a test says it is
    kOwnMemory,  ///< within allocate() and allocate_on_host(); anything else ends the process
  };
  explicit FakeDevice(Copies copies = Copies::kAny, std::size_t capacity = std::numeric_limits<std::size_t>::max())
      : copies_(copies), capacity_(capacity) {}
  ~FakeDevice() override {
    CONCERTO_CHECK(on_device_.empty() && on_host_.empty(), "memory of the device is not given back");
  }

  /// Bytes of allocate() in use.
  [[nodiscard]] std::size_t allocated() {
    const std::lock_guard lock(mutex_);
    return allocated_;
  }

  [[nodiscard]] std::string place() override { return "0000:00:00.0"; }
  [[nodiscard]] Stream open_stream() override { return new FakeStream; }
  void close_stream(Stream stream) noexcept override { delete static_cast<FakeStream*>(stream); }

  /// Of no stream: a place that is reached.
  [[nodiscard]] Mark mark(Stream stream) override {
    auto* handle = new Handle{std::make_shared<Place>()};
    if (stream == nullptr) {
      handle->place->reach();
    } else {
      static_cast<FakeStream*>(stream)->put([place = handle->place] { place->reach(); });
    }
    return handle;
  }
  [[nodiscard]] bool is_reached(Mark mark) override { return static_cast<Handle*>(mark)->place->is_reached(); }
  void follow(Stream stream, Mark mark) override {
    static_cast<FakeStream*>(stream)->put([place = static_cast<Handle*>(mark)->place] { place->await(); });
  }
  void release(Mark mark) noexcept override { delete static_cast<Handle*>(mark); }

  [[nodiscard]] std::byte* allocate(std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    if (bytes > capacity_ - allocated_) throw std::runtime_error("device 0 cannot allocate memory: out of memory");
    allocated_ += bytes;
    return add(on_device_, bytes);
  }
  void free(std::byte* memory) noexcept override {
    const std::lock_guard lock(mutex_);
    allocated_ -= remove(on_device_, memory);
  }
  [[nodiscard]] std::byte* allocate_on_host(std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    return add(on_host_, bytes);
  }
  void free_on_host(std::byte* memory) noexcept override {
    const std::lock_guard lock(mutex_);
    remove(on_host_, memory);
  }
  void copy(Stream stream, std::byte* to, const std::byte* from, std::size_t bytes) override {
    if (copies_ == Copies::kOwnMemory) {
      const std::lock_guard lock(mutex_);
      for (const std::byte* end : {static_cast<const std::byte*>(to), from}) {
        CONCERTO_CHECK(holds(on_device_, end, bytes) || holds(on_host_, end, bytes),
                       "a copy of memory that is neither pinned nor the device's");
      }
    }
    static_cast<FakeStream*>(stream)->put([=] { std::memcpy(to, from, bytes); });
  }

 private:
  class Place {
   public:
    void reach() {
      const std::lock_guard lock(mutex_);
      is_reached_ = true;
      changed_.notify_all();
    }
    [[nodiscard]] bool is_reached() {
      const std::lock_guard lock(mutex_);
      return is_reached_;
    }
    void await() {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return is_reached_; });
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_reached_ = false;
  };
  struct Handle {
    std::shared_ptr<Place> place;
  };
  using Memory = std::map<const std::byte*, std::size_t, std::less<>>;  ///< begin to bytes

  static std::byte* add(Memory& memory, std::size_t bytes) {
    auto* begin = new std::byte[bytes];
    memory.emplace(begin, bytes);
    return begin;
  }
  static std::size_t remove(Memory& memory, std::byte* begin) {
    const auto found = memory.find(begin);
    CONCERTO_CHECK(found != memory.end(), "memory that is not of the device is given back to it");
    const std::size_t bytes = found->second;
    memory.erase(found);
    delete[] begin;
    return bytes;
  }
  static bool holds(const Memory& memory, const std::byte* begin, std::size_t bytes) {
    auto found = memory.upper_bound(begin);
    if (found == memory.begin()) return false;
    --found;
    return begin + bytes <= found->first + found->second;
  }

  const Copies copies_;
  const std::size_t capacity_;
  std::mutex mutex_;
  Memory on_device_;
  Memory on_host_;
  std::size_t allocated_ = 0;
};

}  // namespace concerto
