// One simulated cluster, whole: a pure function of its seed, and a text that can be kept, edited and replayed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "concerto/replication/level.hpp"

namespace concerto::sim {

/// Virtual milliseconds.
using Ticks = std::uint64_t;

enum class FaultKind : std::uint8_t {
  kCut,         ///< the connection of `a` and `b` ends; what is on its way is lost from some point on
  kFrame,       ///< a frame from `a` to `b` is damaged: the receiver cuts the connection
  kReplay,      ///< it ends, and some of what was on its way arrives late, once or twice, when the next one is open
  kPartition,   ///< nothing passes between `a` and `b` for `lasts`; then the connection ends
  kOneWay,      ///< nothing passes from `a` to `b` for `lasts`
  kSlowLink,    ///< all from `a` to `b` takes `amount` longer for `lasts`
  kPause,       ///< `a` does nothing for `lasts`
  kSlowRank,    ///< steps of `a` take `amount` times as long for `lasts`
  kTicks,       ///< the clock of `a` jumps: `amount` ticks at once
  kRestart,     ///< `a` dies and comes back after `lasts` as another incarnation, with nothing
  kRemove,      ///< `a` dies, and its blocks go to others after `lasts`
  kExpel,       ///< `a` is taken for dead while it lives and works on; it hears so after `lasts`
  kLateRecord,  ///< `a` reads records `lasts` late
  kDamage,      ///< bytes of a replica at `a` change
  kCount
};
inline constexpr std::size_t kFaultKinds = static_cast<std::size_t>(FaultKind::kCount);

struct Fault {
  FaultKind kind = FaultKind::kCut;
  Ticks at = 0;
  Ticks lasts = 0;
  Rank a = 0;
  Rank b = 0;
  std::uint32_t amount = 0;
};

struct LevelChangeAt {
  Ticks at = 0;
  Side table = Side::kItems;
  TableLevel level;
};

struct Scenario {
  std::uint64_t seed = 1;
  Rank ranks = 3;
  bool is_adding = false;   ///< sgd; else als
  std::uint32_t items = 6;  ///< blocks
  std::uint32_t users = 6;
  SweepClock epochs = 4;
  std::uint32_t blocks_per_step = 1;
  std::uint32_t window_blocks = 2;
  std::array<TableLevel, 2> levels;  ///< by Side
  Ticks delay_least = 1;
  Ticks delay_most = 10;
  Ticks step = 50;
  Ticks pace = 1;       ///< steps, faults and ticks take so much longer, delays do not: 1 makes links the bottleneck
  bool trains = false;  ///< a real model too
  std::vector<Fault> faults;
  std::optional<LevelChangeAt> change;
};

[[nodiscard]] Scenario draw_scenario(std::uint64_t seed);
[[nodiscard]] std::string to_text(const Scenario& scenario);
/// Error{kBadInput} naming the line.
[[nodiscard]] Scenario parse_scenario(const std::string& text, const std::string& name);
[[nodiscard]] const char* name_of(FaultKind kind);

}  // namespace concerto::sim
