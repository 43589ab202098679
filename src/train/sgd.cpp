// An epoch of stochastic gradient descent: every entry once, in the order that the backend's grid gives.
#include "epochs.hpp"

namespace concerto {

SgdStep sgd_step(const TrainOptions& options, const Objective& objective, std::uint32_t epoch, std::uint32_t grid,
                 std::uint32_t grids, const SgdBuffers& buffers) {
  SgdStep step;
  step.grid = buffers.grid;
  step.users = buffers.users;
  step.items = buffers.items;
  step.objective = objective;
  step.epoch = (epoch - 1) * grids + grid;
  step.rate = options.learning_rate / (1.0 + options.decay * (epoch - 1));
  step.nonnegative = options.nonnegative;
  step.seed = options.seed;
  return step;
}

bool run_sgd_epoch(TrainingState& state, const EpochContext& context) {
  if (context.stop.stop_requested()) return false;
  state.backend.sgd_epoch(sgd_step(state.options, state.objective, context.epoch, 0, 1,
                                   {state.grid.get(), state.users.get(), state.items.get()}));
  if (context.on_step) context.on_step(1.0);
  return true;
}

WorkModel sgd_work() {
  return {1.0, 1.0};  // a row's state is loaded and stored once a pass, about what an update costs
}

}  // namespace concerto
