// Chunks and blocks: they cover all rows in order, are whole chunks, never empty, and even in work.
#include "concerto/data/partition.hpp"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace concerto {
namespace {

/// A matrix whose row r has counts[r] entries (all in column 0: only the counts matter here).
CompressedMatrix with_counts(const std::vector<EntryIndex>& counts) {
  CompressedMatrix matrix;
  matrix.rows = static_cast<RowIndex>(counts.size());
  matrix.column_count = 1;
  matrix.offsets.push_back(0);
  for (const EntryIndex count : counts) matrix.offsets.push_back(matrix.offsets.back() + count);
  matrix.columns.assign(matrix.offsets.back(), 0);
  return matrix;
}

TEST(Chunks, SizeDependsOnTheTableOnly) {
  EXPECT_EQ(chunk_rows(16383), 64U);
  EXPECT_EQ(chunk_rows(16384), 1024U);
  EXPECT_EQ(chunk_count(0), 0U);
  EXPECT_EQ(chunk_count(65), 2U);
  EXPECT_EQ(chunk_range(65, 1), (RowRange{64, 65}));
  EXPECT_EQ(chunk_range(4294967295U, chunk_count(4294967295U) - 1), (RowRange{4294966272U, 4294967295U}));
}

TEST(CutBlocks, CoverAllRowsInWholeChunksAndAreNeverEmpty) {
  for (const std::size_t rows : {0, 1, 63, 64, 65, 997, 16384, 20011}) {
    std::vector<EntryIndex> counts(rows);
    for (std::size_t r = 0; r < rows; ++r) counts[r] = (r * 7919) % 23;
    const CompressedMatrix matrix = with_counts(counts);
    for (const std::size_t count : {1, 2, 3, 16, 1000}) {
      const std::vector<RowRange> blocks = cut_blocks(matrix.view(), count, {1.0, 4.0});
      EXPECT_LE(blocks.size(), count);
      RowIndex next = 0;
      for (const RowRange& block : blocks) {
        EXPECT_EQ(block.begin, next);
        EXPECT_GT(block.size(), 0U);
        EXPECT_EQ(block.begin % chunk_rows(matrix.rows), 0U);
        next = block.end;
      }
      EXPECT_EQ(next, rows);
    }
  }
}

TEST(CutBlocks, WorkIsEvenUpToAChunk) {
  std::vector<EntryIndex> counts(64 * 40);
  for (std::size_t r = 0; r < counts.size(); ++r) counts[r] = r % 50;
  const CompressedMatrix matrix = with_counts(counts);
  const std::vector<RowRange> blocks = cut_blocks(matrix.view(), 8, {1.0, 0.0});
  ASSERT_EQ(blocks.size(), 8U);
  const double mean = static_cast<double>(matrix.columns.size()) / 8;
  const double largest_chunk = 64 * 49;
  for (const RowRange& block : blocks) {
    const double work = static_cast<double>(matrix.offsets[block.end] - matrix.offsets[block.begin]);
    EXPECT_NEAR(work, mean, largest_chunk);
  }
}

TEST(CutBlocks, AGiantRowDoesNotStarveTheRest) {
  std::vector<EntryIndex> counts(64 * 10, 1);
  counts[0] = 1000000;
  const CompressedMatrix matrix = with_counts(counts);
  const std::vector<RowRange> blocks = cut_blocks(matrix.view(), 4, {1.0, 0.0});
  ASSERT_EQ(blocks.size(), 4U);
  EXPECT_EQ(blocks[0], (RowRange{0, 64}));
  for (std::size_t b = 1; b < 4; ++b) EXPECT_EQ(blocks[b].size(), 64U * 3);
}

TEST(CutBlocks, WithoutEntriesRowsAreSpreadEvenly) {
  const CompressedMatrix matrix = with_counts(std::vector<EntryIndex>(64 * 6, 0));
  const std::vector<RowRange> blocks = cut_blocks(matrix.view(), 3, {1.0, 0.0});
  ASSERT_EQ(blocks.size(), 3U);
  for (const RowRange& block : blocks) EXPECT_EQ(block.size(), 128U);
}

}  // namespace
}  // namespace concerto
