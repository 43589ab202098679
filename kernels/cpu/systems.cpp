// A row's system in two steps (SumStep, SystemsStep): what entries add to it, and solving it from what all of them add
// up to, exactly or by conjugate gradient on the formed matrix.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "systems.cpp"  // NOLINT: Highway compiles this file once for each instruction set
#include <algorithm>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cholesky-inl.h"
#include "row_system.hpp"
#include "rows-inl.h"
#include "summed_systems.hpp"

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {

/// Sums of a run of rows, to `out`, one after another.
void sum_run(const RowStep& step, RowRange rows, RowScratch& scratch, float* out) {
  const std::size_t width = step.width;
  const std::size_t apart = system_step(width);
  float* system = scratch.system.data();
  float* right = scratch.vectors.data();
  float* sum = right + width;
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    fill(system, width * apart, 0.0F);
    fill(right, 2 * width, 0.0F);
    const double residuals = add_entries(step, row, scratch, system, right, step.objective.biases ? sum : nullptr);
    for (std::size_t i = 0; i < step.rank; ++i) {
      out = std::copy(system + i * apart + i, system + i * apart + step.rank, out);
    }
    out = std::copy(right, right + step.rank, out);
    if (!step.objective.biases) continue;
    out = std::copy(sum, sum + step.rank, out);
    *out++ = static_cast<float>(residuals);
  }
}

/// Conjugate gradient on a full matrix from `x`; `vectors` holds three rows.
HWY_INLINE void solve_by_cg(const RowStep& step, const float* system, const float* right, float* vectors, float* x) {
  const std::size_t width = step.width;
  const std::size_t apart = system_step(width);
  float* r = vectors;
  float* p = r + width;
  float* product = p + width;
  multiply_rows(1, x, width, width, system, apart, width, product, width);
  std::copy(right, right + width, r);
  scale_add(-1.0F, product, 1.0F, r, width);
  std::copy(r, r + width, p);
  auto squared = static_cast<double>(dot(r, r, width));
  const double negligible = kCgNegligible * static_cast<double>(dot(right, right, width));
  for (std::uint32_t s = 0; s < step.cg_steps && squared > negligible; ++s) {
    multiply_rows(1, p, width, width, system, apart, width, product, width);
    const auto curvature = static_cast<double>(dot(p, product, width));
    if (!(curvature > 0.0)) return;
    const auto length = static_cast<float>(squared / curvature);
    scale_add(length, p, 1.0F, x, width);
    scale_add(-length, product, 1.0F, r, width);
    const auto next = static_cast<double>(dot(r, r, width));
    scale_add(1.0F, r, static_cast<float>(next / squared), p, width);
    squared = next;
  }
}

/// Solves one row from its sums. False if its system is not positive definite in float.
bool solve_summed(const RowStep& step, const SummedSystems& summed, RowIndex row, RowScratch& scratch) {
  const std::size_t width = step.width;
  const std::size_t apart = system_step(width);
  const std::size_t rank = step.rank;
  const float* from = summed.system(row);
  const double counted = summed.counted(row);
  float* system = scratch.system.data();
  float* right = scratch.vectors.data();
  float* sum = right + width;
  fill(system, width * apart, 0.0F);
  fill(right, 2 * width, 0.0F);
  const float* gram = step.gram;
  const auto base = static_cast<float>(step.objective.base_weight());
  for (std::size_t i = 0; i < rank; ++i) {
    float* to = system + i * apart;
    for (std::size_t j = i; j < rank; ++j) to[j] = *from++;
    if (gram == nullptr) continue;
    for (std::size_t j = i; j < rank; ++j) to[j] += base * *gram++;
  }
  std::copy(from, from + rank, right);
  from += rank;
  BiasSums bias;
  if (step.target_biases != nullptr) {
    std::copy(from, from + rank, sum);
    bias.residuals = static_cast<double>(from[rank]);
    bias.weight = counted + step.objective.bias_penalty(counted);
    add_outer_products(1, sum, sum, width, width, static_cast<float>(-1.0 / bias.weight), system, apart);
    scale_add(static_cast<float>(-bias.residuals / bias.weight), sum, 1.0F, right, width);
  }
  const auto penalty = static_cast<float>(step.objective.penalty(counted, step.fixed_rows));
  for (std::size_t i = 0; i < rank; ++i) system[i * apart + i] += penalty;
  for (std::size_t i = rank; i < width; ++i) system[i * apart + i] = 1.0F;
  float* x = right;
  if (summed.exactly) {
    if (!factor(system, width, apart, scratch.inverses.data())) return false;
    solve_factored(system, width, apart, scratch.inverses.data(), x);
  } else {
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t j = 0; j < i; ++j) system[i * apart + j] = system[j * apart + i];
    }
    x = sum + width;
    std::copy(step.target + row * width, step.target + (row + 1) * width, x);
    solve_by_cg(step, system, right, x + width, x);
  }
  const double left = bias.residuals - static_cast<double>(dot(sum, x, width));
  store_row(step, row, x, static_cast<float>(left / bias.weight));
  return true;
}

/// The first row of a run whose system was not positive definite, or kNoRow.
RowIndex solve_summed_run(const RowStep& step, const SummedSystems& summed, RowRange rows, RowScratch& scratch) {
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    if (summed.counted(row) == 0.0) {
      clear_row(step, row);
    } else if (!solve_summed(step, summed, row, scratch)) {
      return row;
    }
  }
  return kNoRow;
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "concerto/compute/row_errors.hpp"
#include "concerto/compute/system_checks.hpp"

#include "cpu_backend.hpp"
#include "row_work.hpp"

namespace concerto::cpu {
namespace {

HWY_EXPORT(sum_run);
HWY_EXPORT(solve_summed_run);

}  // namespace

void CpuBackend::sum_systems(const SumStep& step, std::span<float> systems) {
  const RowStep view = make_sum_step(step);
  const std::size_t floats = SystemLayout{view.rank, step.objective.biases}.floats();
  CONCERTO_CHECK(systems.size() == step.rows.size() * floats, "sums of other rows than there is room for");
  if (step.rows.size() == 0) return;
  const auto width = static_cast<double>(view.width);
  const std::vector<RowRange> runs =
      schedule_rows(view.ratings, step.rows, {width * width / 32.0 + width, width * width / 16.0}, pool_.size());
  std::vector<RowScratch> scratch(pool_.size());
  pool_.parallel_for(runs.size(), 1, [&](std::size_t begin, std::size_t end, unsigned worker) {
    if (scratch[worker].zero_row.empty()) allocate_system(scratch[worker], view);
    for (std::size_t run = begin; run < end; ++run) {
      HWY_DYNAMIC_DISPATCH(sum_run)
      (view, runs[run], scratch[worker], systems.data() + (runs[run].begin - step.rows.begin) * floats);
    }
  });
}

void CpuBackend::solve_systems(const SystemsStep& step) {
  FactorTable& target = buffer_as<TableBuffer>(step.target).factors;
  check_systems(step, target.shape());
  RowStep view;
  view.objective = step.objective;
  view.gram = step.objective.is_implicit() ? step.gram.data() : nullptr;
  view.target = target.data();
  view.target_biases = step.objective.biases ? target.biases().data() : nullptr;
  view.fixed_rows = step.fixed_rows;
  view.width = target.stride();
  view.rank = target.rank();
  view.cg_steps = step.cg_steps;
  view.momentum = static_cast<float>(step.momentum);
  const SummedSystems summed{step.systems, step.counts, step.rows.begin,
                             SystemLayout{view.rank, step.objective.biases}.floats(),
                             step.inner == InnerSolver::kCholesky};
  std::vector<RowScratch> scratch(pool_.size());
  pool_.parallel_for(step.rows.size(), 4, [&](std::size_t begin, std::size_t end, unsigned worker) {
    if (scratch[worker].zero_row.empty()) {
      allocate_system(scratch[worker], view);
      scratch[worker].vectors.resize(6 * view.width);
    }
    const RowRange run{step.rows.begin + static_cast<RowIndex>(begin), step.rows.begin + static_cast<RowIndex>(end)};
    const RowIndex failed = HWY_DYNAMIC_DISPATCH(solve_summed_run)(view, summed, run, scratch[worker]);
    if (failed == kNoRow) return;
    throw not_positive_definite(RowSystem::kRow, failed, step.counts[failed - step.rows.begin], view.objective);
  });
}

}  // namespace concerto::cpu

#endif  // HWY_ONCE
