// Integer types that every layer shares: rows are 32-bit, counts and offsets 64-bit.
#pragma once

#include <cstdint>
#include <limits>

namespace concerto {

/// A row of a factor table: a user or an item, numbered from 0 in the order in which the engine stores rows.
using RowIndex = std::uint32_t;
/// A position in, or a number of, observed entries.
using EntryIndex = std::uint64_t;

/// "No such row": an id that the model does not know, or an empty place in a list of recommendations.
inline constexpr RowIndex kNoRow = std::numeric_limits<RowIndex>::max();
/// Tables have at most this many rows.
inline constexpr std::uint64_t kMaxRows = kNoRow;

/// A half-open range of rows.
struct RowRange {
  RowIndex begin = 0;
  RowIndex end = 0;
  [[nodiscard]] constexpr RowIndex size() const noexcept { return end - begin; }
  friend constexpr bool operator==(const RowRange&, const RowRange&) = default;
};

/// A process of a run, numbered from 0.
using Rank = std::uint32_t;
/// "No rank."
inline constexpr Rank kNoRank = std::numeric_limits<Rank>::max();
/// Which life of a rank it is: allotted by compare-and-swap in the store, rises with each start of a process.
using Incarnation = std::uint64_t;

/// Which factor table.
enum class Side : std::uint8_t { kUsers = 0, kItems = 1 };

}  // namespace concerto
