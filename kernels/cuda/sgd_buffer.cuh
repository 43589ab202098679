// What the cuda backend keeps of a grid of SGD, which epochs walk (sgd.cu) and losses are summed over (loss.cu).
#pragma once

#include <list>
#include <vector>

#include "cuda_backend.hpp"
#include "sgd_grid.hpp"
#include "sgd_update.cuh"

namespace concerto::cuda {

/// n^(nu - 1) of the rows of either side.
struct DecayWeights {
  double exponent = 1.0;
  DeviceArray<float> users;
  DeviceArray<float> items;
};

/// Penalties of the rows of either side.
struct GridTerms {
  RowTerms users;
  RowTerms items;
};

/// SgdGrid on the device: 8 bytes an entry, 8 a run, 16 a part, and 20 a row for weights and states. With the first
/// loss, penalties: 4 bytes a row, 12 with biases.
struct GridBuffer final : Buffer {
  [[nodiscard]] std::uint64_t bytes() const noexcept override {
    std::uint64_t total = entries.bytes() + runs.bytes() + parts.bytes() + user_states.bytes() + item_states.bytes();
    for (const DecayWeights& known : weights) total += known.users.bytes() + known.items.bytes();
    for (const GridTerms& known : terms) total += known.users.bytes() + known.items.bytes();
    return total;
  }
  std::uint32_t side = 1;
  unsigned parts_per_block = 1;
  std::vector<EntryIndex> user_counts;  ///< n of each row, of the whole matrix
  std::vector<EntryIndex> item_counts;
  std::vector<EntryIndex> item_entries;  ///< of each item, those in the grid
  DeviceArray<SgdEntry> entries;
  DeviceArray<SgdRun> runs;
  DeviceArray<SgdPart> parts;

  // Filled by the first epoch and the first loss; they do not change the grid.
  mutable std::list<DecayWeights> weights;
  mutable std::list<GridTerms> terms;
  mutable Scratch<SgdRowState> user_states;
  mutable Scratch<SgdRowState> item_states;
};

inline void check_grid(const GridBuffer& grid, const TableBuffer& users, const TableBuffer& items) {
  CONCERTO_CHECK(users.shape.rows == grid.user_counts.size() && items.shape.rows == grid.item_counts.size(),
                 "the grid and the tables differ in size");
  CONCERTO_CHECK(users.shape.rank == items.shape.rank && users.shape.biases == items.shape.biases,
                 "the tables differ in rank or biases");
}

}  // namespace concerto::cuda
