// Which schedule is which, and what none moves unless it says so.
#include "epoch_schedule.hpp"

#include "concerto/base/check.hpp"

namespace concerto {

void EpochSchedule::partials_exchanged(const StepId&, EffectList&) {
  CONCERTO_CHECK(false, "this schedule exchanges no partials");
}
void EpochSchedule::systems_solved(const StepId&, EffectList&) {
  CONCERTO_CHECK(false, "this schedule exchanges no partials");
}
void EpochSchedule::block_sent(const BlockPass&, EffectList&) {
  CONCERTO_CHECK(false, "this schedule passes no blocks");
}
void EpochSchedule::block_received(const BlockPass&, EffectList&) {
  CONCERTO_CHECK(false, "this schedule passes no blocks");
}

std::unique_ptr<EpochSchedule> make_schedule(const NodeOptions& options) {
  switch (options.schedule) {
    case ScheduleKind::kRotating:
      return make_rotating_schedule(options);
    case ScheduleKind::kSumming:
      return make_summing_schedule(options);
    case ScheduleKind::kAlternating:
      break;
  }
  return make_alternating_schedule(options);
}

}  // namespace concerto
