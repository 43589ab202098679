// Factor tables in host memory and their random start. What a table means belongs to the objective, how it is stored
// on disk to the model files.
#include "concerto/model/factors.hpp"

#include <algorithm>
#include <cmath>

#include "concerto/base/check.hpp"
#include "concerto/base/rng.hpp"

namespace concerto {

FactorTable::FactorTable(const TableShape& shape)
    : shape_(shape),
      stride_(padded(shape.rank)),
      values_(std::size_t{shape.rows} * stride_),
      biases_(shape.biases ? shape.rows : 0) {
  CONCERTO_CHECK(shape.rank > 0, "a factor table has at least one column");
}

std::uint64_t FactorTable::bytes(const TableShape& shape) noexcept {
  const std::uint64_t floats_per_row = padded(shape.rank) + (shape.biases ? 1U : 0U);
  return std::uint64_t{shape.rows} * floats_per_row * sizeof(float);
}

void initialize(FactorTable& table, Side side, std::uint64_t seed, double stddev) {
  const double scale = stddev / std::sqrt(static_cast<double>(std::max(1U, table.rank())));
  const auto table_key = static_cast<std::uint32_t>(side);
  for (RowIndex r = 0; r < table.rows(); ++r) {
    const std::span<float> row = table.row(r);
    for (std::uint32_t column = 0; column < table.rank(); ++column) {
      row[column] = static_cast<float>(scale * static_cast<double>(normal_at(seed, table_key, r, column)));
    }
  }
  std::ranges::fill(table.biases(), 0.0F);
}

}  // namespace concerto
