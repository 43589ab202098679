// The schedule of an epoch, in predicted seconds (see epoch_cost.hpp).
#include "concerto/train/epoch_cost.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace concerto {
namespace {

double work_of(const TableShards& shards) {
  return std::accumulate(shards.work.begin(), shards.work.end(), 0.0);
}

struct Round {
  std::vector<double> work;  ///< by rank
  double rows = 0.0;
};

std::vector<Round> rounds_of(const TableShards& shards, Rank ranks, std::uint32_t rounds) {
  std::vector<Round> result(rounds);
  for (Round& round : result) round.work.resize(ranks);
  for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
    Round& round = result[shards.rounds[b]];
    round.work[shards.owners[b]] += shards.work[b];
    round.rows += shards.blocks[b].size();
  }
  return result;
}

}  // namespace

EpochCost predict_epoch(const ShardPlan& plan, double seconds_alone, std::uint64_t row_bytes, const LinkSpeed& link) {
  const double all_work = work_of(plan.users) + work_of(plan.items);
  const double seconds_a_unit = all_work > 0.0 ? seconds_alone / all_work : 0.0;
  const double others = plan.ranks - 1.0;
  EpochCost cost;
  std::vector<double> computed(plan.ranks, 0.0);
  for (const TableShards* shards : {&plan.items, &plan.users}) {
    std::vector<double> solved(plan.ranks, cost.seconds);  // when each rank has solved its rounds so far
    double exchanged = cost.seconds;
    for (const Round& round : rounds_of(*shards, plan.ranks, plan.rounds)) {
      for (Rank r = 0; r < plan.ranks; ++r) {
        const double seconds = round.work[r] * seconds_a_unit;
        solved[r] += seconds;
        computed[r] += seconds;
      }
      // A ring: every rank passes on all but its successor's rows, and the last bytes make ranks - 1 hops.
      const double sending = others * link.latency_seconds +
                             round.rows * static_cast<double>(row_bytes) * others / plan.ranks / link.bytes_per_second;
      exchanged = std::max(exchanged, *std::ranges::max_element(solved));
      if (plan.ranks > 1) {
        exchanged += sending;
        cost.sending_seconds += sending;
      }
    }
    cost.seconds = exchanged;
  }
  cost.compute_seconds = *std::ranges::max_element(computed);
  return cost;
}

}  // namespace concerto
