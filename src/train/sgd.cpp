// An epoch of stochastic gradient descent: every entry once, in the order that the backend's grid gives.
#include "epochs.hpp"

namespace concerto {

bool run_sgd_epoch(TrainingState& state, const EpochContext& context) {
  if (context.stop.stop_requested()) return false;
  SgdStep step;
  step.grid = state.grid.get();
  step.users = state.users.get();
  step.items = state.items.get();
  step.objective = state.objective;
  step.epoch = context.epoch - 1;
  step.rate = state.options.learning_rate / (1.0 + state.options.decay * step.epoch);
  step.nonnegative = state.options.nonnegative;
  step.seed = state.options.seed;
  state.backend.sgd_epoch(step);
  if (context.on_step) context.on_step(1.0);
  return true;
}

}  // namespace concerto
