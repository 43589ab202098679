// A ring of plain TCP connections on loopback: what moving the bytes of an all-gather costs at least.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace concerto::bench {

/// Each rank has a connection to the next. No headers, no order of blocks, no progress: bytes only.
class SocketRing {
 public:
  /// std::runtime_error where the system refuses.
  explicit SocketRing(std::size_t ranks);
  ~SocketRing();
  SocketRing(const SocketRing&) = delete;
  SocketRing& operator=(const SocketRing&) = delete;

  /// `rank` sends `give` to the next rank while it fills `take` from the one before. By poll and non-blocking calls.
  void exchange(std::size_t rank, std::span<const std::byte> give, std::span<std::byte> take) const;

 private:
  std::vector<int> to_next_;
  std::vector<int> from_before_;
};

}  // namespace concerto::bench
