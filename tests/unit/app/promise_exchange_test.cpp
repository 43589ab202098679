// Promises of ranks that are threads of this process become one report, the same on all.
#include "promise_exchange.hpp"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/comm/communicators.hpp"

namespace concerto {
namespace {

using namespace std::chrono_literals;
using testing::DoubleEq;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

/// Two ranks; of three sampled rows of two values each, rank 1 owns the second.
AsynchronousRun run_of_two() {
  AsynchronousRun run;
  run.sampling.rows = {{0, 0}, {1, 10}, {2, 20}};
  run.record.places.resize(3);
  run.record.places[0].owner = 0;
  run.record.places[1].owner = 1;
  run.record.places[2].owner = 0;
  return run;
}

ConsistencySample sample(std::uint64_t number, double seconds, std::int64_t sent_us, std::int64_t copied_us,
                         std::vector<float> values) {
  return {number, seconds, sent_us, copied_us, std::move(values)};
}

std::vector<PromisesReport> gather(const std::vector<AsynchronousOutcome>& outcomes, const AsynchronousRun& run,
                                   const std::vector<double>& shares) {
  const auto ranks = static_cast<Rank>(outcomes.size());
  InprocGroup group = make_inproc_group(ranks, {});
  std::vector<PromisesReport> reports(ranks);
  std::vector<std::jthread> threads;
  for (Rank r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      RankSteps steps(*group.ranks[r], 1, 10, "testing");
      reports[r] = gather_promises(steps, outcomes[r], run, shares);
    });
  }
  threads.clear();
  return reports;
}

TEST(PromiseExchange, AddsUpWhatRanksHaveMeasured) {
  std::vector<AsynchronousOutcome> outcomes(2);
  outcomes[0].lags = {5, 1};
  outcomes[1].lags = {2, 0, 0, 4};
  outcomes[0].blocked_seconds = 0.5;
  outcomes[1].compute_seconds = 3.0;
  outcomes[0].bytes_sent = {100, 0, 7, 0, 0, 0};
  outcomes[1].bytes_sent = {11, 5, 0, 0, 0, 1};
  outcomes[0].visibility.add(1ms);
  for (int i = 0; i < 3; ++i) outcomes[1].visibility.add(100ms);
  for (const PromisesReport& report : gather(outcomes, run_of_two(), {0.5, 0.5})) {
    EXPECT_THAT(report.lags, ElementsAre(7, 1, 0, 4));
    EXPECT_THAT(report.blocked_seconds, ElementsAre(0.5, 0.0));
    EXPECT_THAT(report.compute_seconds, ElementsAre(0.0, 3.0));
    EXPECT_THAT(report.bytes_by_kind, ElementsAre(Pair("put", 111), Pair("delta", 5), Pair("status", 7),
                                                  Pair("fence", 0), Pair("fetch", 0), Pair("state", 1)));
    EXPECT_EQ(report.visibility_samples, 4U);
    EXPECT_NEAR(*report.visibility_p50_ms, 100.0, 4.5);
    EXPECT_THAT(report.consistency_index, IsEmpty());
    EXPECT_EQ(report.consistency_skew_ms, std::nullopt);
  }
}

TEST(PromiseExchange, ComparesReplicasWithTheOwnersCopies) {
  std::vector<AsynchronousOutcome> outcomes(2);
  // The owners' rows are (2, 0), (0, 2), (1, 4), a norm of 5; rank 0 is off by 1, rank 1 by 4.
  outcomes[0].samples = {sample(1, 1.0, 1000, 1010, {1, 1, 1, 1, 1, 1}), sample(2, 2.0, 2000, 2010, {2, 0, 0, 1, 1, 4}),
                         sample(4, 4.0, 4000, 4500, {0, 0, 0, 0, 0, 0})};
  outcomes[1].samples = {sample(2, 0.0, 0, 2300, {2, 0, 0, 2, 1, 0}), sample(4, 0.0, 0, 4010, {0, 0, 0, 0, 0, 0})};
  for (const PromisesReport& report : gather(outcomes, run_of_two(), {0.75, 0.25})) {
    EXPECT_THAT(report.consistency_index,
                ElementsAre(Pair(2.0, DoubleEq(0.75 * 0.8 + 0.25 * 0.2)), Pair(4.0, DoubleEq(1.0))))
        << "the first is not everywhere";
    EXPECT_EQ(report.consistency_skew_ms, 0.5);
  }
}

TEST(PromiseExchange, SharesOfEntriesAreThoseOfOwnRows) {
  const std::vector<EntryIndex> users{0, 1, 2, 4, 8};  // users' entries: 1, 1, 2, 4
  const std::vector<EntryIndex> items{0, 6, 8};        // items': 6, 2
  BlockPlan plan;
  plan.rows = {{0, 1}, {1, 2}, {0, 3}, {3, 4}};
  plan.blocks.resize(4);
  plan.blocks[2].table = plan.blocks[3].table = Side::kUsers;
  Membership record;
  record.members = {1, 1};
  record.places = {{0, 1}, {1, 0}, {0, 1}, {1, 0}};
  EXPECT_THAT(shares_of_entries({4, users}, {2, items}, plan, record, false), ElementsAre(10.0 / 16, 6.0 / 16));
  EXPECT_THAT(shares_of_entries({4, users}, {2, items}, plan, record, true), ElementsAre(0.5, 0.5)) << "sgd: users'";
}

TEST(PromiseExchange, RowsAreDrawnOfTablesThatAllHold) {
  BlockPlan plan;
  plan.rows = {{0, 2000}, {2000, 3000}, {0, 10}};
  plan.blocks.resize(3);
  plan.blocks[2].table = Side::kUsers;
  const auto rows = sampled_rows(plan, 1);
  ASSERT_EQ(rows.size(), 1024U + 10U);
  for (const SampledRow& row : rows) {
    EXPECT_GE(row.row, plan.rows[row.block].begin);
    EXPECT_LT(row.row, plan.rows[row.block].end);
  }
  plan.blocks[2].is_read_by_all = false;
  EXPECT_EQ(sampled_rows(plan, 1).size(), 1024U);
}

}  // namespace
}  // namespace concerto
