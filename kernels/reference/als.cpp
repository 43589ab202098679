// One ALS step: each row's system solved exactly (Cholesky) or by a few steps of warm-started conjugate gradient.
//
// Sources: Hu, Koren and Volinsky 2008; Zhou et al. 2008; Takacs, Pilaszy and Tikk 2011 (conjugate gradient). The
// system with its eliminated bias is in row_system.hpp.
#include "concerto/base/error.hpp"

#include "row_system.hpp"

namespace concerto::reference {
namespace {

std::vector<double> solve_exactly(const RowSystem& system) {
  std::vector<double> a = system.matrix(0, system.right().size());
  std::vector<double> x = system.right();
  solve_symmetric(a, x);
  return x;
}

}  // namespace

void ReferenceBackend::solve_rows(const SolveStep& step) {
  const CompressedRows& matrix = as<Ratings>(step.ratings).view;
  const FactorTable& fixed = as<Table>(step.fixed).values;
  FactorTable& target = as<Table>(step.target).values;
  const Gram* gram = step.objective.is_implicit() ? &as<Gram>(step.gram) : nullptr;
  CONCERTO_CHECK(step.rows.end <= target.rows() && matrix.rows == target.rows(), "rows outside the table");
  if (step.inner == InnerSolver::kCholesky && target.rank() > kMaxCholeskyRank) {
    throw Error(ErrorCode::kUnsupported,
                "inner solver cholesky is limited to rank " + std::to_string(kMaxCholeskyRank) +
                    ": use inner = \"cg\" or the solver subspace",
                "solver.inner");
  }
  for (RowIndex r = step.rows.begin; r < step.rows.end; ++r) {
    const RowSystem system(matrix, r, fixed, gram, step.objective);
    const std::vector<double> previous = row_as_double(target, r);
    if (!system.has_entries()) {
      store_row(target, r, std::vector<double>(previous.size(), 0.0), 0.0);
      continue;
    }
    const auto apply = [&](std::span<const double> x) { return system.apply(x); };
    std::vector<double> x = step.inner == InnerSolver::kCholesky
                                ? solve_exactly(system)
                                : solve_by_cg(apply, system.right(), previous, step.cg_steps);
    double bias = system.bias(x);
    for (std::size_t c = 0; c < x.size(); ++c) x[c] += step.momentum * (x[c] - previous[c]);
    bias += step.momentum * (bias - target.bias(r));
    store_row(target, r, x, bias);
  }
}

}  // namespace concerto::reference
