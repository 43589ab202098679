// Our own implementations of implicit's and cuMF_SGD's methods, for comparison. See baselines.hpp.
#include <algorithm>

#include "baselines.hpp"
#include "device/half.cuh"
#include "device/launch.cuh"
#include "random.cuh"

namespace concerto::bench {
namespace {

using cuda::launch;

constexpr unsigned kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;
constexpr float kNegligible = 1e-20F;

__device__ __forceinline__ float warp_sum(float value) {
  for (unsigned lanes = kWarp / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kAllLanes, value, lanes);
  return value;
}

/// The sum over the block, in every thread; `partials` holds a float for each warp. All threads call it.
__device__ __forceinline__ float block_sum(float value, float* partials) {
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) partials[threadIdx.x / kWarp] = value;
  __syncthreads();
  float sum = 0.0F;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) sum += partials[w];
  __syncthreads();
  return sum;
}

struct MatrixFreeRows {
  const EntryIndex* offsets;
  const RowIndex* columns;
  const float* values;
  const float* fixed;
  const float* gram;
  float* target;
  RowIndex rows;
  unsigned cg_steps;
  float alpha;
};

/// This thread's element of gram x vector, a thread an element; `shared` takes the vector.
__device__ __forceinline__ float gram_product(const float* gram, float element, float* shared) {
  const unsigned f = blockDim.x;
  shared[threadIdx.x] = element;
  __syncthreads();
  float sum = 0.0F;
  for (unsigned j = 0; j < f; ++j) sum += gram[j * f + threadIdx.x] * shared[j];
  __syncthreads();
  return sum;
}

/// What the row's entries add to the product of its system with a vector, and to its right side.
template <bool WithRightSide>
__device__ __forceinline__ float entries_product(const MatrixFreeRows& in, EntryIndex begin, EntryIndex end,
                                                 float element, float* partials) {
  float sum = 0.0F;
  for (EntryIndex k = begin; k < end; ++k) {
    const float y = in.fixed[std::uint64_t{in.columns[k]} * blockDim.x + threadIdx.x];
    const float value = in.values[k];
    const float confidence = in.alpha * (value < 0.0F ? -value : value);
    const float score = block_sum(y * element, partials);
    const float right = WithRightSide && value > 0.0F ? confidence : 0.0F;
    sum += WithRightSide ? (right - (confidence - 1.0F) * score) * y : (confidence - 1.0F) * score * y;
  }
  return sum;
}

__global__ void matrix_free_rows(MatrixFreeRows in) {
  auto* shared = reinterpret_cast<float*>(cuda::dynamic_shared());
  float* partials = shared + blockDim.x;
  for (std::uint64_t row = blockIdx.x; row < in.rows; row += gridDim.x) {
    const EntryIndex begin = in.offsets[row];
    const EntryIndex end = in.offsets[row + 1];
    float& place = in.target[row * blockDim.x + threadIdx.x];
    if (begin == end) {
      place = 0.0F;
      continue;
    }
    float x = place;
    float residual = -gram_product(in.gram, x, shared) + entries_product<true>(in, begin, end, x, partials);
    float direction = residual;
    float norm = block_sum(residual * residual, partials);
    for (unsigned step = 0; step < in.cg_steps && norm > kNegligible; ++step) {
      const float product =
          gram_product(in.gram, direction, shared) + entries_product<false>(in, begin, end, direction, partials);
      const float length = norm / block_sum(direction * product, partials);
      x += length * direction;
      residual -= length * product;
      const float next = block_sum(residual * residual, partials);
      direction = residual + next / norm * direction;
      norm = next;
    }
    place = x;
  }
}

__global__ void raise_diagonal(float* gram, std::uint32_t rank, float regularization) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < rank) gram[i * rank + i] += regularization;
}

constexpr unsigned kPerLane = kHogwildRank / kWarp;

/// Four fp16 values of a row.
struct Quarter {
  float at[kPerLane];
};
__device__ __forceinline__ Quarter load_quarter(const std::uint16_t* row, unsigned lane) {
  const uint2 bits = *reinterpret_cast<const uint2*>(row + kPerLane * lane);
  return {{half_value(static_cast<std::uint16_t>(bits.x)), half_value(static_cast<std::uint16_t>(bits.x >> 16)),
           half_value(static_cast<std::uint16_t>(bits.y)), half_value(static_cast<std::uint16_t>(bits.y >> 16))}};
}
__device__ __forceinline__ void store_quarter(std::uint16_t* row, unsigned lane, const Quarter& values) {
  uint2 bits;
  bits.x = half_bits(values.at[0]) | static_cast<unsigned>(half_bits(values.at[1])) << 16;
  bits.y = half_bits(values.at[2]) | static_cast<unsigned>(half_bits(values.at[3])) << 16;
  *reinterpret_cast<uint2*>(row + kPerLane * lane) = bits;
}
__device__ __forceinline__ float product_of(const Quarter& p, const Quarter& q) {
  float sum = 0.0F;
#pragma unroll
  for (unsigned i = 0; i < kPerLane; ++i) sum += p.at[i] * q.at[i];
  return warp_sum(sum);
}

__global__ void hogwild_runs(const Rating* ratings, EntryIndex entries, std::uint16_t* users, std::uint16_t* items,
                             float rate, float regularization, std::uint64_t seed, std::uint64_t runs) {
  const unsigned lane = threadIdx.x % kWarp;
  const std::uint64_t warps = std::uint64_t{gridDim.x} * blockDim.x / kWarp;
  for (std::uint64_t run = (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp; run < runs; run += warps) {
    const std::uint64_t begin = word_at(seed, run) % entries;
    for (unsigned k = 0; k < kHogwildRun; ++k) {
      const Rating rating = ratings[(begin + k) % entries];
      std::uint16_t* user = users + std::uint64_t{rating.user} * kHogwildRank;
      std::uint16_t* item = items + std::uint64_t{rating.item} * kHogwildRank;
      const Quarter p = load_quarter(user, lane);
      const Quarter q = load_quarter(item, lane);
      const float error = rating.value - product_of(p, q);
      Quarter new_p;
      Quarter new_q;
#pragma unroll
      for (unsigned i = 0; i < kPerLane; ++i) {
        new_p.at[i] = p.at[i] + rate * (error * q.at[i] - regularization * p.at[i]);
        new_q.at[i] = q.at[i] + rate * (error * p.at[i] - regularization * q.at[i]);
      }
      store_quarter(user, lane, new_p);
      store_quarter(item, lane, new_q);
    }
  }
}

__global__ void random_half(std::uint16_t* values, std::uint64_t size, std::uint64_t seed, float scale) {
  const std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) values[i] = half_bits(scale * static_cast<float>(uniform(word_at(seed, i))));
}

__global__ void sum_squared_errors(const Rating* ratings, EntryIndex entries, const std::uint16_t* users,
                                   const std::uint16_t* items, double* sum) {
  const unsigned lane = threadIdx.x % kWarp;
  const std::uint64_t warps = std::uint64_t{gridDim.x} * blockDim.x / kWarp;
  double mine = 0.0;
  for (std::uint64_t k = (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp; k < entries; k += warps) {
    const Rating rating = ratings[k];
    const float error =
        rating.value - product_of(load_quarter(users + std::uint64_t{rating.user} * kHogwildRank, lane),
                                  load_quarter(items + std::uint64_t{rating.item} * kHogwildRank, lane));
    mine += static_cast<double>(error) * static_cast<double>(error);
  }
  if (lane == 0) atomicAdd(sum, mine);
}

constexpr unsigned kBlock = 128;

}  // namespace

void solve_matrix_free(const cuda::Stream& stream, const MatrixFreeStep& step) {
  const cuda::RatingsBuffer& ratings = *step.ratings;
  if (ratings.rows == 0) return;
  constexpr unsigned kBlocksPerMultiprocessor = 256;
  const unsigned blocks = std::min(ratings.rows, kBlocksPerMultiprocessor * step.multiprocessors);
  const MatrixFreeRows rows{ratings.offsets.data(),
                            ratings.columns.data(),
                            ratings.values.data(),
                            step.fixed,
                            step.gram,
                            step.target,
                            ratings.rows,
                            step.cg_steps,
                            step.alpha};
  launch(stream, "matrix_free_rows", matrix_free_rows,
         {.grid_x = blocks, .block = step.rank, .shared_bytes = (step.rank + step.rank / kWarp) * sizeof(float)}, rows);
}

void add_to_diagonal(const cuda::Stream& stream, float* gram, std::uint32_t rank, float regularization) {
  launch(stream, "raise_diagonal", raise_diagonal, {.grid_x = (rank + kBlock - 1) / kBlock, .block = kBlock}, gram,
         rank, regularization);
}

void hogwild_epoch(const cuda::Stream& stream, const HogwildStep& step) {
  if (step.entries == 0) return;
  const std::uint64_t runs = (step.entries + kHogwildRun - 1) / kHogwildRun;
  const unsigned blocks = std::max(1U, step.warps / (kBlock / kWarp));
  launch(stream, "hogwild_runs", hogwild_runs, {.grid_x = blocks, .block = kBlock}, step.ratings, step.entries,
         step.users, step.items, step.rate, step.regularization, step.seed, runs);
}

void fill_random_half(const cuda::Stream& stream, std::uint16_t* values, std::uint64_t size, std::uint64_t seed,
                      float scale) {
  if (size == 0) return;
  launch(stream, "random_half", random_half,
         {.grid_x = static_cast<unsigned>((size + kBlock - 1) / kBlock), .block = kBlock}, values, size, seed, scale);
}

void squared_error(const cuda::Stream& stream, const HogwildStep& step, double* sum) {
  cuda::fill_zero(stream, sum, sizeof(double));
  if (step.entries == 0) return;
  launch(stream, "sum_squared_errors", sum_squared_errors, {.grid_x = std::max(1U, step.warps), .block = kBlock},
         step.ratings, step.entries, static_cast<const std::uint16_t*>(step.users),
         static_cast<const std::uint16_t*>(step.items), sum);
}

}  // namespace concerto::bench
