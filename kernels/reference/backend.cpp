// The reference backend: how it is made, and the small pieces that several operations share.
#include <algorithm>

#include "concerto/compute/backends.hpp"

#include "reference_backend.hpp"

namespace concerto {

std::unique_ptr<Backend> make_reference_backend(const SgdLimits& limits) {
  return std::make_unique<reference::ReferenceBackend>(limits);
}

namespace reference {

std::string ReferenceBackend::description() const {
  return "reference: 1 thread, double precision";
}

double dot(std::span<const float> x, std::span<const float> y) noexcept {
  double sum = 0.0;
  for (std::size_t c = 0; c < x.size(); ++c) sum += double{x[c]} * y[c];
  return sum;
}

EntryIndex counted_entries(const CompressedRows& matrix, RowIndex row, const Objective& objective) noexcept {
  EntryIndex count = 0;
  for (EntryIndex k = matrix.offsets[row]; k < matrix.offsets[row + 1]; ++k) {
    if (objective.counts(matrix.value(k))) ++count;
  }
  return count;
}

std::vector<RowRange> chunk_parts(RowIndex table_rows, RowRange rows) {
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= table_rows, "rows outside the table");
  std::vector<RowRange> parts;
  for (RowIndex begin = rows.begin; begin < rows.end;) {
    const RowRange chunk = chunk_range(table_rows, begin / chunk_rows(table_rows));
    const RowIndex end = std::min(chunk.end, rows.end);
    parts.push_back({begin, end});
    begin = end;
  }
  return parts;
}

}  // namespace reference
}  // namespace concerto
