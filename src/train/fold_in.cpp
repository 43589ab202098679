// Folding in new users: the user half-sweep of ALS on their rows alone.
#include "concerto/train/fold_in.hpp"

#include <algorithm>
#include <cmath>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

/// Above the exact solver's limit CG runs in rounds until a round no longer moves any row.
constexpr std::uint32_t kCgStepsPerRound = 64;
constexpr int kMostRounds = 32;
constexpr double kConverged = 1e-5;

/// The largest change of a row between two tables, relative to the row.
double largest_change(const FactorTable& before, const FactorTable& after) {
  double largest = 0.0;
  for (RowIndex r = 0; r < after.rows(); ++r) {
    double change = 0.0;
    double size = 0.0;
    for (std::uint32_t c = 0; c < after.rank(); ++c) {
      const double difference = static_cast<double>(after.row(r)[c]) - before.row(r)[c];
      change += difference * difference;
      size += static_cast<double>(after.row(r)[c]) * after.row(r)[c];
    }
    if (size > 0.0) largest = std::max(largest, std::sqrt(change / size));
  }
  return largest;
}

}  // namespace

FactorTable fold_in_users(Backend& backend, const FactorTable& items, const CompressedRows& histories,
                          const Objective& objective) {
  CONCERTO_CHECK(histories.column_count == items.rows(), "histories and items disagree about the number of items");
  const TableShape shape{histories.rows, items.rank(), items.shape().biases};
  FactorTable users(shape);
  if (histories.rows == 0) return users;

  const auto fixed = backend.create_table(items.shape());
  backend.write_rows(*fixed, {0, items.rows()}, items);
  const auto target = backend.create_table(shape);
  const auto ratings = backend.load_ratings(histories);
  const auto gram = objective.is_implicit() ? backend.gram(*fixed) : nullptr;

  SolveStep step;
  step.ratings = ratings.get();
  step.fixed = fixed.get();
  step.gram = gram.get();
  step.target = target.get();
  step.rows = {0, histories.rows};
  step.objective = objective;
  step.inner = items.rank() <= kMaxCholeskyRank ? InnerSolver::kCholesky : InnerSolver::kCg;
  step.cg_steps = kCgStepsPerRound;
  backend.solve_rows(step);
  backend.read_rows(*target, step.rows, users);
  if (step.inner == InnerSolver::kCholesky) return users;

  for (int round = 1; round < kMostRounds; ++round) {
    const FactorTable before = users;
    backend.solve_rows(step);
    backend.read_rows(*target, step.rows, users);
    if (largest_change(before, users) <= kConverged) break;
  }
  return users;
}

}  // namespace concerto
