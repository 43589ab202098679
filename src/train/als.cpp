// An epoch of alternating least squares: exact or conjugate-gradient row systems, items first, then users.
#include "epochs.hpp"

namespace concerto {

bool run_half_sweeps(TrainingState& state, const EpochContext& context, const HalfStep& solve) {
  const auto total = static_cast<double>(state.item_steps.size() + state.user_steps.size());
  std::size_t done = 0;
  for (const Side side : {Side::kItems, Side::kUsers}) {
    const Buffer& fixed = side == Side::kItems ? *state.users : *state.items;
    const auto gram = state.objective.is_implicit() ? state.backend.gram(fixed) : nullptr;
    for (const RowRange rows : side == Side::kItems ? state.item_steps : state.user_steps) {
      if (context.stop.stop_requested()) return false;
      solve(side, rows, gram.get());
      ++done;
      if (context.on_step) context.on_step(static_cast<double>(done) / total);
    }
  }
  return true;
}

namespace {

SolveStep als_step(TrainingState& state, Side side, RowRange rows, const Buffer* gram) {
  const bool solves_items = side == Side::kItems;
  SolveStep step;
  step.objective = state.objective;
  step.inner = state.options.inner;
  step.cg_steps = state.options.cg_steps;
  step.ratings = solves_items ? state.by_item.get() : state.by_user.get();
  step.fixed = solves_items ? state.users.get() : state.items.get();
  step.target = solves_items ? state.items.get() : state.users.get();
  step.gram = gram;
  step.rows = rows;
  return step;
}

}  // namespace

bool run_als_epoch(TrainingState& state, const EpochContext& context) {
  return run_half_sweeps(state, context, [&](Side side, RowRange rows, const Buffer* gram) {
    SolveStep step = als_step(state, side, rows, gram);
    step.momentum = context.momentum;
    state.backend.solve_rows(step);
  });
}

void solve_users(TrainingState& state) {
  const auto gram = state.objective.is_implicit() ? state.backend.gram(*state.items) : nullptr;
  state.backend.solve_rows(als_step(state, Side::kUsers, {0, state.by_user_view.rows}, gram.get()));
}

WorkModel als_work(const TrainOptions& options) {
  const double rank = options.rank;
  if (options.inner == InnerSolver::kCholesky) return {rank * rank, rank * rank * rank / 3.0};
  const double passes = options.cg_steps + 1.0;
  return {4.0 * rank * passes, options.objective.is_implicit() ? 2.0 * rank * rank * passes : rank * passes};
}

}  // namespace concerto
