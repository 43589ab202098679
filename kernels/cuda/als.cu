// One ALS step: rows of the target against the fixed side. Ranks up to 256 in one fused pass a row (row_solver.cuh),
// larger ones in batches (als_large.cu).
#include <optional>

#include "concerto/base/error.hpp"

#include "als_large.hpp"
#include "failed_row.hpp"
#include "row_solver.cuh"
#include "row_terms.hpp"

namespace concerto::cuda {

void CudaBackend::solve_rows(const SolveStep& step) {
  const auto& ratings = buffer_as<RatingsBuffer>(step.ratings);
  const auto& fixed = buffer_as<TableBuffer>(step.fixed);
  auto& target = buffer_as<TableBuffer>(step.target);
  const GramBuffer* gram = step.objective.is_implicit() ? &buffer_as<GramBuffer>(step.gram) : nullptr;
  CONCERTO_CHECK(step.rows.begin <= step.rows.end && step.rows.end <= target.shape.rows, "rows outside the table");
  const bool exactly = step.inner == InnerSolver::kCholesky;
  const std::uint32_t rank = target.shape.rank;
  if (exactly && rank > kMaxCholeskyRank) {
    throw Error(ErrorCode::kUnsupported,
                "inner solver cholesky is limited to rank " + std::to_string(kMaxCholeskyRank) +
                    ": use inner = \"cg\" or the solver subspace",
                "solver.inner");
  }
  if (rank > kMostSystemWidth) {
    solve_rows_large(pool_, stream_, dense_, step);
    return;
  }
  const PlanLimits limits{light_entries(rank, step.objective, exactly), kSegmentEntries};
  const DeviceRowPlan& plan = row_plan(pool_, stream_, ratings, step.objective, step.rows, limits);
  SystemArguments a = system_arguments(pool_, stream_, ratings, fixed, gram, target, step.objective);
  a.by_cholesky = exactly;
  std::optional<FailedRow> failed;
  if (exactly) a.failed_row = failed.emplace(pool_, stream_).device();
  a.cg_steps = step.cg_steps;
  a.momentum = static_cast<float>(step.momentum);
  solve_planned_rows(stream_, pool_, a, !fixed.shadow.empty(), has_equal_weights(ratings, step.objective), plan,
                     partials_);
  clear_rows(stream_, plan.empty, target);
  if (failed) failed->check(stream_, RowSystem::kRow, ratings, step.objective);
}

}  // namespace concerto::cuda
