// Entries of rows as vector code takes them: gathered panels, their weights, weighted sums of them, and how a solved
// row is stored. Shared by ALS and subspace; compiled once for each instruction set.

#if defined(CONCERTO_KERNELS_CPU_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CONCERTO_KERNELS_CPU_ROWS_INL_H_
#undef CONCERTO_KERNELS_CPU_ROWS_INL_H_
#else
#define CONCERTO_KERNELS_CPU_ROWS_INL_H_
#endif

#include <algorithm>

#include "dense-inl.h"
#include "row_system.hpp"

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {

/// Rows asked for ahead of their use when they are gathered: about 4 KB.
HWY_INLINE std::size_t rows_ahead(std::size_t width) {
  return std::max<std::size_t>(2, 1024 / width);
}

/// Copies the rows of entries [begin, end) to `panel`, and times `weights` to `weighted` unless that is null.
HWY_INLINE void gather(const RowStep& step, EntryIndex begin, EntryIndex end, const float* weights, float* panel,
                       float* weighted) {
  const Tag d;
  const std::size_t width = step.width;
  const std::size_t ahead = rows_ahead(width);
  const RowIndex* columns = step.ratings.columns.data();
  const EntryIndex last = step.ratings.columns.size() - 1;
  for (EntryIndex e = begin; e < end; ++e) {
    prefetch_row(step.fixed + columns[std::min<EntryIndex>(e + ahead, last)] * width, width);
    const float* row = step.fixed + columns[e] * width;
    for (std::size_t j = 0; j < width; j += kLanes) hn::Store(hn::Load(d, row + j), d, panel + j);
    panel += width;
    if (weighted != nullptr) {
      const Vec weight = hn::Set(d, *weights++);
      for (std::size_t j = 0; j < width; j += kLanes) hn::Store(hn::Mul(weight, hn::Load(d, row + j)), d, weighted + j);
      weighted += width;
    }
  }
}

/// Asks for the rows of entries [begin, end), as far as there are entries, to come near: into the L2 cache.
HWY_INLINE void bring_near(const RowStep& step, EntryIndex begin, EntryIndex end) {
  const RowIndex* columns = step.ratings.columns.data();
  end = std::min<EntryIndex>(end, step.ratings.columns.size());
  for (EntryIndex e = begin; e < end; ++e) {
    const float* row = step.fixed + columns[e] * step.width;
    for (std::size_t j = 0; j < step.width; j += 16) __builtin_prefetch(row + j, 0, 2);
  }
}

/// Weights of entries [begin, end), and zeros up to a whole group behind them.
HWY_INLINE void entry_weights(const RowStep& step, EntryIndex begin, EntryIndex end, float* weights, float* rights) {
  std::size_t k = 0;
  for (EntryIndex e = begin; e < end; ++e, ++k) {
    const Objective::EntryWeights w =
        step.objective.entry_weights(step.ratings.value(e), step.other_bias(step.ratings.columns[e]));
    weights[k] = w.gram;
    rights[k] = w.right;
  }
  for (; k % kGroup != 0; ++k) weights[k] = rights[k] = 0.0F;
}

/// Points at rows [first, first + 8) of a panel of `count` rows; at `zero_row` past its end.
HWY_INLINE void point_at_panel(const float* panel, std::size_t width, std::size_t first, std::size_t count,
                               const float* zero_row, const float* (&rows)[kGroup]) {
  for (std::size_t r = 0; r < kGroup; ++r) {
    rows[r] = first + r < count ? panel + (first + r) * width : zero_row;
  }
}

/// out += sum over the panel's rows of coefficients[k] * row k; coefficients padded to a group.
HWY_INLINE void add_panel(const float* panel, std::size_t count, std::size_t width, const float* coefficients,
                          const float* zero_row, float* out) {
  const float* rows[kGroup];
  for (std::size_t k = 0; k < count; k += kGroup) {
    point_at_panel(panel, width, k, count, zero_row, rows);
    add_group(rows, coefficients + k, width, out);
  }
}

/// Adds what a row's entries say: their outer products to the upper triangle of `system` (rows system_step(width)
/// apart), their right sides to `right` and, unless it is null, their rows to `sum`. Returns the sum of right sides,
/// with `sum` only.
HWY_INLINE double add_entries(const RowStep& step, RowIndex row, RowScratch& scratch, float* system, float* right,
                              float* sum) {
  const std::size_t width = step.width;
  const std::size_t apart = system_step(width);
  const EntryIndex begin = step.ratings.offsets[row];
  const EntryIndex end = step.ratings.offsets[row + 1];
  const bool weighted = !step.uniform_weights();
  double residuals = 0.0;
  const std::size_t panel_rows = gram_panel_rows(width);
  for (EntryIndex from = begin; from < end; from += panel_rows) {
    const EntryIndex to = std::min<EntryIndex>(end, from + panel_rows);
    const std::size_t count = to - from;
    float* panel = scratch.panel.data();
    float* left = weighted ? scratch.weighted.data() : panel;
    entry_weights(step, from, to, scratch.weights.data(), scratch.rights.data());
    gather(step, from, to, scratch.weights.data(), panel, weighted ? left : nullptr);
    add_panel(panel, count, width, scratch.rights.data(), scratch.zero_row.data(), right);
    if (sum != nullptr) {
      add_panel(panel, count, width, scratch.weights.data(), scratch.zero_row.data(), sum);  // explicit: all 1
      for (std::size_t k = 0; k < count; ++k) residuals += scratch.rights[k];
    }
    // While tiles are computed, the rows that are gathered next come near, a share of them before each row of tiles.
    const std::size_t tile_rows = width / kTileRows;
    add_outer_products(count, left, panel, width, width, weighted ? 1.0F : scratch.weights[0], system, apart,
                       [&](std::size_t i) {
                         const std::size_t tile_row = i / kTileRows;
                         bring_near(step, to + count * tile_row / tile_rows, to + count * (tile_row + 1) / tile_rows);
                       });
  }
  return residuals;
}

HWY_INLINE void fill(float* x, std::size_t count, float value) {
  std::fill(x, x + count, value);
}

/// Writes a solved row with momentum, and the eliminated bias.
HWY_INLINE void store_row(const RowStep& step, RowIndex row, const float* solved, float bias) {
  float* target = step.target + row * step.width;
  if (step.momentum == 0.0F) {
    std::copy(solved, solved + step.width, target);
  } else {
    scale_add(1.0F + step.momentum, solved, -step.momentum, target, step.width);
  }
  if (step.target_biases != nullptr) {
    const float previous = step.target_biases[row];
    step.target_biases[row] = step.momentum == 0.0F ? bias : bias + step.momentum * (bias - previous);
  }
}

HWY_INLINE void clear_row(const RowStep& step, RowIndex row) {
  fill(step.target + row * step.width, step.width, 0.0F);
  if (step.target_biases != nullptr) step.target_biases[row] = 0.0F;
}

/// What the entries of a row with an eliminated bias b add up to; b = (residuals - sum . x) / weight.
struct BiasSums {
  double residuals = 0.0;  ///< of right sides
  double weight = 1.0;     ///< n + the bias's penalty
};

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
