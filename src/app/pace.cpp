// Steps that last as long as they are to (see pace.hpp).
#include "pace.hpp"

#include <algorithm>
#include <ctime>
#include <thread>
#include <utility>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

using std::chrono::nanoseconds;

double seconds(nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

Pace::Clocks clocks_of_the_machine() {
  const auto now = [] { return nanoseconds(std::chrono::steady_clock::now().time_since_epoch()); };
  const auto cpu = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
  };
  const auto sleep_until = [](nanoseconds time) {
    std::this_thread::sleep_until(std::chrono::steady_clock::time_point(time));
  };
  return {now, cpu, sleep_until};
}

}  // namespace

double slowness(const EmulationConfig& emulation, Rank rank, Rank ranks, std::uint32_t sweep, Side side) noexcept {
  if (rank + emulation.slow_ranks < ranks) return 1.0;
  const std::uint64_t half_sweep = std::uint64_t{sweep} << 1 | static_cast<std::uint64_t>(side);
  Random random(emulation.seed, std::uint64_t{rank} << 40 | half_sweep);
  return random.uniform() < emulation.slow_share ? emulation.slow_factor : 1.0;
}

Pace::Pace(const EmulationConfig& emulation, Rank rank, Rank ranks)
    : Pace(emulation, rank, ranks, clocks_of_the_machine()) {}

Pace::Pace(const EmulationConfig& emulation, Rank rank, Rank ranks, Clocks clocks)
    : emulation_(emulation), rank_(rank), ranks_(ranks), clocks_(std::move(clocks)) {}

void Pace::step(std::uint32_t sweep, Side side, const std::function<void()>& work) {
  if (emulation_.pace == 0.0) return work();
  const nanoseconds begin = clocks_.now();
  const nanoseconds cpu_before = clocks_.cpu();
  work();
  const double cpu = seconds(clocks_.cpu() - cpu_before);
  const double meant = emulation_.pace * cpu * slowness(emulation_, rank_, ranks_, sweep, side);
  const nanoseconds end =
      begin - behind_ + std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(meant));
  const nanoseconds done = clocks_.now();
  if (end > done) clocks_.sleep_until(end);
  const nanoseconds now = clocks_.now();
  held_ += seconds(now - done);
  behind_ = std::max(now - end, nanoseconds(0));
  late_ += seconds(behind_);
  meant_ += meant;
}

}  // namespace concerto
