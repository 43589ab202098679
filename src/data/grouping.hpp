// From entries in file order to compressed rows: grouped by row, columns ascending, duplicates merged. Ids are no
// longer known here: everything is rows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto {

/// Entries as parallel arrays in file order; `values` is empty when every entry counts as 1.
struct RowEntries {
  std::vector<RowIndex> rows;
  std::vector<RowIndex> columns;
  std::vector<float> values;
};

/// What to do with equal pairs. `pair_text(row, column)` names a pair for an error.
struct MergeRule {
  Duplicates duplicates = Duplicates::kLast;
  bool use_values = true;  ///< false: merged entries stay without values even when summed
  std::function<std::string(RowIndex row, RowIndex column)> pair_text;
};

/// Groups entries by row. Within a row, entries with values keep the order of the input (without values the order does
/// not matter: equal ones cannot be told apart). Consumes `entries` array by array: peak memory is theirs plus 4 bytes
/// an entry with values, theirs plus about 1 % without.
[[nodiscard]] CompressedMatrix group_by_row(RowEntries entries, RowIndex rows, RowIndex column_count, ThreadPool& pool);

/// Sorts every row by column (stable) and merges duplicates. Returns how many entries were merged away.
EntryIndex sort_and_merge(CompressedMatrix& matrix, const MergeRule& rule, ThreadPool& pool);

/// counts[part][key]: how often each key occurs in the part-th of `parts` equal pieces of `keys`.
[[nodiscard]] std::vector<std::vector<EntryIndex>> count_keys(std::span<const RowIndex> keys, RowIndex key_count,
                                                              std::size_t parts, ThreadPool& pool);
/// How many pieces to count in, so that the counts of all pieces take at most about two bytes a key.
[[nodiscard]] std::size_t counting_parts(std::size_t keys, RowIndex key_count, const ThreadPool& pool);
/// Offsets (key_count + 1) of the counts summed over the pieces.
[[nodiscard]] std::vector<EntryIndex> offsets_of(const std::vector<std::vector<EntryIndex>>& counts,
                                                 RowIndex key_count);

}  // namespace concerto
