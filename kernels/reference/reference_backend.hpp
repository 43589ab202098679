// The reference backend's class and what it keeps in its Buffers.
//
// It exists to be believed, not to be fast: serial loops, double accumulation, each operation in a file of its own that
// reads like the formula it implements. Tables are stored in fp32, as in every backend, so that results can be compared
// row by row. It keeps no scratch memory between calls.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/check.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/compute/sgd_order.hpp"
#include "concerto/data/partition.hpp"

namespace concerto::reference {

/// A factor table and its optimizer state, one adaptive accumulator a row.
class Table final : public Buffer {
 public:
  explicit Table(const TableShape& shape) : values(shape), accumulators(shape.rows, 1.0F) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override {
    return FactorTable::bytes(values.shape()) + accumulators.size() * sizeof(float);
  }
  FactorTable values;
  std::vector<float> accumulators;
};

/// One orientation of the ratings: a view of the caller's memory.
class Ratings final : public Buffer {
 public:
  explicit Ratings(const CompressedRows& matrix) : view(matrix) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override { return 0; }
  CompressedRows view;
};

/// A rank x rank matrix, row-major.
class Gram final : public Buffer {
 public:
  Gram(std::uint32_t size, std::vector<double> elements) : rank(size), values(std::move(elements)) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override { return values.size() * sizeof(double); }
  [[nodiscard]] double at(std::size_t row, std::size_t column) const noexcept { return values[row * rank + column]; }
  std::uint32_t rank;
  std::vector<double> values;
};

struct GridEntry {
  RowIndex user;
  RowIndex item;
  float value;
};

/// The blocks of sgd_order.hpp, block (p, q) at p * side + q, and what they were made of.
class Grid final : public Buffer {
 public:
  Grid(const CompressedRows& users_view, const CompressedRows& items_view) : by_user(users_view), by_item(items_view) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override;
  std::uint32_t side = 1;
  std::vector<std::vector<GridEntry>> blocks;
  Ratings by_user;
  Ratings by_item;
  std::vector<EntryIndex> user_counts;  ///< n of each row, of the whole matrix
  std::vector<EntryIndex> item_counts;
};

/// The buffer as what it must be; a buffer of another kind or backend is a bug of the caller.
template <class T>
[[nodiscard]] T& as(Buffer& buffer) {
  auto* typed = dynamic_cast<T*>(&buffer);
  CONCERTO_CHECK(typed != nullptr, "a buffer of another kind or of another backend");
  return *typed;
}
template <class T>
[[nodiscard]] const T& as(const Buffer& buffer) {
  const auto* typed = dynamic_cast<const T*>(&buffer);
  CONCERTO_CHECK(typed != nullptr, "a buffer of another kind or of another backend");
  return *typed;
}
template <class T>
[[nodiscard]] const T& as(const Buffer* buffer) {
  CONCERTO_CHECK(buffer != nullptr, "a buffer is missing");
  return as<T>(*buffer);
}
template <class T>
[[nodiscard]] T& as(Buffer* buffer) {
  CONCERTO_CHECK(buffer != nullptr, "a buffer is missing");
  return as<T>(*buffer);
}

/// x.y in double.
[[nodiscard]] double dot(std::span<const float> x, std::span<const float> y) noexcept;

/// n of a row: how many of its entries count (Objective::counts).
[[nodiscard]] EntryIndex counted_entries(const CompressedRows& matrix, RowIndex row,
                                         const Objective& objective) noexcept;

/// The parts of `rows` that lie in one chunk each, in order: the leaves of sums over rows.
[[nodiscard]] std::vector<RowRange> chunk_parts(RowIndex table_rows, RowRange rows);

class ReferenceBackend final : public Backend {
 public:
  /// `limits` of the grids that load_grid makes.
  explicit ReferenceBackend(const SgdLimits& limits) : sgd_limits_(limits) {}
  [[nodiscard]] std::string_view name() const noexcept override { return "reference"; }
  [[nodiscard]] std::string description() const override;

  // storage.cpp
  [[nodiscard]] std::unique_ptr<Buffer> create_table(const TableShape& shape) override;
  void write_rows(Buffer& table, RowRange rows, const FactorTable& host) override;
  void read_rows(const Buffer& table, RowRange rows, FactorTable& host) const override;
  void write_state(Buffer& table, RowRange rows, std::span<const float> state) override;
  void read_state(const Buffer& table, RowRange rows, std::span<float> state) const override;
  [[nodiscard]] std::unique_ptr<Buffer> load_ratings(const CompressedRows& ratings) override;
  using Backend::load_grid;
  [[nodiscard]] std::unique_ptr<Buffer> load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                                  const RowCounts& counts) override;
  // gram.cpp
  [[nodiscard]] std::unique_ptr<Buffer> gram(const Buffer& table) override;
  [[nodiscard]] double inner_product(const Buffer& gram_a, const Buffer& gram_b) override;
  // als.cpp, subspace.cpp
  void solve_rows(const SolveStep& step) override;
  void solve_slices(const SubspaceStep& step) override;
  // systems.cpp
  [[nodiscard]] bool sums_systems() const noexcept override { return true; }
  void sum_systems(const SumStep& step, std::span<float> systems) override;
  void solve_systems(const SystemsStep& step) override;
  // sgd.cpp
  void sgd_epoch(const SgdStep& step) override;
  // loss.cpp
  [[nodiscard]] double entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users, const Buffer& items,
                                  const Objective& objective) override;
  [[nodiscard]] double penalty(const Buffer& ratings, RowRange rows, const Buffer& table,
                               const Objective& objective) override;
  [[nodiscard]] double grid_loss(const Buffer& grid, const Buffer& users, const Buffer& items,
                                 const Objective& objective) override;
  [[nodiscard]] ErrorSums prediction_errors(const CompressedRows& held_out, const Buffer& users, const Buffer& items,
                                            double mean, float low, float high) override;
  // top_k.cpp
  [[nodiscard]] TopKResult top_k(const TopKQuery& query) override;

 private:
  SgdLimits sgd_limits_;
};

}  // namespace concerto::reference
