// How the two tables of a run are cut into blocks, who owns each, and in which round of a half-sweep its owner solves
// it: the first and the last rounds are short, since nothing travels during the one and nothing is computed while the
// rows of the other travel. A pure function of the data's row counts, the solver's cost and the number of ranks, that
// every rank computes alike.
#pragma once

#include <cstdint>
#include <initializer_list>
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
/// The latter in ranges of at most `most_work` each, or of one block.
[[nodiscard]] std::vector<RowRange> calls_of_round(const TableShards& shards, Rank rank, std::uint32_t round,
                                                   double most_work);

/// The matrix with the entries of these columns alone, in the same rows and columns. Copies 4 or 8 bytes an
/// entry kept.
[[nodiscard]] CompressedMatrix keep_columns(const CompressedRows& matrix, RowRange columns);

/// Exactly `count` ranges that cover the items in order, cut at equal numbers of entries: of whole chunks where there
/// are several to a range, else between rows. A range is empty where one item outweighs it.
[[nodiscard]] std::vector<RowRange> cut_item_parts(const RowLengths& by_item, std::uint32_t count);

/// The largest and the mean work of a rank over these tables.
struct LoadFacts {
  double largest = 0.0;
  double mean = 0.0;
};
[[nodiscard]] LoadFacts load_of(std::initializer_list<const TableShards*> tables, Rank ranks);

}  // namespace concerto
