// What follows from the runs of a sweep, on curves and facts that are written by hand.
#include <gmock/gmock.h>

#include "bench/outcome.hpp"

namespace concerto::bench {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

const Curve kFalling = {{1.0, 2.0}, {2.0, 1.0}, {3.0, 1.2}, {4.0, 0.9}, {5.0, 0.8}};

TEST(TimeToTarget, IsTheFirstMomentFromWhichTheCurveStays) {
  EXPECT_THAT(time_to_target(kFalling, 1.0, true), Optional(4.0)) << "at 2 s it was there, and left again";
  EXPECT_THAT(time_to_target(kFalling, 1.2, true), Optional(2.0));
  EXPECT_THAT(time_to_target(kFalling, 0.8, true), Optional(5.0));
  EXPECT_THAT(time_to_target(kFalling, 5.0, true), Optional(1.0));
  EXPECT_FALSE(time_to_target(kFalling, 0.7, true));
  EXPECT_FALSE(time_to_target({}, 0.7, true));
  EXPECT_THAT(time_to_target({{1.0, 0.1}, {2.0, 0.3}}, 0.2, false), Optional(2.0)) << "larger is better";
}

TEST(TargetOf, IsWithinTheShareOnTheWorseSide) {
  EXPECT_DOUBLE_EQ(target_of(0.8, 0.01, true), 0.808);
  EXPECT_DOUBLE_EQ(target_of(0.3, 0.01, false), 0.297);
}

TEST(Grid, TakesTimesThatThereAre) {
  EXPECT_THAT(grid({0.0, 1.0, 2.0, 3.0, 4.0}, 2), ElementsAre(2.0, 4.0));
  EXPECT_THAT(grid({0.0, 0.1, 0.2, 4.0}, 4), ElementsAre(0.2, 4.0)) << "where nothing changes one moment is enough";
  EXPECT_THAT(grid({3.0}, 4), ElementsAre(3.0));
  EXPECT_THAT(grid({3.0, 3.0}, 4), ElementsAre(3.0));
  EXPECT_THAT(grid({}, 4), IsEmpty());
}

TEST(FinerGrid, LiesBetweenThePointsAroundTheTarget) {
  const std::vector<double> times = {0.5, 1.0, 1.1, 1.2, 1.3, 2.0, 3.0, 4.0, 5.0};
  const Curve curve = {{1.0, 2.0}, {2.0, 1.0}, {5.0, 0.5}};
  EXPECT_THAT(finer_grid(curve, times, 1.0, true, 10), ElementsAre(1.1, 1.2, 1.3));
  EXPECT_THAT(finer_grid(curve, times, 0.6, true, 10), ElementsAre(3.0, 4.0));
  EXPECT_THAT(finer_grid(curve, times, 1.0, true, 1), ElementsAre(1.3));
  EXPECT_THAT(finer_grid(curve, times, 3.0, true, 10), ElementsAre(0.5)) << "reached from the first point on";
  EXPECT_THAT(finer_grid(curve, times, 0.1, true, 10), IsEmpty());
}

TEST(Merged, IsByTime) {
  EXPECT_THAT(merged({{1.0, 5.0}, {3.0, 3.0}}, {{2.0, 4.0}}),
              ElementsAre(CurvePoint{1.0, 5.0}, CurvePoint{2.0, 4.0}, CurvePoint{3.0, 3.0}));
}

TEST(SpreadOf, HasMedianLeastAndMost) {
  EXPECT_FALSE(spread_of({}));
  EXPECT_DOUBLE_EQ(spread_of({3.0, 1.0, 2.0})->median, 2.0);
  const Spread even = *spread_of({4.0, 1.0, 2.0, 3.0});
  EXPECT_DOUBLE_EQ(even.median, 2.5);
  EXPECT_DOUBLE_EQ(even.low, 1.0);
  EXPECT_DOUBLE_EQ(even.high, 4.0);
}

TEST(PacingProblem, NamesTheRankThatWasLate) {
  EXPECT_EQ(pacing_problem({0.01, 0.02, 0.071}), "pacing error 7.1 % of rank 2");
  EXPECT_EQ(pacing_problem({0.05, 0.0}), "");
  EXPECT_EQ(pacing_problem({}), "");
}

SweepCase two_levels() {
  SweepCase of;
  of.name = "case";
  of.levels = {{"eventual", {}}, {"strong", {}}};
  return of;
}

CaseRecord record_of(const SweepCase& of) {
  CaseRecord record;
  record.of = of;
  for (const SweepLevel& level : of.levels) record.levels.push_back({level, level.name, {}, {}, {}});
  return record;
}

/// A run that falls to its final metric at a time.
RunRecord run(std::uint32_t repeat, double at, double final_metric) {
  RunRecord record;
  record.repeat = repeat;
  record.facts.final_metric = final_metric;
  record.facts.seconds = at + 1.0;
  record.curve = {{0.0, 9.0}, {at, final_metric}, {at + 1.0, final_metric}};
  return record;
}

RunRecord void_run(std::uint32_t repeat) {
  RunRecord record = run(repeat, 1.0, 1.0);
  record.ended = Ended::kVoid;
  record.why = "pacing error 7.1 % of rank 2";
  return record;
}

TEST(Plan, InterleavesRepeatsAndBeginsWithTheBaseline) {
  EXPECT_THAT(plan(two_levels(), 2),
              ElementsAre(PlannedRun{1, 0}, PlannedRun{0, 0}, PlannedRun{1, 1}, PlannedRun{0, 1}));
}

TEST(VoidRuns, AreThoseThatNothingElseStandsFor) {
  CaseRecord record = record_of(two_levels());
  record.levels[0].runs = {void_run(0), run(1, 1.0, 1.0), void_run(1)};
  record.levels[1].runs = {void_run(2)};
  EXPECT_THAT(void_runs(record), ElementsAre(PlannedRun{1, 2}, PlannedRun{0, 0}));
}

TEST(Conclude, HoldsEachRunAgainstTheBaselineOfItsRepeat) {
  CaseRecord record = record_of(two_levels());
  record.of.limits = {{"eventual", 0.6, 0.4}};
  record.levels[1].runs = {run(0, 10.0, 1.0), run(1, 20.0, 1.0), run(2, 30.0, 1.0)};
  record.levels[0].runs = {run(0, 5.0, 1.0005), run(1, 11.0, 1.0), run(2, 24.0, 0.9)};
  conclude(record, 0.001);
  EXPECT_THAT(record.levels[0].runs[0].time_to_target, Optional(5.0));
  EXPECT_THAT(record.levels[0].runs[0].ratio, Optional(0.5));
  EXPECT_THAT(record.levels[0].runs[1].ratio, Optional(0.55));
  EXPECT_THAT(record.levels[1].runs[1].ratio, Optional(1.0));
  const LevelSummary& summary = record.levels[0].summary;
  EXPECT_EQ(summary.done, 3U);
  ASSERT_TRUE(summary.ratio);
  EXPECT_DOUBLE_EQ(summary.ratio->median, 0.55);
  EXPECT_DOUBLE_EQ(summary.ratio->low, 0.5);
  EXPECT_DOUBLE_EQ(summary.ratio->high, 0.8);
  EXPECT_DOUBLE_EQ(summary.time_to_target->median, 11.0);
  EXPECT_THAT(summary.within_limit, Optional(true));
  EXPECT_THAT(summary.quality_difference, Optional(0.0));
  EXPECT_FALSE(summary.bytes);
  EXPECT_FALSE(record.levels[1].summary.within_limit) << "no limit is set for it";
}

TEST(Conclude, ATargetThatIsNotReachedIsBeyondAnyLimit) {
  CaseRecord record = record_of(two_levels());
  record.of.limits = {{"eventual", 0.6, {}}};
  record.levels[1].runs = {run(0, 10.0, 1.0), run(1, 10.0, 1.0)};
  record.levels[0].runs = {run(0, 1.0, 1.0), run(1, 1.0, 1.1)};
  conclude(record, 0.001);
  EXPECT_FALSE(record.levels[0].runs[1].time_to_target);
  EXPECT_FALSE(record.levels[0].runs[1].ratio);
  EXPECT_DOUBLE_EQ(record.levels[0].summary.ratio->median, 0.1);
  EXPECT_THAT(record.levels[0].summary.within_limit, Optional(false));
  EXPECT_THAT(record.levels[0].summary.quality_difference, Optional(DoubleNear(0.05, 1e-12)));
}

TEST(Conclude, VoidAndFailedRunsCountForNothing) {
  CaseRecord record = record_of(two_levels());
  record.of.limits = {{"eventual", 0.6, {}}};
  RunRecord failed;
  failed.repeat = 1;
  failed.ended = Ended::kFailed;
  failed.why = "rank 1 is dead";
  record.levels[1].runs = {void_run(0), run(1, 4.0, 1.0)};
  record.levels[0].runs = {run(0, 2.0, 1.0), failed};
  conclude(record, 0.001);
  EXPECT_FALSE(record.levels[0].runs[0].ratio) << "the baseline of its repeat is void";
  EXPECT_EQ(record.levels[1].summary.voids, 1U);
  EXPECT_EQ(record.levels[1].summary.done, 1U);
  EXPECT_EQ(record.levels[0].summary.failed, 1U);
  EXPECT_FALSE(record.levels[0].summary.ratio);
  EXPECT_FALSE(record.levels[0].summary.within_limit);
  // Made once more at the end of the case, the baseline is there.
  record.levels[1].runs.push_back(run(0, 4.0, 1.0));
  conclude(record, 0.001);
  EXPECT_THAT(record.levels[0].runs[0].ratio, Optional(0.5));
  EXPECT_THAT(record.levels[0].summary.within_limit, Optional(true));
}

TEST(Conclude, ALargerMetricMayBeTheBetter) {
  CaseRecord record = record_of(two_levels());
  record.smaller_is_better = false;
  record.levels[1].runs = {run(0, 10.0, 0.2)};
  record.levels[0].runs = {run(0, 5.0, 0.1)};
  for (LevelRecord& level : record.levels) level.runs[0].curve[0].metric = 0.0;
  conclude(record, 0.001);
  EXPECT_FALSE(record.levels[0].runs[0].time_to_target);
  EXPECT_THAT(record.levels[0].summary.quality_difference, Optional(0.5));
}

TEST(Conclude, AddsBytesUpAndHoldsThemAgainstTheRate) {
  CaseRecord record = record_of(two_levels());
  record.of.network = SweepNetwork{20.0, 0.0, 8.0};
  for (std::uint32_t repeat = 0; repeat < 3; ++repeat) {
    RunRecord one = run(repeat, 10.0, 1.0);
    one.facts.bytes_by_kind = {{"put", 100 + repeat}, {"status", 1}};
    one.facts.bytes_sent_by_first = 4'000'000;
    one.facts.compute_seconds_of_first = 2.0;
    record.levels[1].runs.push_back(one);
  }
  conclude(record, 0.001);
  EXPECT_THAT(record.levels[1].summary.bytes, Optional(102.0));
  EXPECT_THAT(record.compute_to_bytes, Optional(0.5)) << "2 s of computing to 4 s of sending";
  record.of.network.reset();
  conclude(record, 0.001);
  EXPECT_FALSE(record.compute_to_bytes);
}

}  // namespace
}  // namespace concerto::bench
