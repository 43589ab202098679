// Rows of a table without padding, one after another in a buffer, as they travel: rank floats, then the bias and the
// optimizer state if there are any.
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

/// A table on the host as it travels: factors and biases, and the optimizer state, one float a row, where rows have
/// one.
struct HostRows {
  FactorTable factors;
  std::vector<float> state;  ///< empty: none

  /// A checksum of all that the rows are. Copies nothing.
  [[nodiscard]] std::uint64_t digest(RowRange rows) const {
    ChecksumStream stream;
    const auto add = [&](std::span<const float> values) { stream.update(std::as_bytes(values)); };
    if (factors.stride() == factors.shape().rank) {
      add({factors.data() + rows.begin * factors.stride(), rows.size() * factors.stride()});
    } else {
      for (RowIndex r = rows.begin; r < rows.end; ++r) add(factors.row(r));
    }
    if (factors.shape().biases) add(factors.biases().subspan(rows.begin, rows.size()));
    if (!state.empty()) add(std::span(state).subspan(rows.begin, rows.size()));
    return stream.digest();
  }
};

/// The whole table's place in a buffer; which rows of it are up to date is the user's to know. Host memory.
class PackedRows {
 public:
  PackedRows() = default;
  PackedRows(const TableShape& shape, bool has_state)
      : rank_(shape.rank), biases_(shape.biases), has_state_(has_state), buffer_(bytes_of(shape.rows)) {}

  [[nodiscard]] std::size_t row_bytes() const noexcept {
    return (rank_ + (biases_ ? 1U : 0U) + (has_state_ ? 1U : 0U)) * sizeof(float);
  }
  [[nodiscard]] std::size_t bytes_of(RowIndex rows) const noexcept { return rows * row_bytes(); }
  [[nodiscard]] std::size_t offset(RowIndex row) const noexcept { return row * row_bytes(); }
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return buffer_; }
  [[nodiscard]] std::span<std::byte> bytes(RowRange rows) noexcept {
    return bytes().subspan(offset(rows.begin), bytes_of(rows.size()));
  }

  void pack(const HostRows& host, RowRange rows) {
    std::byte* to = buffer_.data() + offset(rows.begin);
    const auto put = [&to](const float* from, std::size_t count) {
      std::memcpy(to, from, count * sizeof(float));
      to += count * sizeof(float);
    };
    for (RowIndex r = rows.begin; r < rows.end; ++r) {
      put(host.factors.row(r).data(), rank_);
      if (biases_) put(&host.factors.biases()[r], 1);
      if (has_state_) put(&host.state[r], 1);
    }
  }
  void unpack(RowRange rows, HostRows& host) const {
    const std::byte* from = buffer_.data() + offset(rows.begin);
    const auto take = [&from](float* to, std::size_t count) {
      std::memcpy(to, from, count * sizeof(float));
      from += count * sizeof(float);
    };
    for (RowIndex r = rows.begin; r < rows.end; ++r) {
      take(host.factors.row(r).data(), rank_);
      if (biases_) take(&host.factors.biases()[r], 1);
      if (has_state_) take(&host.state[r], 1);
    }
  }

 private:
  std::uint32_t rank_ = 0;
  bool biases_ = false;
  bool has_state_ = false;
  std::vector<std::byte> buffer_;
};

}  // namespace concerto
