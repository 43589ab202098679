// A subspace step (iALS++): for each slice of the rank in turn, every row's slice solved exactly given the others.
//
// A slice's systems are those of ALS over a part of the columns, so row_solver.cuh solves them: its right side needs
// each entry's present score x.y_k, kept for the step (4 bytes an entry) and moved by each slice's change, and the
// dense part of the gradient, one product with the Gram matrix a slice for all rows. Rows are taken in batches that
// bound both. Per slice an entry's slice is gathered twice, once for the Gram matrix and once for the scores.
//
// Source: Rendle, Krichene, Zhang and Koren 2021, "iALS++", algorithm 1.
#include <algorithm>

#include "concerto/base/error.hpp"

#include "failed_row.hpp"
#include "row_solver.cuh"
#include "row_terms.hpp"
#include "subspace_batch.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kScoreThreads = 128;
constexpr unsigned kScoreWarps = kScoreThreads / 32;
/// Columns of a score that one launch adds: their vector is in shared memory.
constexpr std::uint32_t kScoreColumns = 8192;
constexpr unsigned kBiasThreads = 128;

/// What the scores of a row's entries grow by: vectors . fixed rows, over a run of columns.
struct ScoreArguments {
  const RowIndex* columns = nullptr;
  const void* fixed = nullptr;
  std::uint64_t fixed_stride = 0;
  std::uint32_t column_begin = 0;
  std::uint32_t width = 0;
  const float* vectors = nullptr;  ///< width floats of row r at (r - first_row) * vector_stride
  std::uint64_t vector_stride = 0;
  RowIndex first_row = 0;
  float* scores = nullptr;  ///< of entry k at k - first_entry
  EntryIndex first_entry = 0;
  bool is_first = false;  ///< set the scores instead of adding to them
};

/// Four neighbouring columns of a fixed row.
__device__ inline float4 four_columns(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}
__device__ inline float4 four_columns(const std::uint16_t* from) {
  const uint2 pairs = *reinterpret_cast<const uint2*>(from);
  return {bf16_low(pairs.x), bf16_high(pairs.x), bf16_low(pairs.y), bf16_high(pairs.y)};
}

/// A warp an entry, lanes along the columns, four at a time where the run begins at a multiple of four.
template <class Element>
__global__ void __launch_bounds__(kScoreThreads) add_scores(const ScoreArguments a, const WorkItem* items) {
  const WorkItem item = items[blockIdx.x];
  auto* vector = reinterpret_cast<float*>(dynamic_shared());
  const std::uint32_t padded = (a.width + 127) / 128 * 128;
  const float* from = a.vectors + std::uint64_t{item.row - a.first_row} * a.vector_stride;
  for (std::uint32_t c = threadIdx.x; c < padded; c += kScoreThreads) vector[c] = c < a.width ? from[c] : 0.0F;
  __syncthreads();
  const unsigned lane = threadIdx.x % 32;
  const bool by_four = a.column_begin % 4 == 0;
  const std::uint64_t there = a.fixed_stride - a.column_begin;
  for (std::uint32_t k = threadIdx.x / 32; k < item.length; k += kScoreWarps) {
    const EntryIndex entry = item.begin + k;
    const auto* row = static_cast<const Element*>(a.fixed) + a.columns[entry] * a.fixed_stride + a.column_begin;
    float sum = 0.0F;
    if (by_four) {
      for (std::uint32_t c = 4 * lane; c < padded; c += 128) {
        if (c >= there) break;  // the row ends; its stride is a multiple of four
        const float4 y = four_columns(row + c);
        const float4 x = *reinterpret_cast<const float4*>(vector + c);
        sum += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
      }
    } else {
      for (std::uint32_t c = lane; c < a.width; c += 32) sum += vector[c] * element_value(row[c]);
    }
    for (unsigned step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, step);
    if (lane == 0) {
      float& score = a.scores[entry - a.first_entry];
      score = a.is_first ? sum : score + sum;
    }
  }
}

/// The bias that goes with the row as it is now: the sum of what the entries are short of, over the divisor.
__global__ void __launch_bounds__(kBiasThreads)
    solve_biases(const SystemArguments a, const EntryIndex* offsets, RowIndex begin) {
  const RowIndex row = begin + blockIdx.x;
  if (offsets[row] == offsets[row + 1]) return;  // cleared elsewhere
  float sum = 0.0F;
  for (EntryIndex entry = offsets[row] + threadIdx.x; entry < offsets[row + 1]; entry += kBiasThreads) {
    const float value = a.values != nullptr ? a.values[entry] : 1.0F;
    const auto weights = a.objective.entry_weights(value, a.column_biases[a.columns[entry]]);
    sum += weights.right - a.scores[entry - a.first_entry];
  }
  sum = block_sum(sum, reinterpret_cast<float*>(dynamic_shared()));
  if (threadIdx.x == 0) a.target_biases[row] = sum / a.bias_divisors[row];
}

void launch_scores(const Stream& stream, const ScoreArguments& a, bool is_bf16, const DeviceRowPlan& plan) {
  const auto run = [&](const DeviceArray<WorkItem>& items) {
    if (items.empty()) return;
    const LaunchShape shape{.grid_x = static_cast<unsigned>(items.size()),
                            .block = kScoreThreads,
                            .shared_bytes = (a.width + 127) / 128 * 128 * sizeof(float)};
    launch(stream, "add_scores", is_bf16 ? add_scores<std::uint16_t> : add_scores<float>, shape, a, items.data());
  };
  run(plan.medium);
  run(plan.segments);
}

/// The scores of all entries of a batch under the factors as they are.
void first_scores(const Stream& stream, ScoreArguments a, const SystemArguments& system, bool is_bf16,
                  const DeviceRowPlan& plan) {
  a.is_first = true;
  for (std::uint32_t begin = 0; begin < system.width; begin += kScoreColumns) {
    a.column_begin = begin;
    a.width = std::min(kScoreColumns, system.width - begin);
    a.vectors = system.target + a.first_row * system.target_stride + begin;
    a.vector_stride = system.target_stride;
    launch_scores(stream, a, is_bf16, plan);
    a.is_first = false;
  }
}

}  // namespace

void CudaBackend::solve_slices(const SubspaceStep& step) {
  const auto& ratings = buffer_as<RatingsBuffer>(step.ratings);
  CONCERTO_CHECK(step.slice > 0, "an empty slice");
  CONCERTO_CHECK(step.rows.begin <= step.rows.end && step.rows.end <= ratings.rows, "rows outside the table");
  const std::uint32_t width = std::min(step.slice, buffer_as<TableBuffer>(step.target).shape.rank);
  if (width > kMostSystemWidth) {
    throw Error(ErrorCode::kUnsupported,
                "not supported on cuda: slices of more than " + std::to_string(kMostSystemWidth) +
                    " columns; lower it, or use compute.backend = \"cpu\"",
                "solver.slice");
  }
  FailedRow failed(pool_, stream_);
  for (const RowRange rows : subspace_batches(ratings.host_offsets, step.rows, width)) {
    solve_slice_batch(step, rows, failed.device());
  }
  failed.check(stream_, RowSystem::kSlice, ratings, step.objective);
}

void CudaBackend::solve_slice_batch(const SubspaceStep& step, RowRange rows, std::uint32_t* failed_row) {
  const auto& ratings = buffer_as<RatingsBuffer>(step.ratings);
  const auto& fixed = buffer_as<TableBuffer>(step.fixed);
  auto& target = buffer_as<TableBuffer>(step.target);
  const GramBuffer* gram = step.objective.is_implicit() ? &buffer_as<GramBuffer>(step.gram) : nullptr;
  const DeviceRowPlan& plan = row_plan(pool_, stream_, ratings, step.objective, rows, {0, kSegmentEntries});
  SystemArguments a = system_arguments(pool_, stream_, ratings, fixed, gram, target, step.objective);
  const bool is_bf16 = !fixed.shadow.empty();
  const std::uint32_t rank = a.width;
  const std::uint64_t slice_values = std::uint64_t{rows.size()} * std::min(step.slice, rank);
  a.is_slice = true;
  a.by_cholesky = true;
  a.failed_row = failed_row;
  a.first_row = rows.begin;
  a.first_entry = ratings.host_offsets[rows.begin];
  float* scores = scores_.at_least(pool_, ratings.host_offsets[rows.end] - a.first_entry, "scores of a subspace step");
  float* dense_products =
      gram != nullptr ? slice_products_.at_least(pool_, slice_values, "products of a subspace step") : nullptr;
  a.scores = scores;
  a.dense_product = dense_products;
  a.changes = slice_changes_.at_least(pool_, slice_values, "changes of a subspace step");

  ScoreArguments s;
  s.columns = a.columns;
  s.fixed = a.fixed;
  s.fixed_stride = a.fixed_stride;
  s.first_row = rows.begin;
  s.scores = scores;
  s.first_entry = a.first_entry;
  first_scores(stream_, s, a, is_bf16, plan);
  for (std::uint32_t begin = 0; begin < rank; begin += step.slice) {
    a.column_begin = begin;
    a.width = std::min(step.slice, rank - begin);
    if (gram != nullptr) {
      dense_.product(rows.size(), a.width, rank,
                     {a.target + rows.begin * a.target_stride, Element::kFp32, target.stride},
                     {a.gram + begin, Element::kFp32, gram->stride}, dense_products, a.width);
    }
    solve_planned_rows(stream_, pool_, a, is_bf16, has_equal_weights(ratings, step.objective), plan, partials_);
    if (begin + a.width == rank && !step.objective.biases) break;  // nobody reads the last scores
    s.column_begin = begin;
    s.width = a.width;
    s.vectors = a.changes;
    s.vector_stride = a.width;
    launch_scores(stream_, s, is_bf16, plan);
  }
  if (step.objective.biases && rows.size() > 0) {
    launch(stream_, "solve_biases", solve_biases,
           {.grid_x = rows.size(), .block = kBiasThreads, .shared_bytes = kScalars * sizeof(float)}, a,
           ratings.offsets.data(), rows.begin);
  }
  clear_rows(stream_, plan.empty, target);
}

}  // namespace concerto::cuda
