// The dial: how far behind the serial schedule a step may read.
#pragma once

#include <algorithm>
#include <cstdint>

#include "concerto/replication/version.hpp"

namespace concerto {

enum class Level : std::uint8_t {
  kStrong,    ///< every block that a step reads has lag 0 and nothing newer
  kBounded,   ///< lag <= max_lag: stale synchronous parallel
  kEventual,  ///< at once
};

/// Of one table.
struct TableLevel {
  Level level = Level::kEventual;
  std::uint32_t max_lag = 2;  ///< kBounded
  friend bool operator==(const TableLevel&, const TableLevel&) = default;
};

/// By how many sweeps a block of clock `read` is behind `need`, the clock that the serial schedule would show.
[[nodiscard]] constexpr std::uint32_t lag_of(SweepClock need, SweepClock read) noexcept {
  return need > read ? need - read : 0;
}

/// Whether a step that needs `need` may read a block of clock `read`.
[[nodiscard]] constexpr bool allows(const TableLevel& level, SweepClock need, SweepClock read) noexcept {
  switch (level.level) {
    case Level::kStrong:
      return lag_of(need, read) == 0;
    case Level::kBounded:
      return lag_of(need, read) <= level.max_lag;
    case Level::kEventual:
      return true;
  }
  return false;
}

}  // namespace concerto
