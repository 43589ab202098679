// Cutting and placing (see shards.hpp).
#include "concerto/train/shards.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "concerto/base/check.hpp"
#include "concerto/compute/sgd_order.hpp"
#include "concerto/replication/placement.hpp"

namespace concerto {
namespace {

double work_of(const RowLengths& lengths, RowRange rows, const WorkModel& work) {
  return work.per_entry * static_cast<double>(lengths.offsets[rows.end] - lengths.offsets[rows.begin]) +
         work.per_row * rows.size();
}

/// Which share of a rank's work is done when each round ends. Nothing travels during the first round, nothing is
/// computed while the rows of the last one travel: these are the shortest, the next to them twice and further ones four
/// times as long.
std::vector<double> ends_of_rounds(std::uint32_t rounds) {
  std::vector<double> ends(rounds);
  double sum = 0.0;
  for (std::uint32_t k = 0; k < rounds; ++k) ends[k] = sum += std::exp2(std::min({k, rounds - 1 - k, 2U}));
  for (double& end : ends) end /= sum;
  return ends;
}

/// Gives each of a rank's blocks its round, along ends_of_rounds().
void deal_rounds(TableShards& shards, Rank ranks, std::uint32_t rounds) {
  const std::vector<double> ends = ends_of_rounds(rounds);
  std::vector<double> total(ranks, 0.0);
  std::vector<double> before(ranks, 0.0);
  for (std::size_t b = 0; b < shards.blocks.size(); ++b) total[shards.owners[b]] += shards.work[b];
  shards.rounds.resize(shards.blocks.size());
  for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
    const Rank owner = shards.owners[b];
    const double middle = before[owner] + shards.work[b] / 2;
    const double share = total[owner] > 0.0 ? middle / total[owner] : 0.0;
    const auto round = static_cast<std::uint32_t>(std::ranges::upper_bound(ends, share) - ends.begin());
    shards.rounds[b] = std::min(rounds - 1, round);
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

/// Neighbouring blocks go together, up to so much work.
template <class Chosen>
std::vector<RowRange> joined(const TableShards& shards, Chosen is_chosen,
                             double most_work = std::numeric_limits<double>::infinity()) {
  std::vector<RowRange> rows;
  double work = 0.0;  // of the last range
  for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
    if (!is_chosen(b)) continue;
    const double more = shards.work[b];
    if (!rows.empty() && rows.back().end == shards.blocks[b].begin && work + more <= most_work) {
      rows.back().end = shards.blocks[b].end;
      work += more;
    } else {
      rows.push_back(shards.blocks[b]);
      work = more;
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

CompressedMatrix keep_columns(const CompressedRows& matrix, RowRange columns) {
  CompressedMatrix kept;
  kept.rows = matrix.rows;
  kept.column_count = matrix.column_count;
  kept.offsets.reserve(std::size_t{matrix.rows} + 1);
  kept.offsets.push_back(0);
  for (RowIndex r = 0; r < matrix.rows; ++r) {
    const auto row = matrix.row_columns(r);
    const auto from = std::ranges::lower_bound(row, columns.begin);
    const auto to = std::lower_bound(from, row.end(), columns.end);
    kept.columns.insert(kept.columns.end(), from, to);
    if (!matrix.values.empty() && from != to) {
      const auto values = matrix.row_values(r).subspan(static_cast<std::size_t>(from - row.begin()),
                                                       static_cast<std::size_t>(to - from));
      kept.values.insert(kept.values.end(), values.begin(), values.end());
    }
    kept.offsets.push_back(kept.columns.size());
  }
  return kept;
}

std::vector<RowRange> cut_item_parts(const RowLengths& by_item, std::uint32_t count) {
  constexpr std::uint64_t kChunksOfPart = 8;  // fewer would make parts unequal
  std::vector<RowRange> parts = sgd_cut(by_item, count);
  if (chunk_count(by_item.rows) < kChunksOfPart * count) return parts;
  const RowIndex size = chunk_rows(by_item.rows);
  for (std::size_t p = 0; p + 1 < parts.size(); ++p) {
    // To the nearest border of chunks; 64 bits, since the last border may lie behind the last row number.
    const std::uint64_t border = (std::uint64_t{parts[p].end} + size / 2) / size * size;
    parts[p].end = parts[p + 1].begin = static_cast<RowIndex>(std::min<std::uint64_t>(border, by_item.rows));
  }
  return parts;
}

std::vector<RowRange> calls_of_round(const TableShards& shards, Rank rank, std::uint32_t round, double most_work) {
  return joined(
      shards, [&](std::size_t b) { return shards.owners[b] == rank && shards.rounds[b] == round; }, most_work);
}

LoadFacts load_of(std::initializer_list<const TableShards*> tables, Rank ranks) {
  std::vector<double> load(ranks, 0.0);
  for (const TableShards* shards : tables) {
    for (std::size_t b = 0; b < shards->blocks.size(); ++b) load[shards->owners[b]] += shards->work[b];
  }
  LoadFacts facts;
  for (const double l : load) {
    facts.largest = std::max(facts.largest, l);
    facts.mean += l / static_cast<double>(ranks);
  }
  return facts;
}

}  // namespace concerto
