// Checks of the arguments of operations.
#include "arguments.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "concerto/base/check.hpp"

namespace concerto {

void check_blocks(std::size_t buffer_bytes, std::span<const GatherBlock> blocks, Rank size) {
  std::vector<GatherBlock> sorted;
  sorted.reserve(blocks.size());
  for (const GatherBlock& block : blocks) {
    CONCERTO_CHECK(block.owner < size, "a block of no rank of the group");
    CONCERTO_CHECK(block.offset <= buffer_bytes && block.bytes <= buffer_bytes - block.offset,
                   "a block outside the buffer");
    if (block.bytes > 0) sorted.push_back(block);
  }
  std::ranges::sort(sorted, {}, &GatherBlock::offset);
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    CONCERTO_CHECK(sorted[i - 1].offset + sorted[i - 1].bytes <= sorted[i].offset, "blocks that overlap");
  }
}

std::size_t check_gather(Rank rank, Rank size, Rank root, std::span<const std::byte> mine,
                         std::span<const std::byte> received, std::span<const std::size_t> sizes) {
  CONCERTO_CHECK(root < size, "a gather to no rank of the group");
  CONCERTO_CHECK(sizes.size() == size, "a gather needs a size for each rank");
  CONCERTO_CHECK(mine.size() == sizes[rank], "a gather of other bytes than announced");
  const std::size_t total = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
  CONCERTO_CHECK(rank != root || received.size() == total, "the root has no room for what is gathered");
  return total;
}

}  // namespace concerto
