// What solving a run of rows needs to know and the memory it works in, free of vector types, so that code compiled for
// one instruction set and code compiled for all of them can share it. Private to kernels/cpu.
#pragma once

#include <cstddef>
#include <cstdint>

#include "concerto/base/aligned.hpp"
#include "concerto/base/ids.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/data/ratings.hpp"
#include "concerto/model/objective.hpp"

namespace concerto::cpu {

/// One side's update: pointers into the buffers of a step. `width` is the stride of every row.
struct RowStep {
  CompressedRows ratings;
  Objective objective;
  const float* fixed = nullptr;         ///< Y
  const float* fixed_biases = nullptr;  ///< null without biases
  const float* gram = nullptr;          ///< Y^T Y, width x width; null for explicit objectives
  float* target = nullptr;
  float* target_biases = nullptr;  ///< null without biases
  RowIndex fixed_rows = 0;
  std::size_t width = 0;
  std::uint32_t rank = 0;
  std::uint32_t cg_steps = 0;
  float momentum = 0.0F;

  [[nodiscard]] float other_bias(RowIndex column) const noexcept {
    return fixed_biases == nullptr ? 0.0F : fixed_biases[column];
  }
  /// All entries of all rows weigh the same in the Gram matrix.
  [[nodiscard]] bool uniform_weights() const noexcept {
    return objective.kind == ObjectiveKind::kExplicit || ratings.values.empty();
  }
  /// n of the row as the penalty counts it.
  [[nodiscard]] double counted(RowIndex row) const noexcept {
    if (objective.kind != ObjectiveKind::kImplicitAlpha || ratings.values.empty()) {
      return static_cast<double>(ratings.count(row));
    }
    EntryIndex positive = 0;
    for (const float value : ratings.row_values(row)) positive += objective.counts(value) ? 1 : 0;
    return static_cast<double>(positive);
  }
};

/// A step's view of its buffers; a mismatch of kinds or shapes is the caller's bug.
[[nodiscard]] RowStep make_row_step(const Buffer* ratings, const Buffer* fixed, const Buffer* gram, Buffer* target,
                                    RowRange rows, const Objective& objective);

/// A view of what sums of entries read; it has no target.
[[nodiscard]] RowStep make_sum_step(const SumStep& step);

/// One thread's memory, allocated once a step.
struct RowScratch {
  AlignedVector<float> panel;     ///< gathered rows
  AlignedVector<float> weighted;  ///< the same rows times their weights
  AlignedVector<float> system;    ///< the row's matrix, then its factor
  AlignedVector<float> inverses;  ///< of the factor's diagonal blocks
  AlignedVector<float> vectors;   ///< right sides, CG state
  AlignedVector<float> weights;   ///< of entries, in the Gram
  AlignedVector<float> rights;    ///< of entries, on the right side
  AlignedVector<float> zero_row;  ///< stands in for missing rows of a group
};

/// Rows gathered at a time for a Gram matrix: 128 KB of them, at least 32, at most 256.
[[nodiscard]] constexpr std::size_t gram_panel_rows(std::size_t width) noexcept {
  const std::size_t rows = 32768 / width / 8 * 8;
  return rows < 32 ? 32 : rows > 256 ? 256 : rows;
}
/// Rows of a system apart in memory: off powers of two, so that a column does not fall into one cache set.
[[nodiscard]] constexpr std::size_t system_step(std::size_t width) noexcept {
  return width % 128 == 0 ? width + 16 : width;
}
/// CG solves this many rows side by side, so that one pass over the Gram serves all of them.
inline constexpr std::size_t kCgRows = 8;
/// Floats of gathered rows that CG keeps between its passes (512 KB: half an L2 cache); longer rows are gathered again
/// in each pass.
inline constexpr std::size_t kCgPanelFloats = 131072;

/// CG asks for a row of the table this many entries before it is used.
inline constexpr std::size_t kCgDistance = 16;

}  // namespace concerto::cpu
