// Which kernel solves which rows, and what they are told (row_solver.hpp).
#include "row_solver.cuh"
#include "row_terms.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kClearThreads = 256;

__global__ void clear_listed_rows(const RowIndex* rows, std::uint64_t count, float* master, std::uint16_t* shadow,
                                  float* biases, std::uint64_t stride) {
  const std::uint64_t at = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= count * stride) return;
  const RowIndex row = rows[at / stride];
  const std::uint64_t column = at % stride;
  master[row * stride + column] = 0.0F;
  if (shadow != nullptr) shadow[row * stride + column] = 0;
  if (biases != nullptr && column == 0) biases[row] = 0.0F;
}

/// The widths that kernels exist for; a system takes the least that holds it.
void launch_by_width(const Stream& stream, MemoryPool& pool, const SystemArguments& a, bool is_bf16, bool equal_weights,
                     const DeviceRowPlan& plan, Scratch<float>& partials) {
  const auto run = [&](auto launch_width) { launch_width(stream, pool, a, is_bf16, equal_weights, plan, partials); };
  if (a.width <= 32) {
    run(launch_rows_of_width<32>);
  } else if (a.width <= 64) {
    run(launch_rows_of_width<64>);
  } else if (a.width <= 96) {
    run(launch_rows_of_width<96>);
  } else if (a.width <= 128) {
    run(launch_rows_of_width<128>);
  } else if (a.width <= 192) {
    run(launch_rows_of_width<192>);
  } else {
    CONCERTO_CHECK(a.width <= kMostSystemWidth, "a system wider than its kernels");
    run(launch_rows_of_width<256>);
  }
}

}  // namespace

std::uint32_t most_partial_sums(std::uint64_t width) noexcept {
  return static_cast<std::uint32_t>(
      std::max<std::size_t>(kMostSegments, kPartialBytes / (partial_floats(width) * sizeof(float))));
}

std::uint32_t light_entries(std::uint32_t width, const Objective& objective, bool exactly) {
  const bool has_dual = !objective.is_implicit() && objective.regularization > 0.0 &&
                        (!objective.biases || objective.bias_regularization > 0.0);
  return exactly && !has_dual ? 0 : width / 3;
}

bool has_equal_weights(const RatingsBuffer& ratings, const Objective& objective) noexcept {
  return !objective.is_implicit() || ratings.values.empty();
}

SystemArguments system_arguments(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                                 const TableBuffer& fixed, const GramBuffer* gram, TableBuffer& target,
                                 const Objective& objective) {
  CONCERTO_CHECK(ratings.rows == target.shape.rows && ratings.column_count == fixed.shape.rows,
                 "the ratings and the tables differ in size");
  CONCERTO_CHECK(fixed.shape.rank == target.shape.rank, "the two sides differ in rank");
  CONCERTO_CHECK(gram != nullptr || !objective.is_implicit(), "implicit objectives need the Gram matrix");
  const RowTerms& terms = row_terms(pool, stream, ratings, objective);
  SystemArguments a;
  a.columns = ratings.columns.data();
  a.values = ratings.values.empty() ? nullptr : ratings.values.data();
  a.column_biases = objective.biases ? fixed.biases.data() : nullptr;
  a.objective = objective;
  if (has_equal_weights(ratings, objective)) a.scale = objective.entry_weights(1.0F, 0.0F).gram;
  a.fixed = fixed.gathered().data;
  a.fixed_stride = fixed.stride;
  a.width = fixed.shape.rank;
  if (gram != nullptr && objective.is_implicit()) {
    a.gram = gram->values.data();
    a.gram_stride = gram->stride;
    a.base = static_cast<float>(objective.base_weight());
  }
  a.penalties = terms.penalties.data();
  a.bias_divisors = objective.biases ? terms.bias_divisors.data() : nullptr;
  a.bias_penalties = objective.biases ? terms.bias_penalties.data() : nullptr;
  a.target = target.master.data();
  a.target_shadow = target.shadow.empty() ? nullptr : target.shadow.data();
  a.target_biases = target.biases.empty() ? nullptr : target.biases.data();
  a.target_stride = target.stride;
  return a;
}

void solve_planned_rows(const Stream& stream, MemoryPool& pool, const SystemArguments& a, bool is_bf16,
                        bool equal_weights, const DeviceRowPlan& plan, Scratch<float>& partials) {
  launch_by_width(stream, pool, a, is_bf16, equal_weights, plan, partials);
  if (plan.light.empty()) return;
  const unsigned most = light_entries(a.width, a.objective, a.by_cholesky);
  const LaunchShape shape{
      .grid_x = static_cast<unsigned>(plan.light.size()),
      .block = kLightThreads,
      .shared_bytes = (kLightVectors * a.width + kScalars) * sizeof(float) + light_bytes(a.width, most)};
  launch(stream, "solve_light_rows", is_bf16 ? solve_light_rows<std::uint16_t> : solve_light_rows<float>, shape, a,
         plan.light.data(), most);
}

void clear_rows(const Stream& stream, const DeviceArray<RowIndex>& rows, TableBuffer& table) {
  if (rows.empty()) return;
  const std::uint64_t values = rows.size() * table.stride;
  launch(stream, "clear_listed_rows", clear_listed_rows,
         {.grid_x = static_cast<unsigned>((values + kClearThreads - 1) / kClearThreads), .block = kClearThreads},
         rows.data(), rows.size(), table.master.data(), table.shadow.empty() ? nullptr : table.shadow.data(),
         table.biases.empty() ? nullptr : table.biases.data(), table.stride);
}

}  // namespace concerto::cuda
