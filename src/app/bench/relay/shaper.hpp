// When bytes that go over an imagined wire arrive. Pure: time is an argument.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>

#include "concerto/base/rng.hpp"

namespace concerto::bench {

/// One direction of a wire.
struct WireShape {
  double delay_ms = 0.0;    ///< one way
  double jitter_ms = 0.0;   ///< besides, uniform from 0 to this; bytes do not pass each other
  double rate_mbit = 0.0;   ///< 0: any
  double queue_kb = 256.0;  ///< what waits to go onto the wire; then its source is not read
  friend bool operator==(const WireShape&, const WireShape&) = default;
};

/// Changes of "delay_ms=20 jitter_ms=2 rate_mbit=100 queue_kb=64" to `shape`; nothing for any other words.
inline std::optional<WireShape> parse_shape(const std::string& words, WireShape shape) {
  std::istringstream stream(words);
  for (std::string word; stream >> word;) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) return std::nullopt;
    double value = 0.0;
    std::istringstream number(word.substr(equals + 1));
    if (!(number >> value) || !number.eof() || value < 0.0) return std::nullopt;
    const std::string name = word.substr(0, equals);
    double* const field = name == "delay_ms"    ? &shape.delay_ms
                          : name == "jitter_ms" ? &shape.jitter_ms
                          : name == "rate_mbit" ? &shape.rate_mbit
                          : name == "queue_kb"  ? &shape.queue_kb
                                                : nullptr;
    if (field == nullptr) return std::nullopt;
    *field = value;
  }
  return shape;
}

/// Microseconds since whenever.
using Microseconds = std::int64_t;

class Shaper {
 public:
  Shaper(const WireShape& shape, std::uint64_t seed, std::uint64_t stream) : shape_(shape), random_(seed, stream) {}

  void change(const WireShape& shape) { shape_ = shape; }

  /// `bytes` are ready at `now`: when the last of them is at the other end. Never falls.
  [[nodiscard]] Microseconds arrival(Microseconds now, std::size_t bytes) {
    free_ = std::max(free_, static_cast<double>(now));
    if (shape_.rate_mbit > 0.0) free_ += static_cast<double>(bytes) * 8.0 / shape_.rate_mbit;
    const double late = 1e3 * (shape_.delay_ms + shape_.jitter_ms * random_.uniform());
    last_ = std::max(last_, static_cast<Microseconds>(free_ + late));
    return last_;
  }
  /// How many bytes more the wire's queue takes at `now`.
  [[nodiscard]] std::size_t room(Microseconds now) const {
    if (shape_.rate_mbit <= 0.0) return std::size_t{1} << 20;
    const double waiting = std::max(0.0, free_ - static_cast<double>(now)) * shape_.rate_mbit / 8.0;
    return static_cast<std::size_t>(std::max(0.0, shape_.queue_kb * 1024.0 - waiting));
  }
  /// When there is room again.
  [[nodiscard]] Microseconds next_room(Microseconds now) const {
    if (room(now) > 0) return now;
    return static_cast<Microseconds>(free_ - shape_.queue_kb * 1024.0 * 8.0 / shape_.rate_mbit) + 1;
  }

 private:
  WireShape shape_;
  Random random_;
  double free_ = 0.0;  ///< when the wire has sent what it has
  Microseconds last_ = 0;
};

}  // namespace concerto::bench
