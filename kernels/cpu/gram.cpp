// Gram matrices Y^T Y of whole tables: per chunk of rows in fp32, then along the tree of base/tree_sum.hpp, so that the
// result depends neither on threads nor on who holds which chunk.
//
// The result is cut into square tiles and the tree into subtrees; a task sums one tile over one subtree, with one
// buffer a level of the tree. Small ranks have one tile and are parallel over subtrees, large ranks have many tiles and
// are parallel over those; in both cases memory beyond the result is a few tiles for each task.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gram.cpp"  // NOLINT: Highway compiles this file once for each instruction set
#include <algorithm>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "dense-inl.h"
#include "gram_tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {

/// Copies columns [first, first + count) of `rows` rows to a contiguous panel.
HWY_INLINE void pack(const float* table, std::size_t width, std::size_t rows, std::size_t first, std::size_t count,
                     float* panel) {
  for (std::size_t k = 0; k < rows; ++k) {
    const float* from = table + k * width + first;
    std::copy(from, from + count, panel + k * count);
  }
}

/// c (tile.rows x tile.columns) = the tile of the Gram of `rows` rows at `table`. `panels` holds 2 * kGramPanelRows *
/// kGramTile floats. On the diagonal only the upper triangle has meaning.
void gram_of_rows(const float* table, std::size_t width, std::size_t rows, const GramTile& tile, float* panels,
                  float* c) {
  std::fill(c, c + tile.rows * tile.columns, 0.0F);
  for (std::size_t k = 0; k < rows; k += kGramPanelRows) {
    const std::size_t depth = std::min(kGramPanelRows, rows - k);
    const float* from = table + k * width;
    if (tile.rows == width) {  // the whole matrix is one tile: its rows are a panel already
      add_outer_products(depth, from, from, width, width, 1.0F, c, width);
      continue;
    }
    float* right = panels + kGramPanelRows * kGramTile;
    pack(from, width, depth, tile.first_column, tile.columns, right);
    if (tile.first_row == tile.first_column) {
      add_outer_products(depth, right, right, tile.columns, tile.columns, 1.0F, c, tile.columns);
      continue;
    }
    pack(from, width, depth, tile.first_row, tile.rows, panels);
    for (std::size_t i = 0; i < tile.rows; i += kTileRows) {
      outer_tile_row<kTileRows>(depth, panels + i, tile.rows, right, tile.columns, tile.columns / kLanes, 1.0F,
                                c + i * tile.columns, tile.columns);
    }
  }
}

/// a += b
void add_floats(float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::size_t count) {
  const Tag d;
  for (std::size_t j = 0; j < count; j += kLanes) hn::Store(hn::Add(hn::Load(d, a + j), hn::Load(d, b + j)), d, a + j);
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <bit>

#include "concerto/base/tree_sum.hpp"
#include "concerto/data/partition.hpp"

#include "cpu_backend.hpp"

namespace concerto::cpu {
namespace {

HWY_EXPORT(gram_of_rows);
HWY_EXPORT(add_floats);

struct ChunkRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
};

/// Sums one tile over chunks of one table along the tree.
class TileSum {
 public:
  TileSum(const FactorTable& table, const GramTile& tile)
      : table_(table), tile_(tile), panels_(2 * kGramPanelRows * kGramTile) {}

  /// out = the sum over `chunks`. Buffers of right halves are kept, one a level.
  void sum(ChunkRange chunks, float* out, std::size_t level = 0) {
    if (chunks.size() == 1) {
      const RowRange rows = chunk_range(table_.rows(), static_cast<RowIndex>(chunks.begin));
      HWY_DYNAMIC_DISPATCH(gram_of_rows)
      (table_.data() + rows.begin * table_.stride(), table_.stride(), rows.size(), tile_, panels_.data(), out);
      return;
    }
    if (buffers_.size() <= level) buffers_.resize(level + 1);
    if (buffers_[level].empty()) buffers_[level].resize(tile_.floats());
    const std::size_t middle = chunks.begin + tree_split(chunks.size());
    sum({chunks.begin, middle}, out, level + 1);
    float* right = buffers_[level].data();
    sum({middle, chunks.end}, right, level + 1);
    HWY_DYNAMIC_DISPATCH(add_floats)(out, buffers_[level].data(), tile_.floats());
  }

 private:
  const FactorTable& table_;
  GramTile tile_;
  AlignedVector<float> panels_;
  std::vector<AlignedVector<float>> buffers_;
};

std::vector<GramTile> cut_tiles(std::size_t width) {
  std::vector<GramTile> tiles;
  for (std::size_t i = 0; i < width; i += kGramTile) {
    for (std::size_t j = i; j < width; j += kGramTile) {
      tiles.push_back({i, std::min(kGramTile, width - i), j, std::min(kGramTile, width - j)});
    }
  }
  return tiles;
}

/// The subtrees of [begin, end) at `depth` below its root, in order.
void cut_subtrees(ChunkRange chunks, unsigned depth, std::vector<ChunkRange>& subtrees) {
  if (depth == 0 || chunks.size() == 1) {
    subtrees.push_back(chunks);
    return;
  }
  const std::size_t middle = chunks.begin + tree_split(chunks.size());
  cut_subtrees({chunks.begin, middle}, depth - 1, subtrees);
  cut_subtrees({middle, chunks.end}, depth - 1, subtrees);
}

/// Adds the partial sums of cut_subtrees' pieces along the same upper part of the tree, into the first piece's.
std::size_t join_subtrees(ChunkRange chunks, unsigned depth, std::vector<AlignedVector<float>>& partials,
                          std::size_t first) {
  if (depth == 0 || chunks.size() == 1) return first + 1;
  const std::size_t middle = chunks.begin + tree_split(chunks.size());
  const std::size_t right = join_subtrees({chunks.begin, middle}, depth - 1, partials, first);
  const std::size_t next = join_subtrees({middle, chunks.end}, depth - 1, partials, right);
  HWY_DYNAMIC_DISPATCH(add_floats)(partials[first].data(), partials[right].data(), partials[first].size());
  return next;
}

/// Copies a tile's upper part into both triangles of the matrix.
void place_tile(const GramTile& tile, const float* sums, GramBuffer& gram) {
  for (std::size_t i = 0; i < tile.rows; ++i) {
    const std::size_t row = tile.first_row + i;
    const std::size_t start = tile.first_row == tile.first_column ? i : 0;
    for (std::size_t j = start; j < tile.columns; ++j) {
      const std::size_t column = tile.first_column + j;
      gram.values[row * gram.stride + column] = sums[i * tile.columns + j];
      gram.values[column * gram.stride + row] = sums[i * tile.columns + j];
    }
  }
}

}  // namespace

std::unique_ptr<Buffer> CpuBackend::gram(const Buffer& table) {
  const FactorTable& factors = buffer_as<TableBuffer>(&table).factors;
  auto gram = std::make_unique<GramBuffer>(factors.rank());
  const ChunkRange chunks{0, chunk_count(factors.rows())};
  if (chunks.size() == 0) return gram;
  const std::vector<GramTile> tiles = cut_tiles(gram->stride);
  const std::size_t tasks_wanted = std::size_t{4} * pool_.size();
  const unsigned depth = pool_.size() == 1 || tiles.size() >= tasks_wanted
                             ? 0
                             : static_cast<unsigned>(std::bit_width(tasks_wanted / tiles.size()));
  std::vector<ChunkRange> subtrees;
  cut_subtrees(chunks, depth, subtrees);

  if (subtrees.size() == 1) {  // a tile is a task, placed as soon as it is summed
    pool_.parallel_for(tiles.size(), 1, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t t = begin; t < end; ++t) {
        AlignedVector<float> sums(tiles[t].floats());
        TileSum(factors, tiles[t]).sum(chunks, sums.data());
        place_tile(tiles[t], sums.data(), *gram);
      }
    });
    return gram;
  }
  std::vector<std::vector<AlignedVector<float>>> partials(tiles.size());
  for (auto& of_tile : partials) of_tile.resize(subtrees.size());
  pool_.parallel_for(tiles.size() * subtrees.size(), 1, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t task = begin; task < end; ++task) {
      const GramTile& tile = tiles[task / subtrees.size()];
      auto& sums = partials[task / subtrees.size()][task % subtrees.size()];
      sums.resize(tile.floats());
      TileSum(factors, tile).sum(subtrees[task % subtrees.size()], sums.data());
    }
  });
  for (std::size_t t = 0; t < tiles.size(); ++t) {
    join_subtrees(chunks, depth, partials[t], 0);
    place_tile(tiles[t], partials[t][0].data(), *gram);
  }
  return gram;
}

double CpuBackend::inner_product(const Buffer& gram_a, const Buffer& gram_b) {
  const auto& a = buffer_as<GramBuffer>(&gram_a);
  const auto& b = buffer_as<GramBuffer>(&gram_b);
  CONCERTO_CHECK(a.rank == b.rank, "inner_product: the Gram matrices differ in rank");
  std::vector<double> sums(a.rank);
  pool_.parallel_for(a.rank, 64, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) {
      double sum = 0.0;
      for (std::size_t j = i * a.stride; j < i * a.stride + a.rank; ++j) {
        sum += static_cast<double>(a.values[j]) * static_cast<double>(b.values[j]);
      }
      sums[i] = sum;
    }
  });
  return tree_sum(sums);
}

}  // namespace concerto::cpu

#endif  // HWY_ONCE
