// How the grid of SGD is cut: blocks of equal numbers of entries, parts of blocks for warps.
//
// Serial: two passes over the entries of the user orientation, one to count and one to fill. It knows nothing of the
// device beyond how many parts a block is cut into.
#include "sgd_grid.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "concerto/base/check.hpp"
#include "concerto/compute/backends.hpp"

namespace concerto::cuda {
namespace {

/// Updates of one item that may be under way at a time in a block, on average.
constexpr EntryIndex kUpdatesOfAnItem = 4;

std::vector<EntryIndex> row_counts(const CompressedRows& matrix) {
  std::vector<EntryIndex> counts(matrix.rows);
  for (RowIndex r = 0; r < matrix.rows; ++r) counts[r] = matrix.count(r);
  return counts;
}

/// For each row the number of the range that holds it.
std::vector<std::uint32_t> range_of_row(RowIndex rows, const std::vector<RowRange>& ranges) {
  std::vector<std::uint32_t> result(rows);
  for (std::uint32_t b = 0; b < ranges.size(); ++b) {
    std::fill(result.begin() + ranges[b].begin, result.begin() + ranges[b].end, b);
  }
  return result;
}

/// Calls visit(block, user, begin, end) for each run in the order of users: entries [begin, end) of the orientation.
template <class Visit>
void for_each_run(const CompressedRows& by_user, const std::vector<RowRange>& user_blocks,
                  const std::vector<std::uint32_t>& item_block, Visit visit) {
  const std::size_t side = user_blocks.size();
  for (std::size_t p = 0; p < side; ++p) {
    for (RowIndex u = user_blocks[p].begin; u < user_blocks[p].end; ++u) {
      for (EntryIndex begin = by_user.offsets[u]; begin < by_user.offsets[u + 1];) {
        const std::uint32_t q = item_block[by_user.columns[begin]];
        EntryIndex end = begin + 1;
        while (end < by_user.offsets[u + 1] && item_block[by_user.columns[end]] == q) ++end;
        visit(p * side + q, u, begin, end);
        begin = end;
      }
    }
  }
}

/// Where each block begins, and the end.
std::vector<SgdPart> block_begins(const CompressedRows& by_user, const std::vector<RowRange>& user_blocks,
                                  const std::vector<std::uint32_t>& item_block) {
  std::vector<SgdPart> begins(user_blocks.size() * user_blocks.size() + 1);
  for_each_run(by_user, user_blocks, item_block, [&](std::size_t block, RowIndex, EntryIndex begin, EntryIndex end) {
    CONCERTO_CHECK(end - begin <= std::numeric_limits<std::uint32_t>::max(), "a run of more than 2^32 entries");
    begins[block + 1].entry += end - begin;
    begins[block + 1].run += 1;
  });
  for (std::size_t b = 1; b < begins.size(); ++b) {
    begins[b].entry += begins[b - 1].entry;
    begins[b].run += begins[b - 1].run;
  }
  return begins;
}

/// Cuts a block's runs into parts at equal numbers of entries: part w begins at the first run with at least
/// w * entries / used entries before it. Parts from `used` on are empty.
void cut_parts(std::span<const SgdRun> runs, const SgdPart& begin, const SgdPart& end, unsigned used,
               std::span<SgdPart> parts) {
  const EntryIndex entries = end.entry - begin.entry;
  std::size_t next = 0;
  SgdPart at = begin;
  for (; at.run < end.run; ++at.run) {
    while (next < used && (at.entry - begin.entry) * used >= entries * next) parts[next++] = at;
    at.entry += runs[at.run].entries;
  }
  std::fill(parts.begin() + static_cast<std::ptrdiff_t>(next), parts.end(), end);
}

}  // namespace

unsigned sgd_parts_per_block(std::uint32_t side) noexcept {
  return side <= cuda_sgd_limits().few_blocks_per_side ? kSgdMostParts : kSgdMostParts / 2;
}

std::vector<unsigned> sgd_parts_used(const CompressedRows& by_item, const std::vector<RowRange>& item_blocks,
                                     unsigned parts_per_block) {
  std::vector<unsigned> used;
  for (const RowRange& items : item_blocks) {
    EntryIndex entries = 0;
    EntryIndex hottest = 1;
    for (RowIndex i = items.begin; i < items.end; ++i) {
      entries += by_item.count(i);
      hottest = std::max(hottest, by_item.count(i));
    }
    const EntryIndex harmless = std::max<EntryIndex>(1, kUpdatesOfAnItem * entries / hottest);
    used.push_back(static_cast<unsigned>(std::min<EntryIndex>(parts_per_block, harmless)));
  }
  return used;
}

SgdGrid cut_sgd_grid(const CompressedRows& by_user, const CompressedRows& by_item, const SgdLimits& limits) {
  CONCERTO_CHECK(by_user.rows == by_item.column_count && by_item.rows == by_user.column_count &&
                     by_user.entries() == by_item.entries(),
                 "the two orientations are not of one matrix");
  SgdGrid grid;
  grid.side = sgd_blocks_per_side(by_user.entries(), by_user.rows, by_item.rows, limits);
  grid.parts_per_block = sgd_parts_per_block(grid.side);
  const std::vector<RowRange> user_blocks = sgd_cut(by_user, grid.side);
  const std::vector<RowRange> item_blocks = sgd_cut(by_item, grid.side);
  const std::vector<std::uint32_t> item_block = range_of_row(by_item.rows, item_blocks);
  const std::vector<SgdPart> begins = block_begins(by_user, user_blocks, item_block);

  grid.entries.resize(begins.back().entry);
  grid.runs.resize(begins.back().run);
  std::vector<SgdPart> next(begins.begin(), begins.end() - 1);
  for_each_run(by_user, user_blocks, item_block, [&](std::size_t block, RowIndex u, EntryIndex begin, EntryIndex end) {
    SgdPart& at = next[block];
    grid.runs[at.run++] = {u, static_cast<std::uint32_t>(end - begin)};
    for (EntryIndex k = begin; k < end; ++k) grid.entries[at.entry++] = {by_user.columns[k], by_user.value(k)};
  });

  const std::vector<unsigned> used = sgd_parts_used(by_item, item_blocks, grid.parts_per_block);
  grid.parts.resize((begins.size() - 1) * grid.parts_per_block + 1, begins.back());
  for (std::size_t b = 0; b + 1 < begins.size(); ++b) {
    cut_parts(grid.runs, begins[b], begins[b + 1], used[b % grid.side],
              std::span(grid.parts).subspan(b * grid.parts_per_block, grid.parts_per_block));
  }
  grid.user_counts = row_counts(by_user);
  grid.item_counts = row_counts(by_item);
  return grid;
}

std::vector<float> sgd_decay_weights(const std::vector<EntryIndex>& counts, double exponent) {
  std::vector<float> weights(counts.size());
  for (std::size_t r = 0; r < counts.size(); ++r) {
    if (counts[r] > 0) weights[r] = static_cast<float>(std::pow(static_cast<double>(counts[r]), exponent - 1.0));
  }
  return weights;
}

std::uint64_t sgd_grid_bytes(EntryIndex entries, RowIndex users, RowIndex items) noexcept {
  const std::uint64_t side = sgd_blocks_per_side(entries, users, items, cuda_sgd_limits());
  const std::uint64_t runs = std::min<std::uint64_t>(entries, users * side);
  const std::uint64_t parts = side * side * kSgdMostParts + 1;
  return entries * sizeof(SgdEntry) + runs * sizeof(SgdRun) + parts * sizeof(SgdPart);
}

}  // namespace concerto::cuda
