// The replicator of the simulation: one bug at a time can be planted.
#pragma once

#include "planted_bugs.hpp"

namespace concerto {

/// The one that is planted now. Set before a simulation, never during one.
inline Bug planted_bug = Bug::kNone;

inline bool planted(Bug bug) noexcept {
  return bug == planted_bug;
}

}  // namespace concerto
