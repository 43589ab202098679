// Predicted epochs: by hand where a hand can follow, and between the bounds that no schedule can leave.
#include "concerto/train/epoch_cost.hpp"

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

/// A table of one-chunk blocks of work 1 and 64 rows each, dealt to ranks and rounds in turn.
TableShards even_table(std::uint32_t blocks, Rank ranks, std::uint32_t rounds) {
  TableShards shards;
  shards.rows = blocks * 64;
  for (std::uint32_t b = 0; b < blocks; ++b) {
    shards.blocks.push_back({b * 64, (b + 1) * 64});
    shards.owners.push_back(b % ranks);
    shards.rounds.push_back(b / ranks % rounds);
    shards.work.push_back(1.0);
  }
  return shards;
}

ShardPlan even_plan(std::uint32_t blocks, Rank ranks, std::uint32_t rounds) {
  return {ranks, rounds, even_table(blocks, ranks, rounds), even_table(blocks, ranks, rounds)};
}

TEST(EpochCost, OneRankTakesWhatItTakesAlone) {
  const EpochCost cost = predict_epoch(even_plan(16, 1, 4), 8.0, 100, {1.0, 1.0});
  EXPECT_DOUBLE_EQ(cost.seconds, 8.0);
  EXPECT_DOUBLE_EQ(cost.compute_seconds, 8.0);
  EXPECT_DOUBLE_EQ(cost.sending_seconds, 0.0);
}

TEST(EpochCost, AllButTheLastExchangeHidesBehindComputing) {
  // Two ranks, four rounds of 1 s computing in each half-sweep; an exchange of 2 x 64 rows of 100 bytes: half of
  // 12,800 bytes at 12,800 bytes a second and no latency: 0.5 s.
  const EpochCost cost = predict_epoch(even_plan(8, 2, 4), 16.0, 100, {0.0, 12800.0});
  EXPECT_DOUBLE_EQ(cost.compute_seconds, 8.0);
  EXPECT_DOUBLE_EQ(cost.sending_seconds, 4.0);
  EXPECT_DOUBLE_EQ(cost.seconds, 2 * (4 * 1.0 + 0.5));
}

TEST(EpochCost, ASlowLinkHidesAllButTheFirstStep) {
  const EpochCost cost = predict_epoch(even_plan(8, 2, 4), 16.0, 100, {1.5, 12800.0});
  EXPECT_DOUBLE_EQ(cost.seconds, 2 * (1.0 + 4 * 2.0));
}

TEST(EpochCost, IsNeverBelowComputingOrSendingNorAboveBothInTurn) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const auto below = [&](std::uint32_t limit) { return static_cast<std::uint32_t>(random.below(limit)); };
    const Rank ranks = 1 + below(7);
    ShardPlan plan = even_plan(5 + below(60), ranks, 1 + below(16));
    for (TableShards* shards : {&plan.users, &plan.items}) {
      for (std::size_t b = 0; b < shards->work.size(); ++b) {
        shards->work[b] = random.uniform();
        shards->owners[b] = below(ranks);
        shards->rounds[b] = below(plan.rounds);
      }
    }
    const EpochCost cost = predict_epoch(plan, 1.0, 400, {random.uniform() * 1e-3, 1e6 + random.uniform() * 1e8});
    EXPECT_GE(cost.seconds, cost.compute_seconds * (1 - 1e-12)) << "seed " << seed;
    EXPECT_GE(cost.seconds, cost.sending_seconds * (1 - 1e-12)) << "seed " << seed;
    EXPECT_LE(cost.seconds, 2.0 + cost.sending_seconds) << "seed " << seed;
    EXPECT_GE(cost.compute_seconds, 1.0 / ranks * (1 - 1e-12)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace concerto
