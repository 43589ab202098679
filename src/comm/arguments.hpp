// What callers of collective operations have to keep to; a breach is a bug of the caller and ends the process.
#pragma once

#include <cstddef>
#include <span>

#include "concerto/base/ids.hpp"
#include "concerto/comm/communicator.hpp"

namespace concerto {

/// Blocks of ranks of the group, within the buffer, that do not overlap. O(n log n).
void check_blocks(std::size_t buffer_bytes, std::span<const GatherBlock> blocks, Rank size);

/// A size for each rank, buffers of these sizes. The sum of the sizes.
std::size_t check_gather(Rank rank, Rank size, Rank root, std::span<const std::byte> mine,
                         std::span<const std::byte> received, std::span<const std::size_t> sizes);

}  // namespace concerto
