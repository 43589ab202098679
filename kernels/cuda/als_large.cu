// ALS steps of large ranks: the step as a plan of batches, and conjugate gradient in lockstep over a batch.
//
// CG never forms a row's matrix. One step of all rows of a batch is a dense product of their directions with Y^T Y
// (where there is a dense part), the sums over their entries (large_rows.cu), and a block a row that puts the parts
// together and updates the row's vectors. Sources and stopping rules as in kernels/reference/als.cpp. Nothing is
// preconditioned.
#include <algorithm>

#include "concerto/base/error.hpp"

#include "als_large.hpp"
#include "device/launch.cuh"
#include "failed_row.hpp"
#include "large_sums.cuh"
#include "row_terms.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 256;
constexpr std::size_t kReductionBytes = 32 * sizeof(float);

/// The vectors of CG beside x, at slot * stride.
struct CgVectors {
  float* residual = nullptr;
  float* direction = nullptr;
  float* image = nullptr;
  const float* dense_product = nullptr;  ///< Y^T Y times what the image is of; null where base is 0
};

/// Component c of A v without the bias's term, from the sums of `parts` parts, image first.
__device__ __forceinline__ float image_at(const LargeRows& a, const CgVectors& cg, const LargeRow& row, unsigned parts,
                                          float penalty, const float* v, std::uint64_t c) {
  float value = total_at(a, row, parts, 0, c) + penalty * v[c];
  if (cg.dense_product != nullptr) value += a.base * cg.dense_product[blockIdx.x * a.stride + c];
  return value;
}

/// From image, right side (and s) of the present x: residual, first direction and the row's state.
__global__ void start_rows(LargeRows a, CgVectors cg) {
  auto* scratch = reinterpret_cast<float*>(dynamic_shared());
  const LargeRow row = a.rows[blockIdx.x];
  const bool is_biased = a.bias_divisors != nullptr;
  const unsigned parts = is_biased ? 3 : 2;
  const float penalty = a.penalties[row.row];
  const std::uint64_t base = blockIdx.x * a.stride;
  const float* x = a.x + base;
  const float residual_sum = residual_total(a, row, scratch);
  float share_of_x = 0.0F;
  float share_of_right = 0.0F;
  if (is_biased) {
    float product = 0.0F;
    for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) {
      const float s = total_at(a, row, parts, 2, c);
      a.sums[base + c] = s;
      product += s * x[c];
    }
    share_of_x = block_sum(product, scratch) / a.bias_divisors[row.row];
    share_of_right = residual_sum / a.bias_divisors[row.row];
  }
  float right_norm = 0.0F;
  float norm = 0.0F;
  for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) {
    const float s = is_biased ? a.sums[base + c] : 0.0F;
    const float right = total_at(a, row, parts, 1, c) - s * share_of_right;
    const float residual = right - (image_at(a, cg, row, parts, penalty, x, c) - s * share_of_x);
    cg.residual[base + c] = residual;
    cg.direction[base + c] = residual;
    right_norm += right * right;
    norm += residual * residual;
  }
  right_norm = block_sum(right_norm, scratch);
  norm = block_sum(norm, scratch);
  if (threadIdx.x == 0) {
    const float floor = static_cast<float>(kCgNegligible) * right_norm;
    a.states[blockIdx.x] = {norm, floor, residual_sum, norm > floor ? 1U : 0U};
  }
}

/// One step of every active row, from the image of its direction.
__global__ void advance_rows(LargeRows a, CgVectors cg) {
  auto* scratch = reinterpret_cast<float*>(dynamic_shared());
  const RowState state = a.states[blockIdx.x];
  if (state.is_active == 0) return;
  const LargeRow row = a.rows[blockIdx.x];
  const float penalty = a.penalties[row.row];
  const std::uint64_t base = blockIdx.x * a.stride;
  float* direction = cg.direction + base;
  float share = 0.0F;
  if (a.bias_divisors != nullptr) {
    float product = 0.0F;
    for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) product += a.sums[base + c] * direction[c];
    share = block_sum(product, scratch) / a.bias_divisors[row.row];
  }
  float curvature = 0.0F;
  for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) {
    float image = image_at(a, cg, row, 1, penalty, direction, c);
    if (a.bias_divisors != nullptr) image -= a.sums[base + c] * share;
    cg.image[base + c] = image;
    curvature += direction[c] * image;
  }
  curvature = block_sum(curvature, scratch);
  if (!(curvature > 0.0F)) {
    if (threadIdx.x == 0) a.states[blockIdx.x].is_active = 0;
    return;
  }
  const float length = state.norm / curvature;
  float next = 0.0F;
  for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) {
    a.x[base + c] += length * direction[c];
    const float residual = cg.residual[base + c] - length * cg.image[base + c];
    cg.residual[base + c] = residual;
    next += residual * residual;
  }
  next = block_sum(next, scratch);
  const float kept = next / state.norm;
  for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) {
    direction[c] = cg.residual[base + c] + kept * direction[c];
  }
  if (threadIdx.x == 0) a.states[blockIdx.x] = {next, state.floor, state.residual_sum, next > state.floor ? 1U : 0U};
}

void check_step(const SolveStep& step) {
  const auto& ratings = buffer_as<RatingsBuffer>(step.ratings);
  const auto& fixed = buffer_as<TableBuffer>(step.fixed);
  const auto& target = buffer_as<TableBuffer>(step.target);
  CONCERTO_CHECK(
      step.rows.begin <= step.rows.end && step.rows.end <= target.shape.rows && ratings.rows == target.shape.rows,
      "rows outside the table");
  CONCERTO_CHECK(ratings.column_count == fixed.shape.rows, "the ratings and the fixed side differ in size");
  CONCERTO_CHECK(fixed.shape.rank == target.shape.rank, "the two tables differ in rank");
  CONCERTO_CHECK(!step.objective.is_implicit() || buffer_as<GramBuffer>(step.gram).rank == fixed.shape.rank,
                 "the Gram matrix is of another rank");
  if (step.inner == InnerSolver::kCholesky && target.shape.rank > kMaxCholeskyRank) {
    throw Error(ErrorCode::kUnsupported,
                "inner solver cholesky is limited to rank " + std::to_string(kMaxCholeskyRank) +
                    R"(: use inner = "cg" or the solver subspace)",
                "solver.inner");
  }
}

LargeRows describe(const SolveStep& step, const RowTerms& terms) {
  const auto& ratings = buffer_as<RatingsBuffer>(step.ratings);
  const auto& fixed = buffer_as<TableBuffer>(step.fixed);
  auto& target = buffer_as<TableBuffer>(step.target);
  LargeRows rows;
  rows.columns = ratings.columns.data();
  rows.values = ratings.values.data();
  rows.column_biases = fixed.biases.data();
  rows.objective = step.objective;
  rows.fixed = fixed.gathered();
  rows.base = static_cast<float>(step.objective.base_weight());
  if (rows.base != 0.0F) rows.gram = buffer_as<GramBuffer>(step.gram).values.data();
  rows.penalties = terms.penalties.data();
  rows.bias_divisors = terms.bias_divisors.data();
  rows.target = target.master.data();
  rows.target_shadow = target.shadow.data();
  rows.target_biases = target.biases.data();
  rows.momentum = static_cast<float>(step.momentum);
  rows.rank = target.shape.rank;
  rows.stride = target.stride;
  return rows;
}

/// Six vectors a row and up to three a piece; a third of the scratch for the rows, the rest for their pieces.
LargeLimits limits_of(const SolveStep& step, std::uint64_t stride, std::uint32_t rank, const LargeScratch& scratch) {
  const std::size_t vector = stride * sizeof(float);
  const auto at_least_one = [](std::size_t count) {
    return static_cast<std::uint32_t>(std::clamp<std::size_t>(count, 1, std::size_t{1} << 20));
  };
  LargeLimits limits{at_least_one(scratch.vector_bytes / 3 / (6 * vector)),
                     at_least_one(scratch.vector_bytes / 3 * 2 / (3 * vector))};
  if (step.inner == InnerSolver::kCholesky) {
    limits.rows = std::min(limits.rows, at_least_one(scratch.matrix_bytes / LargeCholesky::matrix_bytes(rank)));
  }
  return limits;
}

/// A plan and the scratch of its batches in device memory.
class BatchMemory {
 public:
  BatchMemory(MemoryPool& pool, const Stream& stream, const LargePlan& plan, LargeRows& step)
      : plan_(plan),
        rows_(pool, stream, plan.rows, kWhat),
        pieces_(pool, stream, plan.pieces, kWhat),
        longs_(pool, stream, plan.longs, kWhat),
        partials_(pool, plan.most_pieces * (step.bias_divisors != nullptr ? 3 : 2) * step.stride, kWhat),
        piece_residuals_(pool, plan.most_pieces, kWhat),
        x_(pool, plan.most_rows * step.stride, kWhat),
        sums_(pool, step.bias_divisors != nullptr ? plan.most_rows * step.stride : 0, kWhat),
        states_(pool, plan.most_rows, kWhat),
        step_(step) {
    step_.partials = partials_.data();
    step_.piece_residuals = piece_residuals_.data();
    step_.x = x_.data();
    step_.sums = sums_.data();
    step_.states = states_.data();
  }

  [[nodiscard]] LargeRows batch(const LargeBatch& which) const {
    LargeRows rows = step_;
    rows.rows = rows_.data() + which.first_row;
    rows.pieces = pieces_.data() + which.first_piece;
    rows.longs = longs_.data() + which.first_long;
    rows.row_count = which.rows;
    rows.piece_count = which.pieces;
    rows.long_count = which.longs;
    return rows;
  }
  [[nodiscard]] const LargePlan& plan() const noexcept { return plan_; }

 private:
  static constexpr const char* kWhat = "the rows of a step";
  const LargePlan& plan_;
  DeviceArray<LargeRow> rows_;
  DeviceArray<LargePiece> pieces_;
  DeviceArray<std::uint32_t> longs_;
  DeviceArray<float> partials_;
  DeviceArray<float> piece_residuals_;
  DeviceArray<float> x_;
  DeviceArray<float> sums_;
  DeviceArray<RowState> states_;
  LargeRows step_;
};

void solve_by_cg(MemoryPool& pool, const Stream& stream, Dense& dense, const BatchMemory& memory, std::uint64_t stride,
                 std::uint32_t steps) {
  constexpr const char* kWhat = "vectors of conjugate gradient";
  const std::size_t size = memory.plan().most_rows * stride;
  DeviceArray<float> residual(pool, size, kWhat);
  DeviceArray<float> direction(pool, size, kWhat);
  DeviceArray<float> image(pool, size, kWhat);
  DeviceArray<float> product;
  for (const LargeBatch& which : memory.plan().batches) {
    const LargeRows batch = memory.batch(which);
    CgVectors cg{residual.data(), direction.data(), image.data(), nullptr};
    const auto multiply = [&](const float* vectors) {
      if (batch.gram == nullptr) return;
      if (product.empty()) product = DeviceArray<float>(pool, size, kWhat);
      dense.product(batch.row_count, stride, stride, {vectors, Element::kFp32, stride},
                    {batch.gram, Element::kFp32, stride}, product.data(), stride);
      cg.dense_product = product.data();
    };
    const LaunchShape shape{.grid_x = batch.row_count, .block = kBlock, .shared_bytes = kReductionBytes};
    load_large_rows(stream, batch);
    multiply(batch.x);
    sum_large_rows(stream, batch, kImage | kRight | (batch.bias_divisors != nullptr ? kSum : 0U), batch.x, false);
    launch(stream, "start_rows", start_rows, shape, batch, cg);
    for (std::uint32_t step = 0; step < steps; ++step) {
      multiply(direction.data());
      sum_large_rows(stream, batch, kImage, direction.data(), true);
      launch(stream, "advance_rows", advance_rows, shape, batch, cg);
    }
    write_large_rows(stream, batch);
  }
}

}  // namespace

void solve_rows_large(MemoryPool& pool, const Stream& stream, Dense& dense, const SolveStep& step,
                      const LargeScratch& scratch) {
  check_step(step);
  const auto& ratings = buffer_as<RatingsBuffer>(step.ratings);
  LargeRows rows = describe(step, row_terms(pool, stream, ratings, step.objective));
  const LargePlan plan = plan_large_rows(ratings.host_offsets, counted_entries(ratings, step.objective), step.rows,
                                         limits_of(step, rows.stride, rows.rank, scratch));
  const DeviceArray<RowIndex> empty(pool, stream, plan.empty, "the rows of a step");
  clear_large_rows(stream, rows, empty.data(), empty.size());
  if (plan.batches.empty()) return;
  if (step.inner == InnerSolver::kCg) {
    solve_by_cg(pool, stream, dense, BatchMemory(pool, stream, plan, rows), rows.stride, step.cg_steps);
    return;
  }
  FailedRow failed(pool, stream);
  rows.failed_row = failed.device();
  const BatchMemory memory(pool, stream, plan, rows);
  LargeCholesky cholesky(pool, stream, rows.rank, plan.most_rows);
  for (const LargeBatch& batch : plan.batches) cholesky.solve(memory.batch(batch));
  failed.check(stream, RowSystem::kRow, ratings, step.objective);
}

}  // namespace concerto::cuda
