// Alternating least squares: solves runs of rows exactly (Cholesky of the row's normal equations) or by warm-started
// conjugate gradient on the entries themselves. The formulas are those of model/objective.hpp.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "als.cpp"  // NOLINT: Highway compiles this file once for each instruction set
#include <algorithm>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cholesky-inl.h"
#include "row_system.hpp"
#include "rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {

/// Starts the row's matrix: base * gram, or zero, in the upper triangle and the vectors that the diagonal crosses.
HWY_INLINE void start_system(const RowStep& step, float* system, std::size_t system_width) {
  const Tag d;
  const Vec base = hn::Set(d, static_cast<float>(step.objective.base_weight()));
  for (std::size_t i = 0; i < step.width; ++i) {
    float* to = system + i * system_width;
    const float* from = step.gram == nullptr ? nullptr : step.gram + i * step.width;
    for (std::size_t j = i / kLanes * kLanes; j < step.width; j += kLanes) {
      hn::Store(from == nullptr ? hn::Zero(d) : hn::Mul(base, hn::Load(d, from + j)), d, to + j);
    }
  }
}

/// Solves one row by the normal equations. False if they are not positive definite in float.
bool solve_row_cholesky(const RowStep& step, RowIndex row, RowScratch& scratch) {
  const std::size_t width = step.width;
  const std::size_t apart = system_step(width);
  float* system = scratch.system.data();
  float* x = scratch.vectors.data();
  float* sum = x + width;
  BiasSums bias;
  start_system(step, system, apart);
  fill(x, 2 * width, 0.0F);
  bias.residuals = add_entries(step, row, scratch, system, x, step.target_biases != nullptr ? sum : nullptr);
  const double counted = step.counted(row);
  const auto penalty = static_cast<float>(step.objective.penalty(counted, step.fixed_rows));
  if (step.target_biases != nullptr) {
    bias.weight = counted + step.objective.bias_penalty(counted);
    add_outer_products(1, sum, sum, width, width, static_cast<float>(-1.0 / bias.weight), system, apart);
    scale_add(static_cast<float>(-bias.residuals / bias.weight), sum, 1.0F, x, width);
  }
  for (std::size_t i = 0; i < step.rank; ++i) system[i * apart + i] += penalty;
  for (std::size_t i = step.rank; i < width; ++i) system[i * apart + i] = 1.0F;
  if (!factor(system, width, apart, scratch.inverses.data())) return false;
  solve_factored(system, width, apart, scratch.inverses.data(), x);
  const float solved_bias =
      static_cast<float>((bias.residuals - static_cast<double>(dot(sum, x, width))) / bias.weight);
  store_row(step, row, x, solved_bias);
  return true;
}

/// Cholesky over a run. Returns the first row whose system was not positive definite, or kNoRow.
RowIndex solve_run_cholesky(const RowStep& step, RowRange rows, RowScratch& scratch) {
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    if (step.counted(row) == 0.0) {
      clear_row(step, row);
    } else if (!solve_row_cholesky(step, row, scratch)) {
      return row;
    }
  }
  return kNoRow;
}

/// A row being solved by CG, one of up to kCgRows side by side.
struct CgRow {
  RowIndex row = 0;
  EntryIndex begin = 0;
  std::size_t count = 0;
  float* panel = nullptr;  ///< its gathered rows, whole groups; null: taken from the table in each pass
  float* weights = nullptr;
  float* rights = nullptr;
  float penalty = 0.0F;
  BiasSums bias;
  double squared_residual = 0.0;
  double first_squared_residual = 0.0;
  bool active = true;
};

/// The vectors of CG, kCgRows rows of each.
struct CgState {
  explicit CgState(RowScratch& scratch, std::size_t width_in)
      : width(width_in),
        x(scratch.vectors.data()),
        r(x + kCgRows * width),
        p(r + kCgRows * width),
        product(p + kCgRows * width),
        sum(product + kCgRows * width) {}
  std::size_t width;
  float* x;
  float* r;
  float* p;
  float* product;
  float* sum;  ///< of the row's y, for an eliminated bias
};

/// Points at the rows of the table that entries [first, first + 8) of a row name, `zero_row` past its end, and at the
/// rows that the entries `distance` behind them name, whosever these are.
HWY_INLINE void point_at_entries(const RowStep& step, const CgRow& row, std::size_t first, std::size_t distance,
                                 const float* zero_row, const float* (&rows)[kGroup], const float* (&ahead)[kGroup]) {
  const RowIndex* columns = step.ratings.columns.data();
  const EntryIndex last = step.ratings.columns.size() - 1;
  for (std::size_t r = 0; r < kGroup; ++r) {
    const EntryIndex e = row.begin + first + r;
    rows[r] = first + r < row.count ? step.fixed + columns[e] * step.width : zero_row;
    ahead[r] = step.fixed + columns[std::min<EntryIndex>(e + distance, last)] * step.width;
  }
}

/// The first pass over a row's entries: out += sum of (right - weight * (y . x)) y, sum += sum of y, and its rows are
/// left in its panel if it has one.
HWY_INLINE void first_pass(const RowStep& step, CgRow& row, const float* zero_row, const float* x, float* out,
                           float* sum) {
  HWY_ALIGN float dots[kGroup];
  HWY_ALIGN float own_weights[kGroup];
  HWY_ALIGN float own_rights[kGroup];
  HWY_ALIGN static constexpr float kOnes[kGroup] = {1, 1, 1, 1, 1, 1, 1, 1};
  const std::size_t width = step.width;
  const float* rows[kGroup];
  const float* ahead[kGroup];
  for (std::size_t k = 0; k < row.count; k += kGroup) {
    const std::size_t count = std::min(kGroup, row.count - k);
    float* weights = row.panel == nullptr ? own_weights : row.weights + k;
    float* rights = row.panel == nullptr ? own_rights : row.rights + k;
    entry_weights(step, row.begin + k, row.begin + k + count, weights, rights);
    point_at_entries(step, row, k, kCgDistance, zero_row, rows, ahead);
    if (row.panel != nullptr) {
      dot_group_gathered<true>(rows, ahead, x, width, dots, row.panel + k * width);
    } else {
      dot_group_gathered<false>(rows, ahead, x, width, dots, nullptr);
    }
    for (std::size_t r = 0; r < kGroup; ++r) dots[r] = rights[r] - weights[r] * dots[r];
    add_group(rows, dots, width, out);
    if (sum == nullptr) continue;
    add_group(rows, kOnes, width, sum);
    for (std::size_t r = 0; r < count; ++r) row.bias.residuals += static_cast<double>(rights[r]);
  }
}

/// A later pass: out += sum of weight * (y . p) y.
HWY_INLINE void later_pass(const RowStep& step, const CgRow& row, const float* zero_row, const float* p, float* out) {
  const std::size_t width = step.width;
  if (row.panel != nullptr) {
    panel_pass(row.panel, row.count, width, row.weights, p, out);
    return;
  }
  HWY_ALIGN float dots[kGroup];
  HWY_ALIGN float weights[kGroup];
  HWY_ALIGN float rights[kGroup];
  const float* rows[kGroup];
  const float* ahead[kGroup];
  for (std::size_t k = 0; k < row.count; k += kGroup) {
    entry_weights(step, row.begin + k, row.begin + std::min(row.count, k + kGroup), weights, rights);
    point_at_entries(step, row, k, kCgDistance, zero_row, rows, ahead);
    dot_group_gathered<false>(rows, ahead, p, width, dots, nullptr);
    for (std::size_t r = 0; r < kGroup; ++r) dots[r] *= weights[r];
    add_group(rows, dots, width, out);
  }
}

/// product_u = base * p_u * gram for all rows side by side, or zero.
HWY_INLINE void start_products(const RowStep& step, std::size_t count, const float* p, float* product) {
  const Tag d;
  const std::size_t width = step.width;
  if (step.gram == nullptr) {
    fill(product, count * width, 0.0F);
    return;
  }
  multiply_rows(count, p, width, step.rank, step.gram, width, width, product, width);
  const Vec base = hn::Set(d, static_cast<float>(step.objective.base_weight()));
  for (std::size_t j = 0; j < count * width; j += kLanes) {
    hn::Store(hn::Mul(base, hn::Load(d, product + j)), d, product + j);
  }
}

/// r = right side - A x, p = r, for rows that start from their present values.
HWY_INLINE void start_cg(const RowStep& step, CgRow* rows, std::size_t count, const float* zero_row,
                         const CgState& state) {
  const std::size_t width = step.width;
  for (std::size_t u = 0; u < count; ++u) {
    const float* present = step.target + rows[u].row * width;
    std::copy(present, present + width, state.x + u * width);
  }
  start_products(step, count, state.x, state.product);
  const bool biases = step.target_biases != nullptr;
  for (std::size_t u = 0; u < count; ++u) {
    CgRow& row = rows[u];
    const float* x = state.x + u * width;
    float* r = state.r + u * width;
    float* sum = state.sum + u * width;
    const double counted = step.counted(row.row);
    row.penalty = static_cast<float>(step.objective.penalty(counted, step.fixed_rows));
    fill(r, width, 0.0F);
    if (biases) fill(sum, width, 0.0F);
    first_pass(step, row, zero_row, x, r, biases ? sum : nullptr);
    scale_add(-1.0F, state.product + u * width, 1.0F, r, width);
    scale_add(-row.penalty, x, 1.0F, r, width);
    if (biases) {
      row.bias.weight = counted + step.objective.bias_penalty(counted);
      const double left = row.bias.residuals - static_cast<double>(dot(sum, x, width));
      scale_add(static_cast<float>(-left / row.bias.weight), sum, 1.0F, r, width);
    }
    std::copy(r, r + width, state.p + u * width);
    row.squared_residual = static_cast<double>(dot(r, r, width));
    row.first_squared_residual = row.squared_residual;
  }
}

/// One step of CG for one row; the last one leaves r and p as they are.
HWY_INLINE void step_cg(const RowStep& step, CgRow& row, const float* zero_row, bool last, const CgState& state,
                        std::size_t u) {
  constexpr double kConverged = 1e-14;  // of the first squared residual: the limit of float
  const std::size_t width = step.width;
  if (!row.active || !(row.squared_residual > kConverged * row.first_squared_residual)) {
    row.active = false;
    return;
  }
  float* p = state.p + u * width;
  float* r = state.r + u * width;
  float* product = state.product + u * width;
  const float* sum = state.sum + u * width;
  later_pass(step, row, zero_row, p, product);
  scale_add(row.penalty, p, 1.0F, product, width);
  if (step.target_biases != nullptr) {
    scale_add(static_cast<float>(-static_cast<double>(dot(sum, p, width)) / row.bias.weight), sum, 1.0F, product,
              width);
  }
  const auto curvature = static_cast<double>(dot(p, product, width));
  if (!(curvature > 0.0)) {
    row.active = false;
    return;
  }
  const auto length = static_cast<float>(row.squared_residual / curvature);
  scale_add(length, p, 1.0F, state.x + u * width, width);
  if (last) return;
  scale_add(-length, product, 1.0F, r, width);
  const auto squared = static_cast<double>(dot(r, r, width));
  scale_add(1.0F, r, static_cast<float>(squared / row.squared_residual), p, width);
  row.squared_residual = squared;
}

/// Solves up to kCgRows rows side by side and stores them.
void solve_side_by_side(const RowStep& step, CgRow* rows, std::size_t count, RowScratch& scratch) {
  const CgState state(scratch, step.width);
  const float* zero_row = scratch.zero_row.data();
  start_cg(step, rows, count, zero_row, state);
  for (std::uint32_t s = 0; s < step.cg_steps; ++s) {
    start_products(step, count, state.p, state.product);
    for (std::size_t u = 0; u < count; ++u) step_cg(step, rows[u], zero_row, s + 1 == step.cg_steps, state, u);
  }
  for (std::size_t u = 0; u < count; ++u) {
    const float* x = state.x + u * step.width;
    double bias = 0.0;
    if (step.target_biases != nullptr) {
      const auto explained = static_cast<double>(dot(state.sum + u * step.width, x, step.width));
      bias = (rows[u].bias.residuals - explained) / rows[u].bias.weight;
    }
    store_row(step, rows[u].row, x, static_cast<float>(bias));
  }
}

/// CG over a run: rows side by side as long as their gathered entries, in whole groups, fit the panel.
RowIndex solve_run_cg(const RowStep& step, RowRange run, RowScratch& scratch) {
  const std::size_t width = step.width;
  CgRow rows[kCgRows];
  std::size_t count = 0;
  std::size_t used = 0;  // rows of the panel
  const auto solve = [&] {
    if (count != 0) solve_side_by_side(step, rows, count, scratch);
    count = used = 0;
  };
  for (RowIndex r = run.begin; r < run.end; ++r) {
    if (step.counted(r) == 0.0) {
      clear_row(step, r);
      continue;
    }
    const std::size_t n = step.ratings.count(r);
    const std::size_t padded = (n + kGroup - 1) / kGroup * kGroup;
    const bool fits = padded * width <= kCgPanelFloats;
    if (fits && (used + padded) * width > kCgPanelFloats) solve();
    CgRow& row = rows[count++];
    row = CgRow{};
    row.row = r;
    row.begin = step.ratings.offsets[r];
    row.count = n;
    if (fits) {
      row.panel = scratch.panel.data() + used * width;
      row.weights = scratch.weights.data() + used;
      row.rights = scratch.rights.data() + used;
      used += padded;
    }
    if (count == kCgRows) solve();
  }
  solve();
  return kNoRow;
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/row_errors.hpp"

#include "cpu_backend.hpp"
#include "row_work.hpp"

namespace concerto::cpu {
namespace {

HWY_EXPORT(solve_run_cholesky);
HWY_EXPORT(solve_run_cg);

void allocate(RowScratch& scratch, const RowStep& step, InnerSolver inner) {
  const std::size_t width = step.width;
  if (inner == InnerSolver::kCholesky) {
    allocate_system(scratch, step);
  } else {
    const std::size_t rows = kCgPanelFloats / width;
    scratch.zero_row.assign(width, 0.0F);
    scratch.panel.resize(rows * width);
    scratch.vectors.resize(5 * kCgRows * width);
    scratch.weights.resize(rows + 16);
    scratch.rights.resize(rows + 16);
  }
}

/// Predicted work in vector operations of 16 floats.
WorkModel predicted_work(const RowStep& step, InnerSolver inner) {
  const auto width = static_cast<double>(step.width);
  if (inner == InnerSolver::kCholesky) return {width * width / 32.0 + width, width * width * width / 96.0 + 1000.0};
  const double passes = 1.0 + step.cg_steps;
  const double dense = step.gram == nullptr ? 0.0 : width * width / 16.0;
  return {passes * width / 4.0, passes * (dense + width / 2.0) + 200.0};
}

}  // namespace

void CpuBackend::solve_rows(const SolveStep& step) {
  RowStep view = make_row_step(step.ratings, step.fixed, step.gram, step.target, step.rows, step.objective);
  view.cg_steps = step.cg_steps;
  view.momentum = static_cast<float>(step.momentum);
  if (step.inner == InnerSolver::kCholesky && view.rank > kMaxCholeskyRank) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("inner = \"cholesky\" solves ranks up to {}, not {}; use inner = \"cg\" or kind = "
                            "\"subspace\"",
                            kMaxCholeskyRank, view.rank),
                "solver.inner");
  }
  if (step.rows.size() == 0) return;
  const bool exact = step.inner == InnerSolver::kCholesky;
  const std::vector<RowRange> runs =
      schedule_rows(view.ratings, step.rows, predicted_work(view, step.inner), pool_.size());
  std::vector<RowScratch> scratch(pool_.size());
  const auto solve = exact ? HWY_DYNAMIC_DISPATCH(solve_run_cholesky) : HWY_DYNAMIC_DISPATCH(solve_run_cg);
  pool_.parallel_for(runs.size(), 1, [&](std::size_t begin, std::size_t end, unsigned worker) {
    if (scratch[worker].zero_row.empty()) allocate(scratch[worker], view, step.inner);
    for (std::size_t run = begin; run < end; ++run) {
      const RowIndex failed = solve(view, runs[run], scratch[worker]);
      if (failed == kNoRow) continue;
      throw not_positive_definite(RowSystem::kRow, failed, view.ratings.count(failed), view.objective);
    }
  });
}

}  // namespace concerto::cpu

#endif  // HWY_ONCE
