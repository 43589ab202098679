// The cpu backend's class and buffers, shared by the files that implement it, one file per operation. Private to
// kernels/cpu: everyone else sees make_cpu_backend (compute/backends.hpp).
//
// Layout rules that every operation relies on: table rows are FactorTable::stride() floats, cache-line aligned, with
// zero padding; a Gram matrix is stride x stride floats, symmetric, with zero padding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/aligned.hpp"
#include "concerto/base/check.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/data/ratings.hpp"
#include "concerto/model/factors.hpp"

namespace concerto::cpu {

/// A factor table and, for SGD, one AdaGrad accumulator a row (see SgdStep), 1 until changed.
struct TableBuffer final : Buffer {
  explicit TableBuffer(const TableShape& shape) : factors(shape), accumulators(shape.rows, 1.0F) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override {
    return FactorTable::bytes(factors.shape()) + accumulators.size() * sizeof(float);
  }
  FactorTable factors;
  AlignedVector<float> accumulators;
};

/// A view of the caller's ratings in one orientation.
struct RatingsBuffer final : Buffer {
  explicit RatingsBuffer(const CompressedRows& ratings) : view(ratings) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override { return 0; }
  CompressedRows view;
};

/// Y^T Y: stride x stride floats, both triangles filled, zero padding, and one vector more: slices of its rows may be
/// read in whole vectors.
struct GramBuffer final : Buffer {
  explicit GramBuffer(std::uint32_t gram_rank)
      : rank(gram_rank), stride(FactorTable::padded(gram_rank)), values(stride * stride + 16, 0.0F) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override { return values.size() * sizeof(float); }
  std::uint32_t rank;
  std::size_t stride;
  AlignedVector<float> values;
};

/// The concrete buffer behind a reference or pointer that a caller passed; anything else is the caller's bug.
template <class T>
[[nodiscard]] const T& buffer_as(const Buffer* buffer) {
  const auto* typed = dynamic_cast<const T*>(buffer);
  CONCERTO_CHECK(typed != nullptr, "a buffer of another kind or backend, or none, was passed to the cpu backend");
  return *typed;
}
template <class T>
[[nodiscard]] T& buffer_as(Buffer* buffer) {
  auto* typed = dynamic_cast<T*>(buffer);
  CONCERTO_CHECK(typed != nullptr, "a buffer of another kind or backend, or none, was passed to the cpu backend");
  return *typed;
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(ThreadPool& pool) : pool_(pool) {}

  // storage.cpp
  [[nodiscard]] std::string_view name() const noexcept override { return "cpu"; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] double work_per_second() const noexcept override { return 5e9 * pool_.size(); }
  [[nodiscard]] std::unique_ptr<Buffer> create_table(const TableShape& shape) override;
  void write_rows(Buffer& table, RowRange rows, const FactorTable& host) override;
  void read_rows(const Buffer& table, RowRange rows, FactorTable& host) const override;
  void write_state(Buffer& table, RowRange rows, std::span<const float> state) override;
  void read_state(const Buffer& table, RowRange rows, std::span<float> state) const override;
  [[nodiscard]] std::unique_ptr<Buffer> load_ratings(const CompressedRows& ratings) override;

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
  using Backend::load_grid;
  [[nodiscard]] std::unique_ptr<Buffer> load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                                  const RowCounts& counts) override;
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
  ThreadPool& pool_;
};

}  // namespace concerto::cpu
