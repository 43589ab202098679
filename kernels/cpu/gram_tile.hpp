// A square part of a Gram matrix, as gram.cpp cuts it. Private to kernels/cpu.
#pragma once

#include <cstddef>

namespace concerto::cpu {

/// Edge of a tile; ranks up to this have one. Its sums (256 KB) stay in an L2 cache.
inline constexpr std::size_t kGramTile = 256;
/// Rows of the table that are summed in registers before they are added to a tile.
inline constexpr std::size_t kGramPanelRows = 128;

/// Rows [first_row, first_row + rows) and columns [first_column, first_column + columns), on or above the diagonal.
struct GramTile {
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::size_t first_column = 0;
  std::size_t columns = 0;
  [[nodiscard]] std::size_t floats() const noexcept { return rows * columns; }
};

}  // namespace concerto::cpu
