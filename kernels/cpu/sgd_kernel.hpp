// The inner loop of SGD: all updates of one block of the grid, by one thread, with the vector instructions of the
// processor at hand. Apart from sgd.cpp because it is compiled once for each instruction set.
//
// Entries stand grouped by user, so that a user's vector stays in registers over its run. The squared norms of both
// vectors are carried along as scalars: with them the mean square of a gradient, which AdaGrad needs, follows from
// scalars alone, |-e y + d x|^2 = e^2 |y|^2 - 2 e d x.y + d^2 |x|^2, and no gradient is ever formed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "concerto/base/ids.hpp"

namespace concerto::cpu {

/// An observed entry within a block.
struct SgdEntry {
  RowIndex item;
  float value;
};

/// The consecutive entries of one user within a block.
struct SgdRun {
  RowIndex user;
  std::uint32_t count;
};

/// What an update needs of a row beside its vector; together, so that it costs one cache line.
struct SgdRowState {
  float accumulator;  ///< A: 1 plus the mean squares of all gradients so far
  float bias;
  float norm;    ///< |x|^2
  float weight;  ///< n^(nu - 1)
};

/// What is the same for all blocks of a pass. Vectors are `stride` floats, zero beyond the rank.
struct SgdPass {
  float* users = nullptr;
  float* items = nullptr;
  SgdRowState* user_states = nullptr;
  SgdRowState* item_states = nullptr;
  std::size_t stride = 0;
  float inverse_rank = 1.0F;
  float rate = 0.0F;
  float regularization = 0.0F;
  float bias_regularization = 0.0F;
  float mean = 0.0F;
  bool biases = false;
  bool nonnegative = false;
};

/// Applies the entries of one block in order. `entries` holds the runs' entries one run after the other.
void sgd_block(const SgdPass& pass, std::span<const SgdRun> runs, std::span<const SgdEntry> entries);

}  // namespace concerto::cpu
