// The engine: no bug is planted.
#pragma once

#include "planted_bugs.hpp"

namespace concerto {

constexpr bool planted(Bug /*bug*/) noexcept {
  return false;
}

}  // namespace concerto
