// Ranks that share a machine's processors but take the time of machines of their own, some of them slow: for measuring
// what a level is worth where ranks are not alike. The same under every level.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "concerto/base/ids.hpp"
#include "concerto/config/config.hpp"

namespace concerto {

/// A step lasts at least `pace` times the CPU time of its thread, and where its rank is slow so many times longer. What
/// a step was late by, because the processors were busy or the system woke it late, the next ones are shorter by: so
/// the mean holds. From one thread.
class Pace {
 public:
  /// `now` and `cpu` are clocks, of which `sleep_until` waits for the first: by default the machine's, and the CPU time
  /// of the calling thread.
  struct Clocks {
    std::function<std::chrono::nanoseconds()> now;
    std::function<std::chrono::nanoseconds()> cpu;
    std::function<void(std::chrono::nanoseconds)> sleep_until;
  };
  Pace(const EmulationConfig& emulation, Rank rank, Rank ranks);
  Pace(const EmulationConfig& emulation, Rank rank, Rank ranks, Clocks clocks);

  /// Does the work of a step and returns when its time is over. An exception of the work's passes at once.
  void step(std::uint32_t sweep, Side side, const std::function<void()>& work);

  /// Seconds that steps waited beyond their work.
  [[nodiscard]] double held_seconds() const noexcept { return held_; }
  /// How late steps ended in the mean, as a share of how long they were to last: what other load on the machine and
  /// too many ranks for its processors do.
  [[nodiscard]] double error() const noexcept { return meant_ > 0.0 ? late_ / meant_ : 0.0; }

 private:
  EmulationConfig emulation_;
  Rank rank_;
  Rank ranks_;
  Clocks clocks_;
  std::chrono::nanoseconds behind_{0};  ///< what the last step was late by
  double held_ = 0.0;
  double late_ = 0.0;   ///< sum over steps, seconds
  double meant_ = 0.0;  ///< likewise
};

/// How many times longer the steps of a half-sweep last: a pure function, so that runs under every level have the same
/// slow periods.
[[nodiscard]] double slowness(const EmulationConfig& emulation, Rank rank, Rank ranks, std::uint32_t sweep,
                              Side side) noexcept;

}  // namespace concerto
