// What goes along with a rank's steps where a configuration asks for it, the same under every level: their pace, and
// the log of what they made.
#pragma once

#include <cstdint>
#include <functional>

#include "concerto/model/version_log.hpp"

#include "pace.hpp"

namespace concerto {

/// Both outlive the run; nullptr: not asked for.
struct StepWatch {
  Pace* pace = nullptr;
  VersionLog* versions = nullptr;

  void paced(std::uint32_t sweep, Side side, const std::function<void()>& work) const {
    if (pace != nullptr) {
      pace->step(sweep, side, work);
    } else {
      work();
    }
  }
  [[nodiscard]] double held_seconds() const noexcept { return pace != nullptr ? pace->held_seconds() : 0.0; }
};

}  // namespace concerto
