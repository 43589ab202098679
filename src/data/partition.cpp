// Cutting a table into blocks of whole chunks at equal predicted work. Who owns a block is decided elsewhere.
#include "concerto/data/partition.hpp"

#include <algorithm>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

/// Predicted work of every chunk; all ones if the model predicts none at all.
[[nodiscard]] std::vector<double> chunk_work(const RowLengths& lengths, const WorkModel& model) {
  std::vector<double> work(chunk_count(lengths.rows));
  double total = 0.0;
  for (RowIndex chunk = 0; chunk < work.size(); ++chunk) {
    const RowRange range = chunk_range(lengths.rows, chunk);
    const EntryIndex entries = lengths.offsets[range.end] - lengths.offsets[range.begin];
    work[chunk] = model.per_entry * static_cast<double>(entries) + model.per_row * range.size();
    total += work[chunk];
  }
  if (total <= 0.0) std::ranges::fill(work, 1.0);
  return work;
}

}  // namespace

std::vector<RowRange> cut_blocks(const RowLengths& lengths, std::size_t count, const WorkModel& work_model) {
  CONCERTO_CHECK(count > 0, "at least one block");
  const std::vector<double> work = chunk_work(lengths, work_model);
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
        {chunk_range(lengths.rows, begin).begin, chunk_range(lengths.rows, static_cast<RowIndex>(chunk - 1)).end});
  }
  return blocks;
}

std::vector<EntryIndex> kept_offsets(const RowLengths& lengths, std::span<const RowRange> rows) {
  std::vector<EntryIndex> offsets;
  offsets.reserve(std::size_t{lengths.rows} + 1);
  offsets.push_back(0);
  for (const RowRange range : rows) {
    CONCERTO_CHECK(range.begin + std::size_t{1} >= offsets.size(), "ranges of rows out of order");
    offsets.resize(std::size_t{range.begin} + 1, offsets.back());
    const EntryIndex shift = lengths.offsets[range.begin] - offsets.back();
    for (RowIndex r = range.begin; r < range.end; ++r) offsets.push_back(lengths.offsets[r + 1] - shift);
  }
  offsets.resize(std::size_t{lengths.rows} + 1, offsets.back());
  return offsets;
}

CompressedMatrix keep_rows(const CompressedRows& matrix, std::span<const RowRange> rows) {
  CompressedMatrix kept{matrix.rows, matrix.column_count, kept_offsets(matrix, rows), {}, {}};
  kept.columns.reserve(kept.offsets.back());
  if (!matrix.values.empty()) kept.values.reserve(kept.offsets.back());
  for (const RowRange range : rows) {
    const auto from = static_cast<std::ptrdiff_t>(matrix.offsets[range.begin]);
    const auto to = static_cast<std::ptrdiff_t>(matrix.offsets[range.end]);
    kept.columns.insert(kept.columns.end(), matrix.columns.begin() + from, matrix.columns.begin() + to);
    if (!matrix.values.empty()) {
      kept.values.insert(kept.values.end(), matrix.values.begin() + from, matrix.values.begin() + to);
    }
  }
  return kept;
}

}  // namespace concerto
