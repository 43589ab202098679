// Batches of a subspace step cover its rows in order, within their limits.
#include "subspace_batch.hpp"

#include <gtest/gtest.h>

namespace concerto::cuda {
namespace {

TEST(SubspaceBatches, CoverTheRowsWithinBothLimits) {
  const std::vector<EntryIndex> offsets = {0, 3, 3, 10, 11, 30, 31, 31, 33};
  const auto batches = subspace_batches(offsets, {1, 8}, 4, 8, 12);
  RowIndex next = 1;
  for (const RowRange& rows : batches) {
    EXPECT_EQ(rows.begin, next);
    EXPECT_GT(rows.size(), 0U);
    EXPECT_LE(rows.size(), 3U);  // 12 values, 4 a row
    EXPECT_TRUE(rows.size() == 1 || offsets[rows.end] - offsets[rows.begin] <= 8U);
    next = rows.end;
  }
  EXPECT_EQ(next, 8U);
  const std::vector<RowRange> expected = {{1, 4}, {4, 5}, {5, 8}};
  EXPECT_EQ(batches, expected);
}

TEST(SubspaceBatches, ARowBeyondTheLimitIsABatchOfItsOwn) {
  const std::vector<EntryIndex> offsets = {0, EntryIndex{1} << 33, (EntryIndex{1} << 33) + 1};
  const std::vector<RowRange> expected = {{0, 1}, {1, 2}};
  EXPECT_EQ(subspace_batches(offsets, {0, 2}, 128), expected);
}

TEST(SubspaceBatches, NoRowsMakeNoBatch) {
  const std::vector<EntryIndex> offsets = {0, 1, 2};
  EXPECT_TRUE(subspace_batches(offsets, {1, 1}, 1).empty());
}

TEST(SubspaceBatches, AWidthBeyondTheLimitTakesOneRowAtATime) {
  const std::vector<EntryIndex> offsets = {0, 1, 2, 3};
  EXPECT_EQ(subspace_batches(offsets, {0, 3}, 100, 1000, 10).size(), 3U);
}

}  // namespace
}  // namespace concerto::cuda
