// Small vectorized loops over rows of tables and over scores, shared by SGD, the measures and ranking; compiled once
// for each instruction set. Rows are `stride` floats (FactorTable::stride()), cache-line aligned, zero beyond the rank.
#pragma once

#include <cstddef>
#include <span>

#include "concerto/base/aligned.hpp"
#include "concerto/base/ids.hpp"

namespace concerto::cpu {

/// |row|^2.
[[nodiscard]] float squared_norm(const float* row, std::size_t stride);

/// products[k] = x . table[rows[k]], the rows gathered from memory; sums in fp32.
void gathered_products(const float* x, const float* table, std::size_t stride, std::span<const RowIndex> rows,
                       float* products);

/// scores[c] = scores[c] * scales[c] + shifts[c]; any alignment.
void scale_and_shift(std::span<float> scores, const float* scales, const float* shifts);

/// The first index >= `from` whose score exceeds `threshold`, or scores.size(); any alignment.
[[nodiscard]] std::size_t find_above(std::span<const float> scores, std::size_t from, float threshold);

}  // namespace concerto::cpu
