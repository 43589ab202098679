// How the rows of an ALS step of a large rank are cut into pieces and put into batches, decided on the host.
//
// A row's vectors and sums lie in device memory at these ranks, so that as many rows are worked on at a time as scratch
// memory allows: a batch. A row's entries are cut into pieces, each one thread block's work; pieces of a row are added
// in their order, so that the result does not depend on which block ended first. Nothing here knows a device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto::cuda {

inline constexpr std::uint32_t kPieceEntries = 512;  ///< a piece has at most this many, unless its row has too many
inline constexpr std::uint32_t kMostPieces = 512;    ///< of a row
/// Rows of more pieces have them added by several blocks before the row's own block reads the sum.
inline constexpr std::uint32_t kDirectPieces = 8;

struct LargePiece {
  EntryIndex begin = 0;
  std::uint32_t length = 0;
  std::uint32_t slot = 0;  ///< of its row in the batch
  friend bool operator==(const LargePiece&, const LargePiece&) = default;
};

struct LargeRow {
  RowIndex row = 0;
  std::uint32_t first_piece = 0;  ///< in the batch
  std::uint32_t pieces = 0;
  friend bool operator==(const LargeRow&, const LargeRow&) = default;
};

/// Runs of the plan's lists.
struct LargeBatch {
  std::size_t first_row = 0;
  std::size_t first_piece = 0;
  std::size_t first_long = 0;
  std::uint32_t rows = 0;
  std::uint32_t pieces = 0;
  std::uint32_t longs = 0;
};

/// What a batch may hold; a row alone in its batch may have more pieces.
struct LargeLimits {
  std::uint32_t rows = 1;
  std::uint32_t pieces = 1;
};

struct LargePlan {
  std::vector<RowIndex> empty;  ///< rows without counted entries
  std::vector<LargeRow> rows;
  std::vector<LargePiece> pieces;
  std::vector<std::uint32_t> longs;  ///< slots of rows of more than kDirectPieces pieces
  std::vector<LargeBatch> batches;
  std::uint32_t most_rows = 0;  ///< of a batch
  std::uint32_t most_pieces = 0;
};

/// The plan of [rows.begin, rows.end). `counted` as in plan_rows (row_plan.hpp). O(rows + pieces).
[[nodiscard]] LargePlan plan_large_rows(std::span<const EntryIndex> offsets, std::span<const EntryIndex> counted,
                                        RowRange rows, const LargeLimits& limits);

}  // namespace concerto::cuda
