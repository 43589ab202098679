// Cutting the rows of a subspace step.
#include "subspace_batch.hpp"

#include <algorithm>

namespace concerto::cuda {

std::vector<RowRange> subspace_batches(std::span<const EntryIndex> offsets, RowRange rows, std::uint32_t width,
                                       EntryIndex most_entries, std::uint64_t most_values) {
  std::vector<RowRange> batches;
  const std::uint64_t most_rows = std::max<std::uint64_t>(1, most_values / width);
  for (RowIndex begin = rows.begin; begin < rows.end;) {
    const auto last =
        offsets.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(rows.end, begin + most_rows));
    const auto beyond = std::upper_bound(offsets.begin() + begin + 1, last + 1, offsets[begin] + most_entries);
    const auto end = std::max<RowIndex>(begin + 1, static_cast<RowIndex>(beyond - offsets.begin()) - 1);
    batches.push_back({begin, end});
    begin = end;
  }
  return batches;
}

}  // namespace concerto::cuda
