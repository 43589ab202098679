// How sums over rows or entries are cut, so that a sum is the same bytes each time, on any device and however much of
// it is computed at once.
//
// The leaves of every sum are chunks of rows (data/partition.hpp). A chunk's rows may hold many more entries than
// another's, so its units (entries, or rows) are cut once more into pieces of equal length, the last one shorter: each
// is one warp's work, and a giant row is many pieces. A piece's sum depends on the piece alone; the pieces of a chunk
// are put together in a fixed order, then the chunks along the tree of base/tree_sum.hpp. Nothing here knows a device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto::cuda {

/// What of one chunk lies in the rows asked for: units [begin, end), cut into pieces numbered from first_piece on.
/// Units are entries, or the rows themselves.
struct ChunkPart {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t first_piece = 0;
  RowRange rows;
  friend bool operator==(const ChunkPart&, const ChunkPart&) = default;
};

struct ChunkParts {
  std::vector<ChunkPart> parts;    ///< one a chunk that `rows` meets, in order; also where it has no units
  std::uint64_t pieces = 0;        ///< of all parts
  std::uint64_t piece_length = 1;  ///< units
};

/// The parts of [rows.begin, rows.end) of a table of `table_rows` rows. `offsets` counts the entries before each row;
/// empty: units are rows. O(chunks).
[[nodiscard]] ChunkParts cut_chunks(RowIndex table_rows, RowRange rows, std::span<const EntryIndex> offsets,
                                    std::uint64_t piece_length);

/// Pieces [first_piece, end_piece), whose entries are [begin, end) and lie in `rows`: what is on the device at a time
/// where entries stay on the host.
struct EntryBatch {
  std::uint64_t first_piece = 0;
  std::uint64_t end_piece = 0;
  EntryIndex begin = 0;
  EntryIndex end = 0;
  RowRange rows;
  friend bool operator==(const EntryBatch&, const EntryBatch&) = default;
};

/// All pieces in order, in batches of at most so many entries and rows (but at least a piece each). O(pieces).
[[nodiscard]] std::vector<EntryBatch> cut_batches(const ChunkParts& parts, EntryIndex most_entries, RowIndex most_rows);

}  // namespace concerto::cuda
