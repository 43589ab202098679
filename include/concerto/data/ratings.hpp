// Observed entries of the matrix: as triples while they are read, as compressed rows once they are used.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto {

/// A non-owning view of one orientation: row r's entries are [offsets[r], offsets[r + 1]) of `columns` and `values`,
/// columns ascending within a row. Host memory. `values` is empty when every entry counts as 1.
struct CompressedRows {
  RowIndex rows = 0;
  RowIndex column_count = 0;
  std::span<const EntryIndex> offsets;  ///< rows + 1 of them
  std::span<const RowIndex> columns;
  std::span<const float> values;

  [[nodiscard]] EntryIndex entries() const noexcept { return columns.size(); }
  [[nodiscard]] EntryIndex count(RowIndex row) const noexcept { return offsets[row + 1] - offsets[row]; }
  [[nodiscard]] std::span<const RowIndex> row_columns(RowIndex row) const noexcept {
    return columns.subspan(offsets[row], count(row));
  }
  [[nodiscard]] std::span<const float> row_values(RowIndex row) const noexcept {
    return values.empty() ? values : values.subspan(offsets[row], count(row));
  }
  /// The value of entry `index` (a position in `columns`).
  [[nodiscard]] float value(EntryIndex index) const noexcept { return values.empty() ? 1.0F : values[index]; }
};

/// How many entries each row of one orientation has, without the entries: what cutting, placing and counting look at.
struct RowLengths {
  RowIndex rows = 0;
  std::span<const EntryIndex> offsets;  ///< rows + 1 of them

  RowLengths() = default;
  RowLengths(RowIndex row_count, std::span<const EntryIndex> row_offsets) : rows(row_count), offsets(row_offsets) {}
  RowLengths(const CompressedRows& matrix)  // NOLINT: implicit by design
      : rows(matrix.rows), offsets(matrix.offsets) {}
  [[nodiscard]] EntryIndex entries() const noexcept { return offsets.empty() ? 0 : offsets.back(); }
  [[nodiscard]] EntryIndex count(RowIndex row) const noexcept { return offsets[row + 1] - offsets[row]; }
};

/// The owner of one orientation in host memory.
struct CompressedMatrix {
  RowIndex rows = 0;
  RowIndex column_count = 0;
  std::vector<EntryIndex> offsets;
  std::vector<RowIndex> columns;
  std::vector<float> values;
  [[nodiscard]] CompressedRows view() const noexcept { return {rows, column_count, offsets, columns, values}; }
};

/// Entries as parallel arrays, in the order in which they were read. `values` is empty when the input has no value
/// column; `times` is empty unless it was asked for.
struct Triples {
  std::vector<RowIndex> users;
  std::vector<RowIndex> items;
  std::vector<float> values;
  std::vector<std::int64_t> times;
  [[nodiscard]] EntryIndex size() const noexcept { return users.size(); }
};

}  // namespace concerto
