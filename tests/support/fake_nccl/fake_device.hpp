// A device in host memory, for the fake NCCL.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>

#include "nccl_device.hpp"
#include "support/fake_nccl/fake_stream.hpp"

namespace concerto {

class FakeDevice final : public NcclDevice {
 public:
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

  [[nodiscard]] std::byte* allocate(std::size_t bytes) override { return new std::byte[bytes]; }
  void free(std::byte* memory) noexcept override { delete[] memory; }
  [[nodiscard]] std::byte* allocate_on_host(std::size_t bytes) override { return new std::byte[bytes]; }
  void free_on_host(std::byte* memory) noexcept override { delete[] memory; }
  void copy(Stream stream, std::byte* to, const std::byte* from, std::size_t bytes) override {
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
};

}  // namespace concerto
