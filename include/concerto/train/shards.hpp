// How the two tables of a run are cut into blocks, who owns each, and in which round of a half-sweep its owner solves
// it. A pure function of the data's row counts, the solver's cost and the number of ranks, that every rank computes
// alike.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/data/partition.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto {

/// Blocks of a table at most: enough that 64 ranks have 16 each, whatever the number of ranks.
inline constexpr std::size_t kBlocksPerTable = 1024;

struct TableShards {
  RowIndex rows = 0;
  std::vector<RowRange> blocks;  ///< whole chunks, in order, covering all rows
  std::vector<Rank> owners;
  std::vector<std::uint32_t> rounds;
  std::vector<double> work;  ///< predicted, in the solver's units
};

struct ShardPlan {
  Rank ranks = 1;
  std::uint32_t rounds = 16;
  TableShards users;
  TableShards items;
  [[nodiscard]] const TableShards& of(Side side) const noexcept { return side == Side::kUsers ? users : items; }
};

/// `ranks` >= 1, `rounds` >= 1.
[[nodiscard]] ShardPlan plan_shards(const RowLengths& by_user, const RowLengths& by_item, const WorkModel& work,
                                    Rank ranks, std::uint32_t rounds);

/// The rows that `rank` owns, in order, neighbouring blocks joined; and those of them that it solves in `round`.
[[nodiscard]] std::vector<RowRange> owned_rows(const TableShards& shards, Rank rank);
[[nodiscard]] std::vector<RowRange> rows_of_round(const TableShards& shards, Rank rank, std::uint32_t round);

/// The largest and the mean work of a rank over both tables.
struct LoadFacts {
  double largest = 0.0;
  double mean = 0.0;
};
[[nodiscard]] LoadFacts load_of(const ShardPlan& plan);

}  // namespace concerto
