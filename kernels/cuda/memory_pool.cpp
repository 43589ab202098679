// The pool of device memory: sizes are rounded so that blocks of equal use are of equal size, freed blocks are kept,
// and all of them go back to the device before a request is refused.
#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"

#include "runtime.hpp"

namespace concerto::cuda {
namespace {

std::string mebibytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

MemoryPool::~MemoryPool() {
  give_back_kept();
}

std::size_t MemoryPool::rounded(std::size_t bytes) noexcept {
  constexpr std::size_t kSmall = 512;
  constexpr std::size_t kLarge = std::size_t{2} << 20;
  const std::size_t step = bytes < kLarge ? kSmall : kLarge;
  return (bytes + step - 1) / step * step;
}

void MemoryPool::give_back_kept() noexcept {
  for (const auto& [size, pointer] : kept_) raw_free(pointer);
  kept_.clear();
  kept_bytes_ = 0;
}

std::uint64_t MemoryPool::available_bytes() const {
  const std::uint64_t device = free_memory() + kept_bytes_;
  if (limit_ == 0) return device;
  return std::min(device, limit_ > used_ ? limit_ - used_ : 0);
}

void* MemoryPool::allocate(std::size_t bytes, const char* what) {
  if (bytes == 0) return nullptr;
  const std::size_t size = keeps_freed_memory() ? rounded(bytes) : bytes;
  void* pointer = nullptr;
  if (limit_ == 0 || used_ + size <= limit_) {
    const auto kept = kept_.find(size);
    if (kept != kept_.end()) {
      pointer = kept->second;
      kept_bytes_ -= size;
      kept_.erase(kept);
    } else {
      pointer = raw_allocate(size);
      if (pointer == nullptr && !kept_.empty()) {
        give_back_kept();
        pointer = raw_allocate(size);
      }
    }
  }
  if (pointer == nullptr) {
    throw Error(ErrorCode::kOutOfMemory,
                fmt::format("{} need {} of GPU memory, {} are left and {} in use; lower model.rank, or use "
                            "compute.backend = \"cpu\"",
                            what, mebibytes(bytes), mebibytes(available_bytes()), mebibytes(used_)),
                "GPU memory");
  }
  used_ += size;
  peak_ = std::max(peak_, used_);
  return pointer;
}

void MemoryPool::release(void* pointer, std::size_t bytes) noexcept {
  if (pointer == nullptr) return;
  const std::size_t size = keeps_freed_memory() ? rounded(bytes) : bytes;
  used_ -= size;
  if (keeps_freed_memory()) {
    kept_.emplace(size, pointer);
    kept_bytes_ += size;
  } else {
    raw_free(pointer);
  }
}

}  // namespace concerto::cuda
