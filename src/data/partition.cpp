// Cutting a table into blocks of whole chunks at equal predicted work. Who owns a block is decided elsewhere.
#include "concerto/data/partition.hpp"

#include <algorithm>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

/// Predicted work of every chunk; all ones if the model predicts none at all.
[[nodiscard]] std::vector<double> chunk_work(const CompressedRows& matrix, const WorkModel& model) {
  std::vector<double> work(chunk_count(matrix.rows));
  double total = 0.0;
  for (RowIndex chunk = 0; chunk < work.size(); ++chunk) {
    const RowRange range = chunk_range(matrix.rows, chunk);
    const EntryIndex entries = matrix.offsets[range.end] - matrix.offsets[range.begin];
    work[chunk] = model.per_entry * static_cast<double>(entries) + model.per_row * range.size();
    total += work[chunk];
  }
  if (total <= 0.0) std::ranges::fill(work, 1.0);
  return work;
}

}  // namespace

std::vector<RowRange> cut_blocks(const CompressedRows& matrix, std::size_t count, const WorkModel& work_model) {
  CONCERTO_CHECK(count > 0, "at least one block");
  const std::vector<double> work = chunk_work(matrix, work_model);
  double remaining = 0.0;
  for (const double w : work) remaining += w;

  std::vector<RowRange> blocks;
  std::size_t chunk = 0;
  while (chunk < work.size()) {
    // Each block aims at an equal share of what is left, so that one huge chunk does not starve those behind it.
    const std::size_t blocks_left = count - blocks.size();
    const double target = remaining / static_cast<double>(blocks_left);
    const auto begin = static_cast<RowIndex>(chunk);
    double taken = work[chunk++];
    while (chunk < work.size() && (blocks_left == 1 || taken + work[chunk] / 2 <= target)) taken += work[chunk++];
    remaining -= taken;
    blocks.push_back(
        {chunk_range(matrix.rows, begin).begin, chunk_range(matrix.rows, static_cast<RowIndex>(chunk - 1)).end});
  }
  return blocks;
}

}  // namespace concerto
