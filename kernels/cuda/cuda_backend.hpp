// The cuda backend's class and what it keeps in its Buffers. Private to kernels/cuda: everyone else sees
// make_cuda_backend (compute/backends.hpp).
//
// Layout rules that every operation relies on: a table's rows are `stride` floats, the rank rounded up to 16, with zero
// padding; with gather = bf16 the same rows stand once more as bf16 (the shadow), rounded from the master whenever the
// master changes. Whatever reads the fixed side of a step reads the shadow where there is one: Gram matrices, right
// sides and V^T V see the same rounded rows. A Gram matrix is stride x stride floats, both triangles, zero padding.
// All work goes into one stream, in order.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "concerto/base/check.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/data/ratings.hpp"
#include "concerto/model/factors.hpp"

#include "dense.hpp"
#include "row_plan.hpp"
#include "runtime.hpp"

namespace concerto::cuda {

/// A factor table on the device.
struct TableBuffer final : Buffer {
  [[nodiscard]] std::uint64_t bytes() const noexcept override {
    return master.bytes() + shadow.bytes() + biases.bytes() + accumulators.bytes();
  }
  /// What the fixed side of a step is read from.
  [[nodiscard]] MatrixView gathered() const noexcept {
    if (shadow.empty()) return {master.data(), Element::kFp32, stride};
    return {shadow.data(), Element::kBf16, stride};
  }
  TableShape shape;
  std::size_t stride = 0;
  DeviceArray<float> master;          ///< rows x stride
  DeviceArray<std::uint16_t> shadow;  ///< rows x stride of bf16; empty with gather = fp32
  DeviceArray<float> biases;          ///< rows; empty without biases
  DeviceArray<float> accumulators;    ///< of SGD (SgdStep), rows; empty until SGD needs them: then 1
};

/// What a row's penalties are under one objective; kept because they need a power a row.
struct RowTerms {
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    return penalties.bytes() + bias_divisors.bytes() + bias_penalties.bytes();
  }
  Objective objective;
  DeviceArray<float> penalties;       ///< rows: lambda n^nu
  DeviceArray<float> bias_divisors;   ///< rows: n + lambda_b n^nu; empty without biases
  DeviceArray<float> bias_penalties;  ///< rows: lambda_b n^nu; empty without biases
};

/// One orientation of the ratings on the device, and what was worked out about its rows. Offsets stay on the host too:
/// plans are made there.
struct RatingsBuffer final : Buffer {
  [[nodiscard]] std::uint64_t bytes() const noexcept override {
    return offsets.bytes() + columns.bytes() + values.bytes();
  }
  RowIndex rows = 0;
  RowIndex column_count = 0;
  std::vector<EntryIndex> host_offsets;
  std::vector<EntryIndex> positive_counts;  ///< entries with a value above 0, a row; empty without values
  DeviceArray<EntryIndex> offsets;
  DeviceArray<RowIndex> columns;
  DeviceArray<float> values;  ///< empty when every entry counts as 1

  // Caches, filled by the operations that need them; a step does not change the ratings.
  mutable std::list<RowTerms> terms;
  mutable std::map<RowPlanKey, DeviceRowPlan> plans;
};

/// Y^T Y on the device.
struct GramBuffer final : Buffer {
  [[nodiscard]] std::uint64_t bytes() const noexcept override { return values.bytes(); }
  std::uint32_t rank = 0;
  std::size_t stride = 0;
  DeviceArray<float> values;  ///< stride x stride
};

/// The concrete buffer behind a reference or pointer that a caller passed; anything else is the caller's bug.
template <class T>
[[nodiscard]] const T& buffer_as(const Buffer* buffer) {
  const auto* typed = dynamic_cast<const T*>(buffer);
  CONCERTO_CHECK(typed != nullptr, "a buffer of another kind or backend, or none, was passed to the cuda backend");
  return *typed;
}
template <class T>
[[nodiscard]] T& buffer_as(Buffer* buffer) {
  auto* typed = dynamic_cast<T*>(buffer);
  CONCERTO_CHECK(typed != nullptr, "a buffer of another kind or backend, or none, was passed to the cuda backend");
  return *typed;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(const CudaOptions& options, DeviceFacts facts);

  // backend.cpp
  [[nodiscard]] std::string_view name() const noexcept override { return "cuda"; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] std::uint64_t peak_device_bytes() const noexcept override { return pool_.peak_bytes(); }
  /// A half-sweep takes milliseconds, and one launch over all rows, longest first, balances best.
  [[nodiscard]] std::uint32_t steps_per_half_sweep() const noexcept override { return 1; }
  [[nodiscard]] double work_per_second() const noexcept override { return 2e12; }  // cautious, not measured

  /// For benchmarks: what all of the work goes into, and where all of the memory comes from.
  [[nodiscard]] const Stream& stream() const noexcept { return stream_; }
  [[nodiscard]] MemoryPool& pool() noexcept { return pool_; }

  // storage.cu
  [[nodiscard]] std::unique_ptr<Buffer> create_table(const TableShape& shape) override;
  void write_rows(Buffer& table, RowRange rows, const FactorTable& host) override;
  void read_rows(const Buffer& table, RowRange rows, FactorTable& host) const override;
  void write_state(Buffer& table, RowRange rows, std::span<const float> state) override;
  void read_state(const Buffer& table, RowRange rows, std::span<float> state) const override;
  [[nodiscard]] std::unique_ptr<Buffer> load_ratings(const CompressedRows& ratings) override;

  // gram.cu
  [[nodiscard]] std::unique_ptr<Buffer> gram(const Buffer& table) override;
  [[nodiscard]] double inner_product(const Buffer& gram_a, const Buffer& gram_b) override;

  // als.cu, subspace.cu
  void solve_rows(const SolveStep& step) override;
  void solve_slices(const SubspaceStep& step) override;

  // backend.cpp: not on a GPU, where a row's Gram matrix never leaves the registers
  [[nodiscard]] bool sums_systems() const noexcept override { return false; }
  void sum_systems(const SumStep& step, std::span<float> systems) override;
  void solve_systems(const SystemsStep& step) override;

  // sgd.cu
  using Backend::load_grid;
  [[nodiscard]] std::unique_ptr<Buffer> load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                                  const RowCounts& counts) override;
  void sgd_epoch(const SgdStep& step) override;

  // loss.cu
  [[nodiscard]] double entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users, const Buffer& items,
                                  const Objective& objective) override;
  [[nodiscard]] double penalty(const Buffer& ratings, RowRange rows, const Buffer& table,
                               const Objective& objective) override;
  [[nodiscard]] double grid_loss(const Buffer& grid, const Buffer& users, const Buffer& items,
                                 const Objective& objective) override;
  [[nodiscard]] ErrorSums prediction_errors(const CompressedRows& held_out, const Buffer& users, const Buffer& items,
                                            double mean, float low, float high) override;

  // top_k.cu
  [[nodiscard]] TopKResult top_k(const TopKQuery& query) override;

 private:
  void solve_slice_batch(const SubspaceStep& step, RowRange rows, std::uint32_t* failed_row);

  CudaOptions options_;
  DeviceFacts facts_;
  Stream stream_;
  mutable MemoryPool pool_;  // after the stream, before whatever is allocated from it
  Dense dense_;
  Scratch<float> partials_;        ///< sums of the segments of giant rows
  Scratch<float> scores_;          ///< of a subspace step's entries
  Scratch<float> slice_products_;  ///< of a slice's rows with the Gram matrix
  Scratch<float> slice_changes_;   ///< of a slice's rows
};

}  // namespace concerto::cuda
