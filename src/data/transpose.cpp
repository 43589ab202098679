// The other orientation of a matrix, by a counting sort whose workers own ranges of columns.
#include <algorithm>

#include "concerto/data/dataset.hpp"

#include "grouping.hpp"

namespace concerto {
namespace {

/// Cuts columns into ranges of about equal numbers of entries; the count of ranges changes speed only, not the result.
[[nodiscard]] std::vector<RowIndex> cut_columns(std::span<const EntryIndex> offsets, std::size_t ranges) {
  const auto columns = static_cast<RowIndex>(offsets.size() - 1);
  std::vector<RowIndex> bounds{0};
  for (std::size_t k = 1; k < ranges; ++k) {
    const EntryIndex wanted = offsets[columns] / ranges * k;
    const auto place = std::ranges::lower_bound(offsets, wanted) - offsets.begin();
    bounds.push_back(std::max(bounds.back(), std::min(columns, static_cast<RowIndex>(place))));
  }
  bounds.push_back(columns);
  return bounds;
}

}  // namespace

CompressedMatrix transpose(const CompressedRows& matrix, ThreadPool& pool) {
  CompressedMatrix result;
  result.rows = matrix.column_count;
  result.column_count = matrix.rows;
  const std::size_t parts = counting_parts(matrix.columns.size(), result.rows, pool);
  result.offsets = offsets_of(count_keys(matrix.columns, result.rows, parts, pool), result.rows);
  result.columns.resize(matrix.columns.size());
  result.values.resize(matrix.values.size());
  // A worker visits, in every row, the entries of its own range of columns, found by search as columns ascend. Rows are
  // visited in order, so that columns of the result ascend too.
  const std::size_t ranges = pool.size() == 1 ? 1 : std::size_t{2} * pool.size();
  const std::vector<RowIndex> bounds = cut_columns(result.offsets, ranges);
  pool.parallel_for(ranges, 1, [&](std::size_t range, std::size_t, unsigned) {
    const RowIndex first = bounds[range];
    const RowIndex last = bounds[range + 1];
    if (first == last) return;
    std::vector<EntryIndex> cursor(result.offsets.begin() + first, result.offsets.begin() + last);
    for (RowIndex row = 0; row < matrix.rows; ++row) {
      const auto end = matrix.columns.begin() + static_cast<std::ptrdiff_t>(matrix.offsets[row + 1]);
      auto at = matrix.columns.begin() + static_cast<std::ptrdiff_t>(matrix.offsets[row]);
      if (first != 0) at = std::lower_bound(at, end, first);
      for (; at != end && *at < last; ++at) {
        const EntryIndex place = cursor[*at - first]++;
        result.columns[place] = row;
        if (!matrix.values.empty()) {
          result.values[place] = matrix.values[static_cast<std::size_t>(at - matrix.columns.begin())];
        }
      }
    }
  });
  return result;
}

}  // namespace concerto
