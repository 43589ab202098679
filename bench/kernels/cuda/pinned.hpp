// Host memory that a device reads without a copy in between. Implemented in nvidia/ and, for tests, in on_host/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace concerto::bench {

/// Move-only owner. Error{kOutOfMemory} where there is not that much.
class PinnedBytes {
 public:
  explicit PinnedBytes(std::size_t bytes);
  ~PinnedBytes();
  PinnedBytes(const PinnedBytes&) = delete;
  PinnedBytes& operator=(const PinnedBytes&) = delete;
  [[nodiscard]] void* data() noexcept { return data_; }

 private:
  void* data_ = nullptr;
};

}  // namespace concerto::bench
