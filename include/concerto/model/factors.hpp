// Factor tables in host memory.
#pragma once

#include <cstdint>
#include <span>

#include "concerto/base/aligned.hpp"
#include "concerto/base/ids.hpp"

namespace concerto {

/// The shape of a factor table: `rows` vectors of `rank` floats and, if `biases`, one float a row.
struct TableShape {
  RowIndex rows = 0;
  std::uint32_t rank = 0;
  bool biases = false;
  friend bool operator==(const TableShape&, const TableShape&) = default;
};

/// The owner of one table: fp32, row-major, rows aligned to cache lines. `stride()` is the rank rounded up to 16; the
/// padding is zero and every writer keeps it zero. A new table is all zeros.
class FactorTable {
 public:
  FactorTable() = default;
  explicit FactorTable(const TableShape& shape);

  [[nodiscard]] const TableShape& shape() const noexcept { return shape_; }
  [[nodiscard]] RowIndex rows() const noexcept { return shape_.rows; }
  [[nodiscard]] std::uint32_t rank() const noexcept { return shape_.rank; }
  [[nodiscard]] std::size_t stride() const noexcept { return stride_; }
  [[nodiscard]] float* data() noexcept { return values_.data(); }
  [[nodiscard]] const float* data() const noexcept { return values_.data(); }
  [[nodiscard]] std::span<float> row(RowIndex r) noexcept { return {data() + r * stride_, shape_.rank}; }
  [[nodiscard]] std::span<const float> row(RowIndex r) const noexcept { return {data() + r * stride_, shape_.rank}; }
  [[nodiscard]] std::span<float> biases() noexcept { return biases_; }  ///< empty without biases
  [[nodiscard]] std::span<const float> biases() const noexcept { return biases_; }
  [[nodiscard]] float bias(RowIndex r) const noexcept { return biases_.empty() ? 0.0F : biases_[r]; }

  [[nodiscard]] static std::size_t padded(std::uint32_t rank) noexcept { return (std::size_t{rank} + 15) / 16 * 16; }
  /// Bytes a table of this shape takes.
  [[nodiscard]] static std::uint64_t bytes(const TableShape& shape) noexcept;

 private:
  TableShape shape_;
  std::size_t stride_ = 0;
  AlignedVector<float> values_;
  AlignedVector<float> biases_;
};

/// Fills rows with normal values of standard deviation stddev / sqrt(rank), a pure function of (seed, side, row,
/// column); biases become 0.
void initialize(FactorTable& table, Side side, std::uint64_t seed, double stddev);

}  // namespace concerto
