// Plans of steps: which rows are light, medium or giant, how giants are cut, and in which order rows are worked on.
#include "row_plan.hpp"

#include <numeric>

#include <gtest/gtest.h>

namespace concerto::cuda {
namespace {

/// Offsets of rows of these lengths, the first entry at `first`.
std::vector<EntryIndex> offsets_of(const std::vector<EntryIndex>& lengths, EntryIndex first = 0) {
  std::vector<EntryIndex> offsets = {first};
  for (const EntryIndex length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

RowPlan plan_all(const std::vector<EntryIndex>& lengths, const PlanLimits& limits, EntryIndex first = 0) {
  return plan_rows(offsets_of(lengths, first), {}, {0, static_cast<RowIndex>(lengths.size())}, limits);
}

TEST(RowPlan, ClassesAreCutAtTheirLimits) {
  const RowPlan plan = plan_all({0, 3, 4, 8, 9, 0, 1}, {.light_entries = 3, .segment_entries = 8});
  EXPECT_EQ(plan.empty, (std::vector<RowIndex>{0, 5}));
  EXPECT_EQ(plan.light, (std::vector<WorkItem>{{0, 1, 3}, {24, 6, 1}}));
  EXPECT_EQ(plan.medium, (std::vector<WorkItem>{{7, 3, 8}, {3, 2, 4}}));
  EXPECT_EQ(plan.giants, (std::vector<GiantRow>{{4, 0, 2}}));
  EXPECT_EQ(plan.segments, (std::vector<WorkItem>{{15, 4, 4}, {19, 4, 5}}));
}

TEST(RowPlan, WithoutALightLimitNoRowIsLight) {
  const RowPlan plan = plan_all({1, 2, 3}, {.light_entries = 0, .segment_entries = 8});
  EXPECT_TRUE(plan.light.empty());
  EXPECT_EQ(plan.medium.size(), 3U);
}

TEST(RowPlan, LongestComeFirstAndEqualOnesInOrderOfRows) {
  const RowPlan plan = plan_all({5, 7, 5, 6, 7, 2, 1, 2}, {.light_entries = 3, .segment_entries = 100});
  const auto rows = [](const std::vector<WorkItem>& items) {
    std::vector<RowIndex> result;
    for (const WorkItem& item : items) result.push_back(item.row);
    return result;
  };
  EXPECT_EQ(rows(plan.medium), (std::vector<RowIndex>{1, 4, 3, 0, 2}));
  EXPECT_EQ(rows(plan.light), (std::vector<RowIndex>{5, 7, 6}));
}

TEST(RowPlan, SegmentsCoverEachGiantOnceInOrderAndAreNearlyEqual) {
  const PlanLimits limits{.light_entries = 3, .segment_entries = 64};
  const std::vector<EntryIndex> lengths = {65, 10, 128, 129, 6401, 64, 0, 1000};
  const auto offsets = offsets_of(lengths);
  const RowPlan plan = plan_all(lengths, limits);
  ASSERT_EQ(plan.giants.size(), 5U);
  std::uint32_t next_segment = 0;
  for (const GiantRow& giant : plan.giants) {
    EXPECT_EQ(giant.first_segment, next_segment);
    EXPECT_EQ(giant.segments, (lengths[giant.row] + 63) / 64);
    next_segment += giant.segments;
    EntryIndex next = offsets[giant.row];
    for (std::uint32_t s = giant.first_segment; s < next_segment; ++s) {
      const WorkItem& segment = plan.segments[s];
      EXPECT_EQ(segment.row, giant.row);
      EXPECT_EQ(segment.begin, next);
      EXPECT_LE(segment.length, 64U);
      const EntryIndex share = lengths[giant.row] / giant.segments;
      EXPECT_TRUE(segment.length == share || segment.length == share + 1) << segment.length;
      next += segment.length;
    }
    EXPECT_EQ(next, offsets[giant.row + 1]);
  }
  EXPECT_EQ(next_segment, plan.segments.size());
}

TEST(RowPlan, TheLongestRowsHaveLongerSegmentsInsteadOfMore) {
  const EntryIndex length = EntryIndex{kMostSegments} * 80 + 1;
  const RowPlan plan = plan_all({length}, {.light_entries = 3, .segment_entries = 8});
  ASSERT_EQ(plan.giants, (std::vector<GiantRow>{{0, 0, kMostSegments}}));
  EntryIndex next = 0;
  for (const WorkItem& segment : plan.segments) {
    EXPECT_EQ(segment.begin, next);
    EXPECT_TRUE(segment.length == 80 || segment.length == 81) << segment.length;
    next += segment.length;
  }
  EXPECT_EQ(next, length);
}

TEST(RowPlan, GiantsAreBatchedInOrderUpToTheirNumberOfSegments) {
  const std::vector<GiantRow> giants = {{3, 0, 2}, {5, 2, 3}, {8, 5, 4}, {9, 9, 7}, {10, 16, 2}, {11, 18, 3}};
  EXPECT_EQ(batch_giants(giants, 5),
            (std::vector<GiantBatch>{{0, 2, 0, 5}, {2, 1, 5, 4}, {3, 1, 9, 7}, {4, 2, 16, 5}}));
  EXPECT_EQ(batch_giants(giants, 100), (std::vector<GiantBatch>{{0, 6, 0, 21}}));
  EXPECT_TRUE(batch_giants({}, 5).empty());
}

TEST(RowPlan, OffsetsAndLengthsBeyond32BitsAreKept) {
  constexpr EntryIndex kFirst = (EntryIndex{1} << 40) + 5;
  constexpr EntryIndex kGiant = (EntryIndex{1} << 33) + 1;
  const RowPlan plan = plan_all({2, kGiant, 7}, {.light_entries = 3, .segment_entries = 1U << 31}, kFirst);
  EXPECT_EQ(plan.light, (std::vector<WorkItem>{{kFirst, 0, 2}}));
  EXPECT_EQ(plan.medium, (std::vector<WorkItem>{{kFirst + 2 + kGiant, 2, 7}}));
  EXPECT_EQ(plan.giants, (std::vector<GiantRow>{{1, 0, 5}}));
  EntryIndex next = kFirst + 2;
  for (const WorkItem& segment : plan.segments) {
    EXPECT_EQ(segment.begin, next);
    next += segment.length;
  }
  EXPECT_EQ(next, kFirst + 2 + kGiant);
}

TEST(RowPlan, ARangePlansItsRowsAlone) {
  const auto offsets = offsets_of({1, 0, 20, 5, 0, 9});
  const PlanLimits limits{.light_entries = 4, .segment_entries = 8};
  const RowPlan plan = plan_rows(offsets, {}, {1, 4}, limits);
  EXPECT_EQ(plan.empty, (std::vector<RowIndex>{1}));
  EXPECT_TRUE(plan.light.empty());
  EXPECT_EQ(plan.medium, (std::vector<WorkItem>{{21, 3, 5}}));
  EXPECT_EQ(plan.giants, (std::vector<GiantRow>{{2, 0, 3}}));
  const RowPlan nothing = plan_rows(offsets, {}, {3, 3}, limits);
  EXPECT_TRUE(nothing.empty.empty() && nothing.light.empty() && nothing.medium.empty() && nothing.giants.empty());
}

TEST(RowPlan, RowsWithoutACountedEntryAreEmpty) {
  const auto offsets = offsets_of({3, 3, 20, 0, 20});
  const std::vector<EntryIndex> counted = {0, 1, 0, 0, 2};
  const RowPlan plan = plan_rows(offsets, counted, {0, 5}, {.light_entries = 4, .segment_entries = 8});
  EXPECT_EQ(plan.empty, (std::vector<RowIndex>{0, 2, 3}));
  EXPECT_EQ(plan.light, (std::vector<WorkItem>{{3, 1, 3}}));  // with the entries that do not count
  EXPECT_EQ(plan.giants, (std::vector<GiantRow>{{4, 0, 3}}));
}

}  // namespace
}  // namespace concerto::cuda
