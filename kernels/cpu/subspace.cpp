// Subspace steps (iALS++, Rendle, Krichene, Zhang and Koren 2021): block coordinate descent over slices of the rank,
// each slice's normal equations solved exactly given the others; with biases, the bias is eliminated with each slice.
//
// Rows are taken side by side so that one pass over the Gram's columns serves all of them (at rank 8,192 the Gram is
// 268 MB); the scores of their entries are computed once and kept up to date slice by slice.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "subspace.cpp"  // NOLINT: Highway compiles this file once for each instruction set
#include <algorithm>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cholesky-inl.h"
#include "row_system.hpp"
#include "rows-inl.h"
#include "subspace_scratch.hpp"

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {

/// Columns [first, first + size) of the rank, in panels of `width` floats a row.
struct Slice {
  std::size_t first = 0;
  std::size_t size = 0;
  std::size_t width = 0;
};

/// to[0, slice.width) = from[0, slice.size) * factor, zeros behind. `from` may have any alignment.
HWY_INLINE void copy_slice(const Slice& slice, const float* HWY_RESTRICT from, float factor, float* HWY_RESTRICT to) {
  const Tag d;
  const Vec factors = hn::Set(d, factor);
  std::size_t j = 0;
  for (; j + kLanes <= slice.size; j += kLanes) hn::Store(hn::Mul(factors, hn::LoadU(d, from + j)), d, to + j);
  for (; j < slice.size; ++j) to[j] = factor * from[j];
  for (; j < slice.width; ++j) to[j] = 0.0F;
}

/// The slice of the rows of entries [begin, end), and the same times their weights unless `weighted` is null.
HWY_INLINE void gather_slice(const RowStep& step, const Slice& slice, EntryIndex begin, EntryIndex end,
                             const float* weights, float* panel, float* weighted) {
  const std::size_t ahead = rows_ahead(slice.width);
  const RowIndex* columns = step.ratings.columns.data();
  const EntryIndex last = step.ratings.columns.size() - 1;
  const float* table = step.fixed + slice.first;
  for (EntryIndex e = begin; e < end; ++e) {
    prefetch_row(table + columns[std::min<EntryIndex>(e + ahead, last)] * step.width, slice.size);
    const float* row = table + columns[e] * step.width;
    copy_slice(slice, row, 1.0F, panel);
    panel += slice.width;
    if (weighted != nullptr) {
      copy_slice(slice, row, *weights++, weighted);
      weighted += slice.width;
    }
  }
}

/// A row among those side by side.
struct SubspaceRow {
  RowIndex row = 0;
  EntryIndex begin = 0;
  EntryIndex end = 0;
  float* scores = nullptr;  ///< x . y of its entries, padded to a group
  float* sum = nullptr;     ///< of its y, for an eliminated bias
  float penalty = 0.0F;
  BiasSums bias;
  double explained = 0.0;  ///< sum . x
};

/// Scores of the row's entries and, with biases, the sums that eliminate its bias.
HWY_INLINE void start_row(const RowStep& step, SubspaceRow& row, const float* zero_row) {
  HWY_ALIGN static constexpr float kOnes[kGroup] = {1, 1, 1, 1, 1, 1, 1, 1};
  const std::size_t width = step.width;
  const float* x = step.target + row.row * width;
  const RowIndex* columns = step.ratings.columns.data();
  const float* rows[kGroup];
  const double counted = step.counted(row.row);
  row.penalty = static_cast<float>(step.objective.penalty(counted, step.fixed_rows));
  if (row.sum != nullptr) fill(row.sum, width, 0.0F);
  for (EntryIndex e = row.begin; e < row.end; e += kGroup) {
    for (std::size_t r = 0; r < kGroup; ++r) {
      rows[r] = e + r < row.end ? step.fixed + columns[e + r] * width : zero_row;
    }
    dot_group(rows, x, width, row.scores + (e - row.begin));
    if (row.sum == nullptr) continue;
    add_group(rows, kOnes, width, row.sum);
    for (EntryIndex k = e; k < std::min<EntryIndex>(row.end, e + kGroup); ++k) {
      const RowIndex column = columns[k];
      row.bias.residuals +=
          static_cast<double>(step.objective.entry_weights(step.ratings.value(k), step.other_bias(column)).right);
    }
  }
  if (row.sum != nullptr) {
    row.bias.weight = counted + step.objective.bias_penalty(counted);
    row.explained = static_cast<double>(dot(row.sum, x, width));
  }
}

/// The slice's matrix without entries: base * gram, zero off the slice.
HWY_INLINE void start_slice_system(const RowStep& step, const Slice& slice, float* system, std::size_t apart) {
  const auto base = static_cast<float>(step.objective.base_weight());
  for (std::size_t i = 0; i < slice.width; ++i) {
    if (step.gram == nullptr || i >= slice.size) {
      fill(system + i * apart, slice.width, 0.0F);
    } else {
      copy_slice(slice, step.gram + (slice.first + i) * step.width + slice.first, base, system + i * apart);
    }
  }
}

/// Adds the entries' part to the slice's matrix and gradient (negative: right side minus A x).
HWY_INLINE void add_entries(const RowStep& step, const Slice& slice, const SubspaceRow& row, SubspaceScratch& scratch,
                            std::size_t apart) {
  const bool weighted = !step.uniform_weights();
  const std::size_t panel_rows = gram_panel_rows(slice.width);
  float* panel = scratch.panel.data();
  float* left = weighted ? scratch.weighted.data() : panel;
  float* weights = scratch.weights.data();
  float* rights = scratch.rights.data();
  for (EntryIndex from = row.begin; from < row.end; from += panel_rows) {
    const EntryIndex to = std::min<EntryIndex>(row.end, from + panel_rows);
    const std::size_t count = to - from;
    entry_weights(step, from, to, weights, rights);
    gather_slice(step, slice, from, to, weights, panel, weighted ? left : nullptr);
    add_outer_products(count, left, panel, slice.width, slice.width, weighted ? 1.0F : weights[0],
                       scratch.system.data(), apart);
    const float* scores = row.scores + (from - row.begin);
    for (std::size_t k = 0; k < count; ++k) rights[k] -= weights[k] * scores[k];
    add_panel(panel, count, slice.width, rights, scratch.zero_row.data(), scratch.gradient.data());
  }
}

/// scores += change . y for all entries, from the panel that add_entries left if the row fitted it.
HWY_INLINE void update_scores(const RowStep& step, const Slice& slice, const SubspaceRow& row, const float* change,
                              SubspaceScratch& scratch) {
  HWY_ALIGN float dots[kGroup];
  const std::size_t panel_rows = gram_panel_rows(slice.width);
  const float* rows[kGroup];
  const bool one_panel = row.end - row.begin <= panel_rows;
  for (EntryIndex from = row.begin; from < row.end; from += panel_rows) {
    const EntryIndex to = std::min<EntryIndex>(row.end, from + panel_rows);
    if (!one_panel) gather_slice(step, slice, from, to, nullptr, scratch.panel.data(), nullptr);
    float* scores = row.scores + (from - row.begin);
    for (std::size_t k = 0; k < to - from; k += kGroup) {
      point_at_panel(scratch.panel.data(), slice.width, k, to - from, scratch.zero_row.data(), rows);
      dot_group(rows, change, slice.width, dots);
      for (std::size_t r = 0; r < kGroup; ++r) scores[k + r] += dots[r];
    }
  }
}

/// Solves one slice of one row. `product` = (x * gram) of the slice, null for explicit objectives. False if the system
/// is not positive definite in float.
HWY_INLINE bool solve_slice(const RowStep& step, const Slice& slice, SubspaceRow& row, const float* product, bool last,
                            SubspaceScratch& scratch) {
  const std::size_t apart = system_step(slice.width);
  float* system = scratch.system.data();
  float* change = scratch.gradient.data();
  float* x = step.target + row.row * step.width + slice.first;
  start_slice_system(step, slice, system, apart);
  fill(change, slice.width, 0.0F);
  add_entries(step, slice, row, scratch, apart);
  const auto base = static_cast<float>(step.objective.base_weight());
  for (std::size_t j = 0; j < slice.size; ++j) {
    change[j] -= row.penalty * x[j] + (product == nullptr ? 0.0F : base * product[j]);
    system[j * apart + j] += row.penalty;
  }
  for (std::size_t j = slice.size; j < slice.width; ++j) system[j * apart + j] = 1.0F;
  float* sum = scratch.sum.data();
  if (row.sum != nullptr) {
    copy_slice(slice, row.sum + slice.first, 1.0F, sum);
    add_outer_products(1, sum, sum, slice.width, slice.width, static_cast<float>(-1.0 / row.bias.weight), system,
                       apart);
    scale_add(static_cast<float>(-(row.bias.residuals - row.explained) / row.bias.weight), sum, 1.0F, change,
              slice.width);
  }
  if (!factor(system, slice.width, apart, scratch.inverses.data())) return false;
  solve_factored(system, slice.width, apart, scratch.inverses.data(), change);
  for (std::size_t j = 0; j < slice.size; ++j) x[j] += change[j];
  if (row.sum != nullptr) row.explained += static_cast<double>(dot(sum, change, slice.width));
  if (!last) update_scores(step, slice, row, change, scratch);
  return true;
}

/// Solves all slices of rows [range.begin, range.end), side by side. Returns a row whose system was not positive
/// definite, or kNoRow.
RowIndex solve_side_by_side(const RowStep& step, std::size_t slice_size, RowRange range, SubspaceScratch& scratch) {
  SubspaceRow rows[kSubspaceRows];
  std::size_t count = 0;
  float* scores = scratch.scores.data();
  for (RowIndex r = range.begin; r < range.end; ++r) {
    if (step.counted(r) == 0.0) {
      clear_row(step, r);
      continue;
    }
    SubspaceRow& row = rows[count];
    row.row = r;
    row.begin = step.ratings.offsets[r];
    row.end = step.ratings.offsets[r + 1];
    row.scores = scores;
    if (step.target_biases != nullptr) row.sum = scratch.sums.data() + count * step.width;
    scores += (row.end - row.begin + kGroup - 1) / kGroup * kGroup;
    start_row(step, row, scratch.zero_row.data());
    ++count;
  }
  for (std::size_t first = 0; first < step.rank; first += slice_size) {
    Slice slice;
    slice.first = first;
    slice.size = std::min(slice_size, step.rank - first);
    slice.width = (slice.size + 15) / 16 * 16;
    if (step.gram != nullptr) {
      multiply_rows(range.size(), step.target + range.begin * step.width, step.width, step.rank, step.gram + first,
                    step.width, slice.width, scratch.products.data(), slice.width);
    }
    const bool last = first + slice_size >= step.rank;
    for (std::size_t u = 0; u < count; ++u) {
      const float* product =
          step.gram == nullptr ? nullptr : scratch.products.data() + (rows[u].row - range.begin) * slice.width;
      if (!solve_slice(step, slice, rows[u], product, last, scratch)) return rows[u].row;
    }
  }
  if (step.target_biases != nullptr) {
    for (std::size_t u = 0; u < count; ++u) {
      const BiasSums& bias = rows[u].bias;
      step.target_biases[rows[u].row] = static_cast<float>((bias.residuals - rows[u].explained) / bias.weight);
    }
  }
  return kNoRow;
}

/// Cuts a run into rows side by side and solves them.
RowIndex solve_run_slices(const RowStep& step, std::size_t slice_size, RowRange run, SubspaceScratch& scratch) {
  RowIndex next = run.begin;
  while (next < run.end) {
    RowRange range{next, next};
    EntryIndex padded = 0;
    while (range.end < run.end && range.size() < kSubspaceRows) {
      padded += step.ratings.count(range.end) + kGroup;
      if (padded > kSubspaceEntries && range.size() != 0) break;
      ++range.end;
    }
    const RowIndex failed = solve_side_by_side(step, slice_size, range, scratch);
    if (failed != kNoRow) return failed;
    next = range.end;
  }
  return kNoRow;
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "concerto/compute/row_errors.hpp"

#include "cpu_backend.hpp"
#include "row_work.hpp"

namespace concerto::cpu {
namespace {

HWY_EXPORT(solve_run_slices);

void allocate(SubspaceScratch& scratch, const RowStep& step, std::size_t width, EntryIndex longest_row) {
  const std::size_t rows = gram_panel_rows(width);
  scratch.panel.resize(rows * width);
  if (!step.uniform_weights()) scratch.weighted.resize(rows * width);
  scratch.system.resize(width * system_step(width));
  scratch.inverses.resize(width * 8);
  scratch.gradient.resize(width);
  scratch.sum.resize(width);
  scratch.weights.resize(rows + 16);
  scratch.rights.resize(rows + 16);
  scratch.scores.resize(std::max<std::size_t>(kSubspaceEntries, longest_row + 8));
  if (step.target_biases != nullptr) scratch.sums.resize(kSubspaceRows * step.width);
  if (step.gram != nullptr) scratch.products.resize(kSubspaceRows * width);
  scratch.zero_row.assign(step.width, 0.0F);
}

}  // namespace

void CpuBackend::solve_slices(const SubspaceStep& step) {
  const RowStep view = make_row_step(step.ratings, step.fixed, step.gram, step.target, step.rows, step.objective);
  CONCERTO_CHECK(step.slice > 0, "solve_slices: an empty slice");
  if (step.rows.size() == 0) return;
  if (step.slice >= view.rank && view.rank <= kMaxCholeskyRank) {  // one slice is the whole system
    SolveStep whole{step.ratings, step.fixed, step.gram, step.target, step.rows, step.objective};
    whole.inner = InnerSolver::kCholesky;
    solve_rows(whole);
    return;
  }
  const std::size_t slice_size = std::min<std::size_t>(step.slice, view.rank);
  const std::size_t slice_width = FactorTable::padded(static_cast<std::uint32_t>(slice_size));
  const auto rank = static_cast<double>(view.rank);
  const auto size = static_cast<double>(slice_size);
  const double dense = view.gram == nullptr ? 0.0 : rank * rank / 16.0;
  const WorkModel work{rank * size / 32.0 + rank / 4.0, dense + rank * size * size / 96.0 + 1000.0};
  const std::vector<RowRange> runs = schedule_rows(view.ratings, step.rows, work, pool_.size());
  EntryIndex longest = 0;
  for (RowIndex r = step.rows.begin; r < step.rows.end; ++r) longest = std::max(longest, view.ratings.count(r));
  std::vector<SubspaceScratch> scratch(pool_.size());
  pool_.parallel_for(runs.size(), 1, [&](std::size_t begin, std::size_t end, unsigned worker) {
    if (scratch[worker].zero_row.empty()) allocate(scratch[worker], view, slice_width, longest);
    for (std::size_t run = begin; run < end; ++run) {
      const RowIndex failed = HWY_DYNAMIC_DISPATCH(solve_run_slices)(view, slice_size, runs[run], scratch[worker]);
      if (failed == kNoRow) continue;
      throw not_positive_definite(RowSystem::kSlice, failed, view.ratings.count(failed), view.objective);
    }
  });
}

}  // namespace concerto::cpu

#endif  // HWY_ONCE
