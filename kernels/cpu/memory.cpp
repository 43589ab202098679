// Predicts what the cpu backend allocates beyond tables and ratings, so that a run that does not fit is refused before
// it starts. An upper estimate in the terms of each solver's own scratch; it does not ask the system what is free.
#include <algorithm>

#include "concerto/compute/backends.hpp"
#include "concerto/compute/sgd_order.hpp"

#include "cpu_backend.hpp"
#include "gram_tile.hpp"
#include "row_system.hpp"
#include "sgd_kernel.hpp"
#include "subspace_scratch.hpp"

namespace concerto {
namespace {

using cpu::system_step;

/// Both sides' Gram matrices, and tiles on their way to them.
std::uint64_t gram_bytes(std::uint64_t width, unsigned threads) {
  const std::uint64_t tile = std::min<std::uint64_t>(width, cpu::kGramTile);
  constexpr std::uint64_t kTilesOfTask = 24;  // a buffer a level of the tree, and the sums
  const std::uint64_t panels = 2 * cpu::kGramPanelRows * cpu::kGramTile;
  return (2 * width * width + threads * (kTilesOfTask * tile * tile + panels)) * sizeof(float);
}

/// A thread's matrix, factor inverses and gathered panels, for systems of `width`.
std::uint64_t system_bytes(std::uint64_t width) {
  return (width * system_step(width) + 16 * width + 2 * cpu::gram_panel_rows(width) * (width + 1)) * sizeof(float);
}

std::uint64_t scratch_bytes(const MemoryShape& shape, std::uint64_t width) {
  const std::uint64_t longest = std::min<std::uint64_t>(shape.entries, std::max(shape.users, shape.items));
  const std::uint64_t slice = FactorTable::padded(std::min(shape.slice, shape.rank));
  switch (shape.solver) {
    case MemoryShape::Solver::kCholesky:
      return system_bytes(width);
    case MemoryShape::Solver::kCg:
      return (std::max<std::uint64_t>(cpu::kCgPanelFloats, width) + 5 * cpu::kCgRows * width +
              4 * cpu::kCgPanelFloats / width) *
             sizeof(float);
    case MemoryShape::Solver::kSubspace:
      return system_bytes(slice) + (std::max<std::uint64_t>(cpu::kSubspaceEntries, longest + 8) +
                                    cpu::kSubspaceRows * (slice + (shape.biases ? width : 0)) + width) *
                                       sizeof(float);
    case MemoryShape::Solver::kSgd:
      return 0;
  }
  return 0;
}

}  // namespace

std::uint64_t cpu_working_bytes(const MemoryShape& shape) {
  const std::uint64_t width = FactorTable::padded(shape.rank);
  std::uint64_t bytes = shape.threads * scratch_bytes(shape, width);
  if (shape.is_implicit) bytes += gram_bytes(width, shape.threads);
  if (shape.solver == MemoryShape::Solver::kSgd) {
    // The grid's entries, and runs of one user's entries in a block; during an epoch, states of rows.
    const std::uint64_t runs =
        std::uint64_t{shape.users} * sgd_blocks_per_side(shape.entries, shape.users, shape.items);
    bytes += sizeof(cpu::SgdEntry) * shape.entries + sizeof(cpu::SgdRun) * std::min(shape.entries, runs);
    bytes += sizeof(cpu::SgdRowState) * (std::uint64_t{shape.users} + shape.items);
  } else {
    bytes += 4096 * std::uint64_t{shape.threads} * sizeof(RowRange);
  }
  return bytes;
}

}  // namespace concerto
