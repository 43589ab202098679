// What stands for a block's bytes in a simulation: integers that tell exactly which contributions are in them.
#pragma once

#include <cstdint>
#include <vector>

#include "concerto/replication/version.hpp"

namespace concerto::sim {

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t x = a ^ (b + 0x9e37'79b9'7f4a'7c15 + (a << 6) + (a >> 2));
  x = (x ^ (x >> 31)) * 0xbf58'476d'1ce4'e5b9;
  return x ^ (x >> 29);
}

/// One writer's contributions of one of its lives.
struct Part {
  Rank writer = 0;
  Incarnation incarnation = 0;
  std::uint64_t last = 0;  ///< sequence
  std::int64_t sum = 0;
  SweepClock clock = 0;
};

struct Contents {
  std::uint64_t value = 0;  ///< of blocks with one writer: computed from what was read
  SweepClock sweep = 0;     ///< and in which sweep
  std::vector<Part> parts;  ///< of blocks with many writers, by writer and incarnation
  bool is_damaged = false;

  [[nodiscard]] Part* find(Rank writer, Incarnation incarnation) {
    for (Part& part : parts) {
      if (part.writer == writer && part.incarnation == incarnation) return &part;
    }
    return nullptr;
  }
  [[nodiscard]] const Part* find(Rank writer, Incarnation incarnation) const {
    return const_cast<Contents*>(this)->find(writer, incarnation);
  }
  /// The last sweep that the writer contributed, in any of its lives.
  [[nodiscard]] SweepClock clock_of(Rank writer) const {
    SweepClock clock = 0;
    for (const Part& part : parts) {
      if (part.writer == writer && part.clock > clock) clock = part.clock;
    }
    return clock;
  }
  [[nodiscard]] std::uint64_t hash() const {
    std::uint64_t h = mix(value, sweep);
    for (const Part& part : parts) {
      h = mix(h, part.writer);
      h = mix(h, part.incarnation);
      h = mix(h, part.last);
      h = mix(h, static_cast<std::uint64_t>(part.sum));
    }
    return mix(h, is_damaged ? 1 : 0);
  }
};

/// A delta's bytes.
struct Delta {
  std::int64_t sum = 0;
  bool is_there = false;
};

}  // namespace concerto::sim
