// The Gram matrix of some rows of a table in host memory, as it travels: for tables of which a rank has a part.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "concerto/compute/backend.hpp"

namespace concerto {

/// Sums y y^T over chosen rows: the systems of rows that have an entry of weight 1 in each of them.
class PackedGram {
 public:
  /// `rows`: in order, apart. Keeps 4 bytes a row.
  PackedGram(Backend& backend, const TableShape& shape, std::span<const RowRange> rows);

  /// Upper triangle row by row; per 1,024 rows in the backend's precision, then in double in their order. rank^2 flops
  /// a row.
  [[nodiscard]] std::vector<float> of(const Buffer& table) const;

 private:
  Backend& backend_;
  std::uint32_t rank_;
  CompressedMatrix groups_;
  std::unique_ptr<Buffer> ratings_;
};

/// The Frobenius inner product of two such.
[[nodiscard]] double inner_product(std::span<const float> a, std::span<const float> b, std::uint32_t rank);

}  // namespace concerto
