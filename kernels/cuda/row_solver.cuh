// The kernels that solve rows, one thread block a row, for one padded width.
//
// solve_medium_rows: gather, Gram in registers, system in shared memory, solution, all in one pass: no Gram matrix in
// device memory. The segments of giant rows end with their sums in device memory instead, which solve_giant_rows adds
// in their order. solve_light_rows: few entries: the entries' rows are kept in shared memory, conjugate gradient
// applies them without forming a Gram matrix, and Cholesky solves the system of the entries instead: with Y the n x
// width matrix of their rows,
//   x = Y^T z,   (Y Y^T + penalty I + (penalty / w) 1 1^T) z = h,
// the last term only with biases, w the bias penalty (the inverse of I - 1 1^T / (n + w) is I + 1 1^T / w).
//
// Roofline of the medium rows (f = 128, bf16, equal weights): n * 256 bytes gathered, n * 128 * 129 flops on tensor
// cores, 33 KB of shared memory read a product of conjugate gradient.
#pragma once

#include "accumulate.cuh"
#include "cholesky.cuh"
#include "conjugate_gradient.cuh"
#include "device/launch.cuh"
#include "row_solver.hpp"

namespace concerto::cuda {

constexpr unsigned kScalars = 64;

/// Where a block's shared memory goes: the matrix over the ring of stages, which is done with when the matrix is
/// written; then facts of stages; then vectors.
template <unsigned Width, class Element>
struct SharedLayout {
  using Shape = TileShape<Width, Element>;
  static constexpr std::size_t kMatrixBytes = packed_floats(Width + 1) * sizeof(float);
  static constexpr std::size_t kTileBytes =
      ((kMatrixBytes > Shape::kRingBytes ? kMatrixBytes : Shape::kRingBytes) + 127) / 128 * 128;
  static constexpr std::size_t kFactsBytes = (Shape::kStages + 1) * sizeof(StageFacts);
  static constexpr std::size_t kBytes = kTileBytes + kFactsBytes + (5 * Width + kScalars) * sizeof(float);

  __device__ static RowSystemView view() {
    auto* vectors = reinterpret_cast<float*>(dynamic_shared() + kTileBytes + kFactsBytes);
    return {reinterpret_cast<float*>(dynamic_shared()),
            vectors,
            vectors + Width,
            vectors + 2 * Width,
            vectors + 3 * Width,
            vectors + 4 * Width,
            vectors + 5 * Width};
  }
  __device__ static StageFacts* facts() { return reinterpret_cast<StageFacts*>(dynamic_shared() + kTileBytes); }
};

/// Solves a finished system and writes the row. The vectors first, second, third and, for Cholesky, the matrix are used
/// up.
__device__ inline void solve_and_write(const SystemArguments& a, RowIndex row, const RowSystemView& system) {
  float* x = system.first;
  if (a.by_cholesky) {
    for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) {
      system.matrix[packed_floats(a.width) + c] = system.right[c];
    }
    __syncthreads();
    const bool is_definite = solve_by_cholesky(system.matrix, a.width, system.second, x);
    if (threadIdx.x == 0 && !is_definite) note_failed_row(a.failed_row, row);
  } else {
    const float* present = a.target + row * a.target_stride;
    for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) x[c] = present[c];
    __syncthreads();
    const auto apply = [&](const float* p, float* out) {
      for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x)
        out[c] = packed_product(system.matrix, p, a.width, c);
      __syncthreads();
    };
    // The image may stand in the row of the right side: products do not read it.
    solve_by_cg(apply, system.right, a.width, a.cg_steps, x, system.second, system.third,
                system.matrix + packed_floats(a.width), system.scalars + 1);
  }
  float sum_product = 0.0F;
  if (a.bias_divisors != nullptr) {
    for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) sum_product += system.sum[c] * x[c];
    sum_product = block_sum(sum_product, system.scalars + 1);
  }
  write_row(a, row, x, system.scalars[0], sum_product);
}

/// Writes the sums of a segment of a giant row as they are, partial_floats(width) of them.
__device__ inline void write_partial(const SystemArguments& a, const RowSystemView& system, float* out) {
  const auto packed = static_cast<unsigned>(packed_floats(a.width));
  for (unsigned i = threadIdx.x; i < packed; i += blockDim.x) out[i] = system.matrix[i];
  for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) {
    out[packed + c] = system.right[c];
    out[packed + a.width + c] = system.sum[c];
  }
  if (threadIdx.x == 0) out[packed + 2 * a.width] = system.scalars[0];
}

/// A block an item: a row, which is solved, or, where `partials` is not null, a segment, whose sums are kept there.
template <unsigned Width, class Element, Weights kWeights>
__global__ void __launch_bounds__((TileShape<Width, Element>::kThreads), (TileShape<Width, Element>::kResidentBlocks))
    solve_medium_rows(const SystemArguments a, const WorkItem* items, float* partials) {
  using Layout = SharedLayout<Width, Element>;
  const WorkItem item = items[blockIdx.x];
  const RowSystemView system = Layout::view();
  {
    Accumulators<TileShape<Width, Element>> sums;
    Gatherer<Width, Element, kWeights>(a, item.begin, item.length, dynamic_shared(), Layout::facts()).run(sums);
    store_sums<Width, Element>(sums, a, system);
  }
  if (partials != nullptr) {
    write_partial(a, system, partials + blockIdx.x * partial_floats(a.width));
    return;
  }
  finish_system(a, item.row, system);
  solve_and_write(a, item.row, system);
}

/// Adds the segments of a giant row in their order, and solves it. `partials` begin with those of segment
/// `first_segment`.
template <unsigned Width, class Element>
__global__ void __launch_bounds__((TileShape<Width, Element>::kThreads))
    solve_giant_rows(const SystemArguments a, const GiantRow* giants, std::uint32_t first_segment,
                     const float* partials) {
  const GiantRow giant = giants[blockIdx.x];
  const RowSystemView system = SharedLayout<Width, Element>::view();
  const auto packed = static_cast<unsigned>(packed_floats(a.width));
  const auto size = static_cast<unsigned>(partial_floats(a.width));
  const float* first = partials + std::uint64_t{giant.first_segment - first_segment} * size;
  for (unsigned i = threadIdx.x; i < size; i += blockDim.x) {
    float sum = 0.0F;
    for (unsigned s = 0; s < giant.segments; ++s) sum += first[std::uint64_t{s} * size + i];
    if (i < packed) {
      system.matrix[i] = sum;
    } else if (i < packed + a.width) {
      system.right[i - packed] = sum;
    } else if (i < packed + 2 * a.width) {
      system.sum[i - packed - a.width] = sum;
    } else {
      system.scalars[0] = sum;
    }
  }
  __syncthreads();
  finish_system(a, giant.row, system);
  solve_and_write(a, giant.row, system);
}

/// The entries of a light row in shared memory.
struct LightRow {
  unsigned count;
  unsigned pitch;   ///< floats from row to row
  float* rows;      ///< the entries' factor vectors, fp32
  float* gram;      ///< weights
  float* right;     ///< h
  float* products;  ///< of an apply: g_k (y_k.p); of Cholesky: z
  float* system;    ///< Cholesky: packed, count + 1 rows
};

/// How much shared memory light rows of up to `most` entries take, after the vectors.
__host__ __device__ constexpr std::size_t light_bytes(unsigned width, unsigned most) {
  return (std::size_t{most} * (width + 1) + 4 * most + packed_floats(most + 1)) * sizeof(float);
}

template <class Element>
__device__ float element_value(Element element) {
  if constexpr (std::is_same_v<Element, float>) {
    return element;
  } else {
    return bf16_value(element);
  }
}

/// A p of a light row without its matrix: what finish_system adds, written out.
__device__ inline void apply_light_row(const SystemArguments& a, RowIndex row, const LightRow& light, const float* sum,
                                       const float* p, float* out, float* scratch) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned warps = blockDim.x / 32;
  for (unsigned k = threadIdx.x / 32; k < light.count; k += warps) {
    float product = 0.0F;
    for (unsigned c = lane; c < a.width; c += 32) product += light.rows[k * light.pitch + c] * p[c];
    for (unsigned step = 16; step > 0; step /= 2) product += __shfl_xor_sync(0xffffffffU, product, step);
    if (lane == 0) light.products[k] = light.gram[k] * product;
  }
  float share = 0.0F;
  if (a.bias_divisors != nullptr) {
    for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) share += sum[c] * p[c];
    share = block_sum(share, scratch) / a.bias_divisors[row];
  }
  __syncthreads();
  const float penalty = a.penalties[row];
  for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) {
    float value = penalty * p[c] - (a.bias_divisors != nullptr ? share * sum[c] : 0.0F);
    for (unsigned k = 0; k < light.count; ++k) value += light.products[k] * light.rows[k * light.pitch + c];
    if (a.base != 0.0F) {
      float dense = 0.0F;
      for (unsigned j = 0; j < a.width; ++j) dense += a.gram[j * a.gram_stride + c] * p[j];
      value += a.base * dense;
    }
    out[c] = value;
  }
  __syncthreads();
}

/// z of the system of the entries, then x = Y^T z.
__device__ inline void solve_light_row_exactly(const SystemArguments& a, RowIndex row, const LightRow& light,
                                               float* inverses, float* x) {
  const float penalty = a.penalties[row];
  const float ones = a.bias_penalties != nullptr ? penalty / a.bias_penalties[row] : 0.0F;
  const unsigned lane = threadIdx.x % 32;
  const unsigned warps = blockDim.x / 32;
  for (unsigned k = threadIdx.x / 32; k < light.count; k += warps) {
    for (unsigned l = 0; l <= k; ++l) {
      float product = 0.0F;
      for (unsigned c = lane; c < a.width; c += 32) {
        product += light.rows[k * light.pitch + c] * light.rows[l * light.pitch + c];
      }
      for (unsigned step = 16; step > 0; step /= 2) product += __shfl_xor_sync(0xffffffffU, product, step);
      if (lane == 0) light.system[packed_floats(k) + l] = product + ones + (k == l ? penalty : 0.0F);
    }
  }
  for (unsigned k = threadIdx.x; k < light.count; k += blockDim.x) {
    light.system[packed_floats(light.count) + k] = light.right[k];
  }
  __syncthreads();
  const bool is_definite = solve_by_cholesky(light.system, light.count, inverses, light.products);
  if (threadIdx.x == 0 && !is_definite) note_failed_row(a.failed_row, row);
  for (unsigned c = threadIdx.x; c < a.width; c += blockDim.x) {
    float value = 0.0F;
    for (unsigned k = 0; k < light.count; ++k) value += light.products[k] * light.rows[k * light.pitch + c];
    x[c] = value;
  }
  __syncthreads();
}

constexpr unsigned kLightThreads = 64;
/// Vectors of a light row: right side, s, x, residual, direction, image; then scalars.
constexpr unsigned kLightVectors = 6;

template <class Element>
__global__ void __launch_bounds__(kLightThreads)
    solve_light_rows(const SystemArguments a, const WorkItem* items, unsigned most) {
  const WorkItem item = items[blockIdx.x];
  auto* vectors = reinterpret_cast<float*>(dynamic_shared());
  float* right = vectors;
  float* sum = vectors + a.width;
  float* x = vectors + 2 * a.width;
  float* scalars = vectors + kLightVectors * a.width;
  LightRow light{};
  light.count = item.length;
  light.pitch = a.width + 1;
  light.rows = scalars + kScalars;
  light.gram = light.rows + most * light.pitch;
  light.right = light.gram + most;
  light.products = light.right + most;
  float* inverses = light.products + most;
  light.system = inverses + most;

  const unsigned lane = threadIdx.x % 32;
  for (unsigned k = threadIdx.x / 32; k < light.count; k += kLightThreads / 32) {
    const RowIndex column = a.columns[item.begin + k];
    const auto* from = static_cast<const Element*>(a.fixed) + column * a.fixed_stride;
    for (unsigned c = lane; c < a.width; c += 32) light.rows[k * light.pitch + c] = element_value(from[c]);
    if (lane == 0) {
      const float value = a.values != nullptr ? a.values[item.begin + k] : 1.0F;
      const float bias = a.column_biases != nullptr ? a.column_biases[column] : 0.0F;
      const auto weights = a.objective.entry_weights(value, bias);
      light.gram[k] = weights.gram;
      light.right[k] = weights.right;
    }
  }
  __syncthreads();
  float residual_sum = 0.0F;
  for (unsigned k = 0; k < light.count; ++k) residual_sum += light.right[k];
  const float inverse = a.bias_divisors != nullptr ? 1.0F / a.bias_divisors[item.row] : 0.0F;
  for (unsigned c = threadIdx.x; c < a.width; c += kLightThreads) {
    float of_right = 0.0F;
    float plain = 0.0F;
    for (unsigned k = 0; k < light.count; ++k) {
      const float y = light.rows[k * light.pitch + c];
      of_right += light.right[k] * y;
      plain += y;
    }
    right[c] = of_right - plain * residual_sum * inverse;
    sum[c] = plain;
    x[c] = a.target[item.row * a.target_stride + c];
  }
  __syncthreads();
  if (a.by_cholesky) {
    solve_light_row_exactly(a, item.row, light, inverses, x);
  } else {
    const auto apply = [&](const float* p, float* out) { apply_light_row(a, item.row, light, sum, p, out, scalars); };
    solve_by_cg(apply, right, a.width, a.cg_steps, x, vectors + 3 * a.width, vectors + 4 * a.width,
                vectors + 5 * a.width, scalars);
  }
  float sum_product = 0.0F;
  if (a.bias_divisors != nullptr) {
    for (unsigned c = threadIdx.x; c < a.width; c += kLightThreads) sum_product += sum[c] * x[c];
    sum_product = block_sum(sum_product, scalars);
  }
  write_row(a, item.row, x, residual_sum, sum_product);
}

/// Launches for one width, element and kind of weights.
template <unsigned Width, class Element, Weights kWeights>
void launch_rows(const Stream& stream, MemoryPool& pool, const SystemArguments& a, const DeviceRowPlan& plan,
                 Scratch<float>& partials) {
  using Layout = SharedLayout<Width, Element>;
  const auto shape = [](std::size_t rows) {
    return LaunchShape{.grid_x = static_cast<unsigned>(rows),
                       .block = TileShape<Width, Element>::kThreads,
                       .shared_bytes = Layout::kBytes};
  };
  const std::vector<GiantBatch> batches = batch_giants(plan.host_giants, most_partial_sums(a.width));
  std::uint64_t most = 0;
  for (const GiantBatch& batch : batches) most = std::max<std::uint64_t>(most, batch.segments);
  float* sums = partials.at_least(pool, most * partial_floats(a.width), "sums of giant rows");
  for (const GiantBatch& batch : batches) {
    launch(stream, "solve_medium_rows (segments)", solve_medium_rows<Width, Element, kWeights>, shape(batch.segments),
           a, plan.segments.data() + batch.first_segment, sums);
    launch(stream, "solve_giant_rows", solve_giant_rows<Width, Element>, shape(batch.giants), a,
           plan.giants.data() + batch.first_giant, batch.first_segment, sums);
  }
  if (!plan.medium.empty()) {
    launch(stream, "solve_medium_rows", solve_medium_rows<Width, Element, kWeights>, shape(plan.medium.size()), a,
           plan.medium.data(), nullptr);
  }
}

/// The same with the element and the weights chosen at run time. Defined for each width in row_solver_*.cu.
template <unsigned Width>
void launch_rows_of_width(const Stream& stream, MemoryPool& pool, const SystemArguments& a, bool is_bf16,
                          bool equal_weights, const DeviceRowPlan& plan, Scratch<float>& partials) {
  if (is_bf16 && equal_weights) {
    launch_rows<Width, std::uint16_t, Weights::kEqual>(stream, pool, a, plan, partials);
  } else if (is_bf16) {
    launch_rows<Width, std::uint16_t, Weights::kSigned>(stream, pool, a, plan, partials);
  } else if (equal_weights) {
    launch_rows<Width, float, Weights::kEqual>(stream, pool, a, plan, partials);
  } else {
    launch_rows<Width, float, Weights::kSigned>(stream, pool, a, plan, partials);
  }
}

extern template void launch_rows_of_width<32>(const Stream&, MemoryPool&, const SystemArguments&, bool, bool,
                                              const DeviceRowPlan&, Scratch<float>&);
extern template void launch_rows_of_width<64>(const Stream&, MemoryPool&, const SystemArguments&, bool, bool,
                                              const DeviceRowPlan&, Scratch<float>&);
extern template void launch_rows_of_width<96>(const Stream&, MemoryPool&, const SystemArguments&, bool, bool,
                                              const DeviceRowPlan&, Scratch<float>&);
extern template void launch_rows_of_width<128>(const Stream&, MemoryPool&, const SystemArguments&, bool, bool,
                                               const DeviceRowPlan&, Scratch<float>&);
extern template void launch_rows_of_width<192>(const Stream&, MemoryPool&, const SystemArguments&, bool, bool,
                                               const DeviceRowPlan&, Scratch<float>&);
extern template void launch_rows_of_width<256>(const Stream&, MemoryPool&, const SystemArguments&, bool, bool,
                                               const DeviceRowPlan&, Scratch<float>&);

}  // namespace concerto::cuda
