// How rows are cut: chunks of fixed size for storage and sums, blocks of chunks for work and ownership.
#pragma once

#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto {

/// Rows in a chunk: 1,024, or 64 in tables under 16,384 rows; the same for any number of ranks and threads.
[[nodiscard]] constexpr RowIndex chunk_rows(RowIndex rows) noexcept {
  return rows < 16384 ? 64 : 1024;
}
[[nodiscard]] constexpr RowIndex chunk_count(RowIndex rows) noexcept {
  return rows / chunk_rows(rows) + (rows % chunk_rows(rows) != 0 ? 1 : 0);
}
/// The rows of a chunk; the last one may be short.
[[nodiscard]] constexpr RowRange chunk_range(RowIndex rows, RowIndex chunk) noexcept {
  const RowIndex size = chunk_rows(rows);
  const RowIndex begin = chunk * size;
  return {begin, rows - begin < size ? rows : begin + size};
}

/// Predicted work of a row with n entries: per_entry * n + per_row.
struct WorkModel {
  double per_entry = 1.0;
  double per_row = 1.0;
};

/// At most `count` ranges of whole chunks that cover all rows in order, cut at equal predicted work. Never empty ones.
[[nodiscard]] std::vector<RowRange> cut_blocks(const RowLengths& lengths, std::size_t count, const WorkModel& work);

/// The matrix with the entries of these rows (in order, apart) alone; the other rows are empty. Copies 4 or 8 bytes an
/// entry kept and reads no other.
[[nodiscard]] CompressedMatrix keep_rows(const CompressedRows& matrix, std::span<const RowRange> rows);
/// The offsets of that matrix.
[[nodiscard]] std::vector<EntryIndex> kept_offsets(const RowLengths& lengths, std::span<const RowRange> rows);

}  // namespace concerto
