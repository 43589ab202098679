// What each operation must move and compute at least, and how long that takes a device with the measured ceilings.
//
// Formulas over shapes alone, tested on the host. They count what the method needs, not what a kernel happens to do:
// each array once where it is streamed, a factor row once for each entry where it is gathered, half of a symmetric
// matrix.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "concerto/base/ids.hpp"
#include "concerto/compute/backend.hpp"

namespace concerto::bench {

/// What a device reached in the ceilings step; bytes a second and flops a second.
struct Ceilings {
  double copy = 0.0;           ///< device to device, read and written bytes
  double gather_l2_128 = 0.0;  ///< rows of 128 bytes of a table that stays in L2
  double gather_l2_256 = 0.0;
  double gather_memory_128 = 0.0;
  double gather_memory_256 = 0.0;
  double bf16_flops = 0.0;
  double fp32_flops = 0.0;
  std::size_t l2_bytes = 0;
};

/// What an operation needs.
struct Work {
  double stream_bytes = 0.0;  ///< read or written once, in order
  double gather_bytes = 0.0;  ///< whole rows of a table, in random order
  double row_bytes = 0.0;     ///< of that table
  double table_bytes = 0.0;
  double tensor_flops = 0.0;  ///< products with bf16 operands
  double vector_flops = 0.0;  ///< fp32
};

inline Work operator+(const Work& a, const Work& b) {
  return {a.stream_bytes + b.stream_bytes,        a.gather_bytes + b.gather_bytes, std::max(a.row_bytes, b.row_bytes),
          std::max(a.table_bytes, b.table_bytes), a.tensor_flops + b.tensor_flops, a.vector_flops + b.vector_flops};
}

inline constexpr double kEntryBytes = 8.0;     ///< a column and a value
inline constexpr double kGatheredBytes = 2.0;  ///< an element of the bf16 shadow
inline constexpr double kMasterBytes = 4.0;

struct Shape {
  RowIndex rows = 0;        ///< of the side that is solved or read in order
  RowIndex fixed_rows = 0;  ///< of the side that is gathered
  EntryIndex entries = 0;
  std::uint32_t rank = 0;
};

/// V^T V of a table: its rows once, half of a symmetric product.
[[nodiscard]] inline Work gram_work(RowIndex rows, std::uint32_t rank) {
  const double n = rows;
  const double f = rank;
  return {.stream_bytes = n * f * kGatheredBytes, .tensor_flops = n * f * (f + 1.0)};
}

/// A half-sweep of ALS. Gram matrices on tensor cores, then the solver; cg reads the row it starts from.
[[nodiscard]] inline Work als_work(const Shape& shape, InnerSolver inner, std::uint32_t cg_steps) {
  const double m = shape.rows;
  const double f = shape.rank;
  const double n = static_cast<double>(shape.entries);
  Work work;
  work.row_bytes = f * kGatheredBytes;
  work.table_bytes = shape.fixed_rows * work.row_bytes;
  work.gather_bytes = n * work.row_bytes;
  const double reads = inner == InnerSolver::kCg ? kMasterBytes : 0.0;
  work.stream_bytes = n * kEntryBytes + m * (8.0 + f * (kMasterBytes + kGatheredBytes + reads));
  work.tensor_flops = n * f * (f + 1.0);
  work.vector_flops = 2.0 * n * f;  // the right side
  work.vector_flops +=
      inner == InnerSolver::kCg ? m * (cg_steps + 1.0) * 2.0 * f * f : m * (f * f * f / 3.0 + 2.0 * f * f);
  return work;
}

/// A half-sweep of iALS++: for each slice of width s the rows' slices and, from the second on, their scores kept.
[[nodiscard]] inline Work subspace_work(const Shape& shape, std::uint32_t slice) {
  const double m = shape.rows;
  const double f = shape.rank;
  const double s = std::min(slice, shape.rank);
  const double n = static_cast<double>(shape.entries);
  const double slices = static_cast<double>((shape.rank + slice - 1) / slice);
  Work work;
  work.row_bytes = f * kGatheredBytes;
  work.table_bytes = shape.fixed_rows * work.row_bytes;
  work.gather_bytes = 2.0 * n * work.row_bytes;  // once for the scores, once slice by slice
  work.stream_bytes = slices * n * (kEntryBytes + 4.0) + m * (8.0 + f * (2.0 * kMasterBytes + kGatheredBytes));
  work.tensor_flops = slices * n * s * (s + 1.0);
  work.vector_flops = 4.0 * n * f + slices * m * (s * s * s / 3.0 + 2.0 * s * s);
  return work;
}

/// What implicit objectives add to that half-sweep: each row times the Gram matrix of the other side, slice by slice.
[[nodiscard]] inline Work gram_product_work(RowIndex rows, std::uint32_t rank) {
  const double m = rows;
  const double f = rank;
  return {.stream_bytes = f * f * kMasterBytes + m * f * kMasterBytes, .vector_flops = 2.0 * m * f * f};
}

/// An SGD epoch over entries in the order of blocks: a user's row once in a run of its entries (counted once a row), an
/// item's row read and written for each entry, at two bytes an element. 10 flops an element.
[[nodiscard]] inline Work sgd_work(const Shape& shape) {
  const double f = shape.rank;
  const double n = static_cast<double>(shape.entries);
  Work work;
  work.row_bytes = f * kGatheredBytes;
  work.table_bytes = shape.fixed_rows * work.row_bytes;
  work.gather_bytes = 2.0 * n * work.row_bytes;
  work.stream_bytes = n * kEntryBytes + 2.0 * shape.rows * f * kMasterBytes;
  work.vector_flops = 10.0 * n * f;
  return work;
}

/// Scores of all pairs, once; both tables once; the entries to leave out; k answers a query.
[[nodiscard]] inline Work top_k_work(const Shape& shape, std::uint32_t k) {
  const double m = shape.rows;
  const double f = shape.rank;
  return {.stream_bytes =
              (m + shape.fixed_rows) * f * kGatheredBytes + static_cast<double>(shape.entries) * 4.0 + m * k * 8.0,
          .tensor_flops = 2.0 * m * shape.fixed_rows * f};
}

/// The error of every entry: the other side's row gathered in fp32, the own row once.
[[nodiscard]] inline Work entry_loss_work(const Shape& shape) {
  const double f = shape.rank;
  const double n = static_cast<double>(shape.entries);
  Work work;
  work.row_bytes = f * kMasterBytes;
  work.table_bytes = shape.fixed_rows * work.row_bytes;
  work.gather_bytes = n * work.row_bytes;
  work.stream_bytes = n * kEntryBytes + shape.rows * (8.0 + work.row_bytes);
  work.vector_flops = 2.0 * n * f;
  return work;
}

/// Triples to both orientations on the device: read once, a key and a value of an entry written and read once for each
/// orientation's sort at least, both orientations written.
[[nodiscard]] inline Work build_work(RowIndex users, RowIndex items, EntryIndex entries) {
  const double n = static_cast<double>(entries);
  return {.stream_bytes = n * 12.0 + 2.0 * n * 24.0 + 2.0 * n * kEntryBytes + 8.0 * (double{1} * users + items)};
}
/// What crosses the bus: user, item, value.
[[nodiscard]] inline double triple_bytes(EntryIndex entries) {
  return 12.0 * static_cast<double>(entries);
}

/// Both orientations as the backend holds them.
[[nodiscard]] inline double orientations_bytes(RowIndex users, RowIndex items, EntryIndex entries) {
  return 2.0 * kEntryBytes * static_cast<double>(entries) + 8.0 * (double{1} * users + items + 2.0);
}
/// The masters and their bf16 copies; `rank` a multiple of 16.
[[nodiscard]] inline double factors_bytes(RowIndex users, RowIndex items, std::uint32_t rank) {
  return (double{1} * users + items) * rank * (kMasterBytes + kGatheredBytes);
}

struct Roofline {
  double seconds = 0.0;  ///< the largest of the parts
  std::string_view bound_by;
  std::array<double, 4> parts{};  ///< memory, gather, tensor, vector: seconds each would take alone
};
inline constexpr std::array<std::string_view, 4> kRooflineParts = {"memory", "gather", "tensor", "vector"};

/// Seconds that the work takes at least if everything overlaps. A table that fits into four fifths of L2 is gathered at
/// L2's rate, a larger one at the memory's.
[[nodiscard]] inline Roofline roofline(const Work& work, const Ceilings& ceilings) {
  const auto over = [](double amount, double rate) { return amount > 0.0 && rate > 0.0 ? amount / rate : 0.0; };
  const bool is_resident = work.table_bytes <= 0.8 * static_cast<double>(ceilings.l2_bytes);
  const bool is_short = work.row_bytes < 192.0;
  const double gather_rate = is_resident ? (is_short ? ceilings.gather_l2_128 : ceilings.gather_l2_256)
                                         : (is_short ? ceilings.gather_memory_128 : ceilings.gather_memory_256);
  Roofline result;
  const double from_memory = work.stream_bytes + std::min(work.gather_bytes, work.table_bytes);
  result.parts = {over(from_memory, ceilings.copy), over(work.gather_bytes, gather_rate),
                  over(work.tensor_flops, ceilings.bf16_flops), over(work.vector_flops, ceilings.fp32_flops)};
  const auto largest = std::max_element(result.parts.begin(), result.parts.end());
  result.seconds = *largest;
  result.bound_by = kRooflineParts[static_cast<std::size_t>(largest - result.parts.begin())];
  return result;
}

}  // namespace concerto::bench
