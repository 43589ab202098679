// Sums over chunks along a fixed binary tree of chunk indices, so that a sum depends neither on threads nor on ranks.
//
// The tree over [begin, end) splits at begin + the largest power of two below its length: the left part is always a
// perfect tree, so a run of chunks keeps its partial sums when chunks are appended behind it.
#pragma once

#include <bit>
#include <cstddef>
#include <span>

namespace concerto {

/// Where the tree over `count` >= 2 leaves splits: the left part has this many.
[[nodiscard]] constexpr std::size_t tree_split(std::size_t count) noexcept {
  return std::bit_floor(count - 1);
}

/// The sum of `leaves` along the tree; 0 when empty.
[[nodiscard]] constexpr double tree_sum(std::span<const double> leaves) noexcept {
  if (leaves.empty()) return 0.0;
  if (leaves.size() == 1) return leaves[0];
  const std::size_t left = tree_split(leaves.size());
  return tree_sum(leaves.first(left)) + tree_sum(leaves.subspan(left));
}

}  // namespace concerto
