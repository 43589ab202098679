// The ratings as SGD kernels walk them: the blocks of compute/sgd_order.hpp, each cut into parts for the warps of a
// thread block. Pure and on the host; nothing here is of the device.
//
// Blocks lie one after another, block (p, q) as number p * side + q, and in a block entries lie by user, then by item:
// the serial order. A run is the entries of one user in one block. A part is consecutive runs of one block; the parts
// of a block follow each other, so that whoever walks from the first part's begin to the last part's end walks the
// block in the serial order.
#pragma once

#include <cstdint>
#include <vector>

#include "concerto/compute/sgd_order.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto::cuda {

struct alignas(8) SgdEntry {
  RowIndex item;
  float value;
  friend bool operator==(const SgdEntry&, const SgdEntry&) = default;
};
struct alignas(8) SgdRun {
  RowIndex user;
  std::uint32_t entries;
  friend bool operator==(const SgdRun&, const SgdRun&) = default;
};
/// Where a part begins; it ends where the next one begins.
struct SgdPart {
  EntryIndex entry;
  EntryIndex run;
  friend bool operator==(const SgdPart&, const SgdPart&) = default;
};

/// Parts of a block at most: warps of the thread block that runs it.
inline constexpr unsigned kSgdMostParts = 16;

/// 8 bytes an entry, 8 a run, 16 a part, 8 a row.
struct SgdGrid {
  std::uint32_t side = 1;
  unsigned parts_per_block = 1;
  std::vector<SgdEntry> entries;
  std::vector<SgdRun> runs;
  std::vector<SgdPart> parts;  ///< parts_per_block of each block, some of them empty, and the end
  std::vector<EntryIndex> user_counts;
  std::vector<EntryIndex> item_counts;
};

/// Parts of a block: 16 where the chip has a multiprocessor for each block of a stratum, 8 where two blocks share one.
[[nodiscard]] unsigned sgd_parts_per_block(std::uint32_t side) noexcept;

/// How many parts of the blocks of each item block are used, given the entries of its items: as many as there are,
/// unless one item is so hot that more than a few of its updates would be under way at a time. Updates under way at a
/// time do not see each other: with k of them the item moves as if its rate were k times higher.
[[nodiscard]] std::vector<unsigned> sgd_parts_used(const CompressedRows& by_item,
                                                   const std::vector<RowRange>& item_blocks, unsigned parts_per_block);

/// O(entries), serial. Both views are of one matrix.
[[nodiscard]] SgdGrid cut_sgd_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                   const SgdLimits& limits);

/// n^(exponent - 1) of each row, which times lambda is the decay that an entry's update applies to it; 0 where n is 0.
[[nodiscard]] std::vector<float> sgd_decay_weights(const std::vector<EntryIndex>& counts, double exponent);

/// What a grid takes at most, on the host while it is made and on the device while it is used: entries, runs, parts.
/// The rows' part of it is not counted: 8 bytes a row on the host; on the device 20 a row of either side for weights
/// and states.
[[nodiscard]] std::uint64_t sgd_grid_bytes(EntryIndex entries, RowIndex users, RowIndex items) noexcept;

}  // namespace concerto::cuda
