// Rows of a table without padding, one after another in a buffer, as they travel: rank floats, then the bias if there
// is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "concerto/base/checksum.hpp"
#include "concerto/base/ids.hpp"
#include "concerto/model/factors.hpp"

namespace concerto {

/// The whole table's place in a buffer; which rows of it are up to date is the user's to know. Host memory.
class PackedRows {
 public:
  PackedRows() = default;
  explicit PackedRows(const TableShape& shape)
      : rank_(shape.rank), biases_(shape.biases), buffer_(bytes_of(shape.rows)) {}

  [[nodiscard]] std::size_t row_bytes() const noexcept { return (rank_ + (biases_ ? 1U : 0U)) * sizeof(float); }
  [[nodiscard]] std::size_t bytes_of(RowIndex rows) const noexcept { return rows * row_bytes(); }
  [[nodiscard]] std::size_t offset(RowIndex row) const noexcept { return row * row_bytes(); }
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return buffer_; }

  void pack(const FactorTable& table, RowRange rows) { pack(table, rows, buffer_.data() + offset(rows.begin)); }
  void unpack(RowRange rows, FactorTable& table) const {
    const std::byte* from = buffer_.data() + offset(rows.begin);
    for (RowIndex r = rows.begin; r < rows.end; ++r, from += row_bytes()) {
      std::memcpy(table.row(r).data(), from, rank_ * sizeof(float));
      if (biases_) std::memcpy(&table.biases()[r], from + rank_ * sizeof(float), sizeof(float));
    }
  }
  /// The checksum of the rows as they would travel.
  [[nodiscard]] std::uint64_t digest(const FactorTable& table, RowRange rows) const {
    std::vector<std::byte> bytes(bytes_of(rows.size()));
    pack(table, rows, bytes.data());
    return checksum(bytes);
  }

 private:
  void pack(const FactorTable& table, RowRange rows, std::byte* to) const {
    for (RowIndex r = rows.begin; r < rows.end; ++r, to += row_bytes()) {
      std::memcpy(to, table.row(r).data(), rank_ * sizeof(float));
      const float bias = table.bias(r);
      if (biases_) std::memcpy(to + rank_ * sizeof(float), &bias, sizeof bias);
    }
  }

  std::uint32_t rank_ = 0;
  bool biases_ = false;
  std::vector<std::byte> buffer_;
};

}  // namespace concerto
