// Held-out parts in the rows of the training data, from whatever names their users and items.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"

#include "grouping.hpp"
#include "id_ranks.hpp"

namespace concerto {

/// Held-out entries as numbers of the file they come from, and the way from those numbers to training rows.
struct HeldOutSource {
  std::vector<std::uint32_t> users;
  std::vector<std::uint32_t> items;
  std::vector<float> values;  ///< empty: all 1
  const RowLookup* user_rows = nullptr;
  const RowLookup* item_rows = nullptr;
  RowIndex user_count = 0;  ///< training rows
  RowIndex item_count = 0;
  std::function<std::string(std::uint32_t user, std::uint32_t item)> pair_text;  ///< names a pair of the file
};

/// Sorts entries into known and unknown ones and merges duplicates in both.
[[nodiscard]] HeldOut make_held_out(HeldOutSource source, const MergeRule& rule, ThreadPool& pool);

/// Leaves out the entries whose pair `train` has too (rows sorted by column in both); returns how many.
EntryIndex drop_known_pairs(HeldOut& part, const CompressedRows& train);

/// "user U, item I" in the file's own ids.
[[nodiscard]] std::string raw_pair_text(const IdColumn& users, const IdColumn& items, std::uint32_t user,
                                        std::uint32_t item);

}  // namespace concerto
