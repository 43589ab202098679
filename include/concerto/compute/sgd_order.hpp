// The order in which an SGD epoch visits the entries: a pure function of the sizes, the seed and the epoch, shared by
// all backends, so that they agree update by update and do not depend on the number of threads.
//
// The matrix is cut into B x B blocks, B = sgd_blocks_per_side() within the limits of the backend. A stratum of shift s
// is the B blocks (user block p, item block (p + s) mod B): they share no row. An epoch executes the strata in the
// order of sgd_strata(); serially, a stratum's blocks run p = 0, 1, ..., B - 1 and a block's entries by user, then by
// item, in the order of the user orientation (duplicates in the order in which they stand there). Blocks of one stratum
// may run at the same time, and a block may start as soon as the blocks of the stratum before that share its user block
// or its item block are done: the result is the serial one, bit for bit.
//
// Blocks are cut between rows, not between chunks: a grid is private to its backend, and tables with few chunks would
// give blocks of unequal size. This file moves no data and does no arithmetic on factors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/rng.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto {

/// Into how many blocks a backend cuts. The defaults are the cpu and the reference backend's.
struct SgdLimits {
  /// A block holds about this many entries, within the limits below. Larger blocks give longer runs of entries of one
  /// user, whose vector stays in registers over its run (measured on a CPU: blocks of 4,096 cost a third of the speed
  /// at 9 million entries); smaller ones let more workers work at a time. Quality is the same.
  EntryIndex entries_per_block = 32768;
  /// This many blocks a side at least, for the workers of a common machine, if that leaves a block min_block_entries.
  std::uint32_t few_blocks_per_side = 8;
  EntryIndex min_block_entries = 256;
  std::uint32_t max_blocks_per_side = 64;
  friend constexpr bool operator==(const SgdLimits&, const SgdLimits&) = default;
};

/// B: sqrt(entries / entries_per_block) within the limits; at least 1, at most the rows of either side.
[[nodiscard]] constexpr std::uint32_t sgd_blocks_per_side(EntryIndex entries, RowIndex users, RowIndex items,
                                                          const SgdLimits& limits = {}) noexcept {
  std::uint32_t count = 1;
  while (count < limits.max_blocks_per_side && count < std::min(users, items)) {
    const EntryIndex per_block =
        count < limits.few_blocks_per_side ? limits.min_block_entries : limits.entries_per_block;
    if (EntryIndex{count + 1} * (count + 1) * per_block > entries) break;
    ++count;
  }
  return count;
}

/// Exactly `count` ranges of rows that cover one orientation in order, cut at equal numbers of entries: range b begins
/// at the first row with at least b * entries / count entries before it. A range is empty where one row outweighs it.
[[nodiscard]] inline std::vector<RowRange> sgd_cut(const RowLengths& matrix, std::uint32_t count) {
  std::vector<RowRange> ranges(count);
  RowIndex begin = 0;
  for (std::uint32_t b = 0; b < count; ++b) {
    RowIndex end = matrix.rows;
    if (b + 1 < count) {
      const EntryIndex target = matrix.entries() * (b + 1) / count;
      const auto found = std::lower_bound(matrix.offsets.begin(), matrix.offsets.end(), target);
      end = static_cast<RowIndex>(found - matrix.offsets.begin());
    }
    ranges[b] = {begin, end};
    begin = end;
  }
  return ranges;
}

/// The shifts of the strata in the order in which the epoch executes them: a permutation of 0..B-1.
[[nodiscard]] inline std::vector<std::uint32_t> sgd_strata(std::uint32_t blocks, std::uint64_t seed,
                                                           std::uint32_t epoch) {
  constexpr std::uint64_t kStream = 0x5347'4400'0000'0000;  // "SGD", apart from the streams of other uses of the seed
  return random_permutation(blocks, seed, kStream | epoch);
}

/// The item block that the stratum of this shift pairs with a user block.
[[nodiscard]] constexpr std::uint32_t sgd_item_block(std::uint32_t user_block, std::uint32_t shift,
                                                     std::uint32_t blocks) noexcept {
  return (user_block + shift) % blocks;
}

}  // namespace concerto
