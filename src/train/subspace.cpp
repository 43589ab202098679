// An epoch of block coordinate descent over slices of the rank: all slices of every item row, then of every user row.
#include <algorithm>

#include "epochs.hpp"

namespace concerto {

bool run_subspace_epoch(TrainingState& state, const EpochContext& context) {
  SubspaceStep step;
  step.objective = state.objective;
  step.slice = state.options.slice;
  return run_half_sweeps(state, context, [&](Side side, RowRange rows, const Buffer* gram) {
    const bool solves_items = side == Side::kItems;
    step.ratings = solves_items ? state.by_item.get() : state.by_user.get();
    step.fixed = solves_items ? state.users.get() : state.items.get();
    step.target = solves_items ? state.items.get() : state.users.get();
    step.gram = gram;
    step.rows = rows;
    state.backend.solve_slices(step);
  });
}

WorkModel subspace_work(const TrainOptions& options) {
  const double rank = options.rank;
  const double slice = std::min(options.slice, options.rank);
  return {rank * slice, rank * slice * slice / 3.0 + (options.objective.is_implicit() ? rank * rank : 0.0)};
}

}  // namespace concerto
