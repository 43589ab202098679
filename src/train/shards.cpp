// Cutting and placing (see shards.hpp).
#include "concerto/train/shards.hpp"

#include <algorithm>

#include "concerto/base/check.hpp"
#include "concerto/replication/placement.hpp"

namespace concerto {
namespace {

double work_of(const RowLengths& lengths, RowRange rows, const WorkModel& work) {
  return work.per_entry * static_cast<double>(lengths.offsets[rows.end] - lengths.offsets[rows.begin]) +
         work.per_row * rows.size();
}

/// Gives each of a rank's blocks its round, so that the rounds of a rank are of about equal work.
void deal_rounds(TableShards& shards, Rank ranks, std::uint32_t rounds) {
  std::vector<double> total(ranks, 0.0);
  std::vector<double> before(ranks, 0.0);
  for (std::size_t b = 0; b < shards.blocks.size(); ++b) total[shards.owners[b]] += shards.work[b];
  shards.rounds.resize(shards.blocks.size());
  for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
    const Rank owner = shards.owners[b];
    const double middle = before[owner] + shards.work[b] / 2;
    const double share = total[owner] > 0.0 ? middle / total[owner] : 0.0;
    shards.rounds[b] = std::min(rounds - 1, static_cast<std::uint32_t>(share * rounds));
    before[owner] += shards.work[b];
  }
}

TableShards cut_and_place(const RowLengths& lengths, Side side, const WorkModel& work, Rank ranks,
                          std::uint32_t rounds) {
  TableShards shards;
  shards.rows = lengths.rows;
  if (lengths.rows == 0) return shards;
  shards.blocks = cut_blocks(lengths, kBlocksPerTable, work);
  std::vector<PlacedBlock> placed;
  for (const RowRange rows : shards.blocks) {
    const std::uint64_t chunk = rows.begin / chunk_rows(lengths.rows);
    shards.work.push_back(work_of(lengths, rows, work));
    placed.push_back({static_cast<std::uint64_t>(side) << 32 | chunk, shards.work.back()});
  }
  std::vector<Rank> members(ranks);
  for (Rank r = 0; r < ranks; ++r) members[r] = r;
  shards.owners = place_blocks(placed, members);
  deal_rounds(shards, ranks, rounds);
  return shards;
}

template <class Chosen>
std::vector<RowRange> joined(const TableShards& shards, Chosen is_chosen) {
  std::vector<RowRange> rows;
  for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
    if (!is_chosen(b)) continue;
    if (!rows.empty() && rows.back().end == shards.blocks[b].begin) {
      rows.back().end = shards.blocks[b].end;
    } else {
      rows.push_back(shards.blocks[b]);
    }
  }
  return rows;
}

}  // namespace

ShardPlan plan_shards(const RowLengths& by_user, const RowLengths& by_item, const WorkModel& work, Rank ranks,
                      std::uint32_t rounds) {
  CONCERTO_CHECK(ranks > 0 && rounds > 0, "a run of no ranks or no rounds");
  ShardPlan plan;
  plan.ranks = ranks;
  plan.rounds = rounds;
  plan.users = cut_and_place(by_user, Side::kUsers, work, ranks, rounds);
  plan.items = cut_and_place(by_item, Side::kItems, work, ranks, rounds);
  return plan;
}

std::vector<RowRange> owned_rows(const TableShards& shards, Rank rank) {
  return joined(shards, [&](std::size_t b) { return shards.owners[b] == rank; });
}

std::vector<RowRange> rows_of_round(const TableShards& shards, Rank rank, std::uint32_t round) {
  return joined(shards, [&](std::size_t b) { return shards.owners[b] == rank && shards.rounds[b] == round; });
}

LoadFacts load_of(const ShardPlan& plan) {
  std::vector<double> load(plan.ranks, 0.0);
  for (const TableShards* shards : {&plan.users, &plan.items}) {
    for (std::size_t b = 0; b < shards->blocks.size(); ++b) load[shards->owners[b]] += shards->work[b];
  }
  LoadFacts facts;
  for (const double l : load) {
    facts.largest = std::max(facts.largest, l);
    facts.mean += l / static_cast<double>(plan.ranks);
  }
  return facts;
}

}  // namespace concerto
