// Which state of a block it is, and what is in it.
#pragma once

#include <compare>
#include <cstdint>

#include "concerto/base/ids.hpp"

namespace concerto {

/// A block of a run, numbered from 0 over both tables, the same on all ranks.
using BlockId = std::uint32_t;
/// Rises with each change of a block's owner. A message of an older term is refused.
using Term = std::uint64_t;

/// Of a block's state. Compared by term, then by serial; the serial rises by one with each publication of its owner.
struct Version {
  Term term = 0;
  std::uint64_t serial = 0;
  friend constexpr auto operator<=>(const Version&, const Version&) = default;
};

/// The sweeps over a table, numbered from 1; 0: the initial values. "Clock c" of a block says that every contribution
/// of every scheduled writer up to sweep c is in it.
using SweepClock = std::uint32_t;

/// How far one writer's deltas are in a block.
struct FrontierEntry {
  Incarnation incarnation = 0;  ///< of the writer; its sequence starts anew with each
  std::uint64_t sequence = 0;   ///< the highest that is merged; they are merged in order, without gaps
  SweepClock clock = 0;         ///< the last sweep that they contribute
  friend constexpr bool operator==(const FrontierEntry&, const FrontierEntry&) = default;
};

}  // namespace concerto
