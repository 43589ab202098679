// In how many pieces both orientations of the ratings are built, decided on the host from the memory that is left.
//
// A piece is a range of rows whose entries are sorted at once. One piece needs the fewest passes; more need less memory
// beyond the result: what a sort holds is 2 x 12 bytes an entry of the piece (key and value, and a second copy), 2 x 8
// without values. Nothing here knows a device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto::cuda {

struct OrientationShape {
  RowIndex users = 0;
  RowIndex items = 0;
  EntryIndex entries = 0;
  bool values = true;
};

struct OrientationPlan {
  EntryIndex by_user_piece = 0;  ///< entries sorted at once; all of them, or more: one piece
  EntryIndex by_item_piece = 0;
  EntryIndex slice = 0;  ///< triples uploaded at a time
  friend bool operator==(const OrientationPlan&, const OrientationPlan&) = default;
};

/// Bytes of both orientations on the device.
[[nodiscard]] std::uint64_t orientation_bytes(const OrientationShape& shape) noexcept;
/// The most that is held at a time while they are built by this plan, the result included, where no row has more
/// entries than a piece.
[[nodiscard]] std::uint64_t peak_bytes(const OrientationShape& shape, const OrientationPlan& plan) noexcept;
/// The plan with the fewest pieces whose peak stays within `available` bytes and, unless that is little, within 2.4
/// times the result. Error{kOutOfMemory} saying how much is missing, where even many pieces do not fit. O(1).
[[nodiscard]] OrientationPlan plan_orientations(const OrientationShape& shape, std::uint64_t available);

/// All rows in order, in ranges of at most `most` entries each; a row with more is a range by itself. `counts`: entries
/// a row. O(rows).
[[nodiscard]] std::vector<RowRange> cut_rows(std::span<const unsigned long long> counts, EntryIndex most);

/// Error{kBadInput} unless all entries were `found` in some row and column; those that were not name a user or an item
/// that does not exist.
void check_found(const OrientationShape& shape, EntryIndex found);

}  // namespace concerto::cuda
