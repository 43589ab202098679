// The buffer in which ranks exchange what they measured of an epoch: where each number lies, and putting and reading
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto {

/// Where the sums of an epoch lie in their buffer: doubles of chunks, then a segment a rank.
struct SumsLayout {
  std::size_t user_chunks = 0;
  std::size_t item_chunks = 0;
  std::size_t test_bytes = 0;
  std::size_t validation_bytes = 0;
  std::size_t digests = 0;
  std::size_t gram_bytes = 0;  ///< of own users, where users are apart and the loss takes their Gram matrix
  Rank ranks = 1;

  [[nodiscard]] std::size_t losses() const { return 0; }
  [[nodiscard]] std::size_t user_penalties() const { return user_chunks * sizeof(double); }
  [[nodiscard]] std::size_t item_penalties() const { return 2 * user_chunks * sizeof(double); }
  [[nodiscard]] std::size_t segments() const { return (2 * user_chunks + item_chunks) * sizeof(double); }
  [[nodiscard]] std::size_t segment_bytes() const {
    return sizeof(std::uint64_t) + test_bytes + validation_bytes + digests * sizeof(std::uint64_t) + gram_bytes;
  }
  [[nodiscard]] std::size_t gram(Rank rank) const { return segment(rank + 1) - gram_bytes; }
  [[nodiscard]] std::size_t segment(Rank rank) const { return segments() + rank * segment_bytes(); }
  [[nodiscard]] std::size_t bytes() const { return segment(ranks); }
};

inline void put_double(std::span<std::byte> buffer, std::size_t at, double value) {
  std::memcpy(buffer.data() + at, &value, sizeof value);
}
inline void put_word(std::span<std::byte> buffer, std::size_t at, std::uint64_t value) {
  std::memcpy(buffer.data() + at, &value, sizeof value);
}
[[nodiscard]] inline std::uint64_t word_at(std::span<const std::byte> buffer, std::size_t at) {
  std::uint64_t value = 0;
  std::memcpy(&value, buffer.data() + at, sizeof value);
  return value;
}
[[nodiscard]] inline std::vector<double> doubles_at(std::span<const std::byte> buffer, std::size_t at,
                                                    std::size_t count) {
  std::vector<double> values(count);
  std::memcpy(values.data(), buffer.data() + at, count * sizeof(double));
  return values;
}

}  // namespace concerto
