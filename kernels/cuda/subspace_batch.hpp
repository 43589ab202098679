// How many rows of a subspace step are worked on at a time: bounds its scratch. Pure; tested on the host.
#pragma once

#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto::cuda {

/// Scores of a batch: 256 MiB.
inline constexpr EntryIndex kBatchEntries = EntryIndex{1} << 26;
/// Floats of a batch's slice: 128 MiB, twice.
inline constexpr std::uint64_t kBatchValues = std::uint64_t{1} << 25;

/// Ranges that cover `rows` in order, none empty, each of at most `most_entries` entries and `most_values` / width
/// rows, or of one row.
[[nodiscard]] std::vector<RowRange> subspace_batches(std::span<const EntryIndex> offsets, RowRange rows,
                                                     std::uint32_t width, EntryIndex most_entries = kBatchEntries,
                                                     std::uint64_t most_values = kBatchValues);

}  // namespace concerto::cuda
