// SGD over a grid of blocks: a launch a stratum, a thread block for each of its blocks, a warp for a part of a block.
//
// A user's row belongs to one warp for the whole launch: it is read once a run, kept in registers, and written back. An
// item's row stays in global memory, in practice in the second-level cache, and two modes differ in how it changes:
//   deterministic: one warp walks a block in the serial order and writes the item's row. Every update sees the ones
//     before it, and the epoch equals the serial one of compute/sgd_order.hpp, update by update.
//   otherwise: the warps of a block walk its parts at the same time, and add to the item's row atomically what the
//     update changes. No update is lost, but an update does not see those that are under way (sgd_parts_used bounds
//     their number for a hot item); bytes depend on timing. With `nonnegative` the additions can
//     leave an item a little below 0 during the epoch; its next update or the pass at the end projects it.
// What an update needs of a row beside its vector is one 16-byte state: accumulator, bias, decays. States are gathered
// before an epoch and put back after it. The fp32 master is what is updated.
//
// Bytes, for 99,072,112 entries of 480,189 users and 17,770 items at rank f: 132 blocks a side and, for a log-normal
// spread of entries over users, 34 million runs. An entry reads and adds to an item's row: 8 f + 64 bytes (a state is
// a sector of 32 bytes), served by the second-level cache, since all items take 4.6 MB at f = 64. A run reads and
// writes a user's row: 8 f + 64 bytes of device memory, since all users take 123 MB. So f = 64: 57 GB of cache traffic,
// 20 GB of memory traffic; f = 128: 108 GB and 37 GB. Predicted for an H200, not yet run on a device: 20 ms an epoch at
// f = 64, 35 ms at f = 128, from 5.5 TB/s of cache reads and half of it for additions, with memory traffic and
// arithmetic overlapped. A tile of the item block in shared memory (134 rows, 34 KB at f = 64) would take nearly all of
// the cache traffic away, but additions to shared memory have no vector form, and the blocks of large catalogues do not
// fit: it is left to measurements. The limit that no bytes show is the chain: an update needs the one before it of the
// same user (about 250 cycles of dot product and reduction). One user with a large share of a block, or one item with a
// large share of the matrix, makes a chain that the other warps wait for.
//
// Sources: Gemulla et al. 2011 (strata); Chin et al. 2015 (one adaptive rate a row); Xie et al. 2017 (SGD on a GPU, a
// warp an update).
#include <limits>

#include "cuda_backend.hpp"
#include "device/launch.cuh"
#include "sgd_buffer.cuh"
#include "shadow.hpp"

namespace concerto::cuda {
namespace {

/// Runs from the present one to that whose user is brought to the second-level cache.
constexpr unsigned kRunsAhead = 4;

// -- ranks whose rows fit registers --

template <unsigned kWidth>
struct VectorOf;
template <>
struct VectorOf<2> {
  using Type = float2;
};
template <>
struct VectorOf<4> {
  using Type = float4;
};
__device__ __forceinline__ void unpack(float2 vector, float* values) {
  values[0] = vector.x;
  values[1] = vector.y;
}
__device__ __forceinline__ void unpack(float4 vector, float* values) {
  values[0] = vector.x;
  values[1] = vector.y;
  values[2] = vector.z;
  values[3] = vector.w;
}
__device__ __forceinline__ void pack(const float* values, float2& vector) {
  vector = {values[0], values[1]};
}
__device__ __forceinline__ void pack(const float* values, float4& vector) {
  vector = {values[0], values[1], values[2], values[3]};
}

/// A row over the lanes of a warp: a lane holds kPieces vectors of kWidth columns, 32 kWidth columns apart; zeros
/// beyond the stride.
template <unsigned kWidth, unsigned kPieces>
struct Row {
  static constexpr unsigned kValues = kWidth * kPieces;
  using Vector = typename VectorOf<kWidth>::Type;
  float values[kValues];
  SgdRowState state;

  __device__ __forceinline__ static unsigned column(unsigned piece) { return (piece * 32 + threadIdx.x % 32) * kWidth; }
  __device__ __forceinline__ void load(const float* row, const SgdRowState* row_state, unsigned stride) {
#pragma unroll
    for (unsigned p = 0; p < kPieces; ++p) {
      Vector vector{};
      if (column(p) < stride) vector = load_relaxed(reinterpret_cast<const Vector*>(row + column(p)));
      unpack(vector, values + p * kWidth);
    }
    state = load_state(row_state);
  }
  __device__ __forceinline__ void store_values(float* row, unsigned stride) const {
#pragma unroll
    for (unsigned p = 0; p < kPieces; ++p) {
      Vector vector;
      pack(values + p * kWidth, vector);
      if (column(p) < stride) *reinterpret_cast<Vector*>(row + column(p)) = vector;
    }
  }
  /// Adds what an update made of `before`.
  __device__ __forceinline__ void follow(const Row& before, const Row& after) {
#pragma unroll
    for (unsigned c = 0; c < kValues; ++c) values[c] += after.values[c] - before.values[c];
    state.accumulator += after.state.accumulator - before.state.accumulator;
    state.bias += after.state.bias - before.state.bias;
  }
  __device__ __forceinline__ void add_difference(float* row, unsigned stride, const Row& before) const {
#pragma unroll
    for (unsigned p = 0; p < kPieces; ++p) {
      float difference[kWidth];
#pragma unroll
      for (unsigned c = 0; c < kWidth; ++c) difference[c] = values[p * kWidth + c] - before.values[p * kWidth + c];
      Vector vector;
      pack(difference, vector);
      if (column(p) < stride) add_to(reinterpret_cast<Vector*>(row + column(p)), vector);
    }
  }
};

/// Leaves in x and y what the update by an entry makes of them.
template <class AnyRow>
__device__ __forceinline__ void update_rows(const SgdArguments& a, float value, AnyRow& x, AnyRow& y) {
  float xy = 0.0F;
  float xx = 0.0F;
  float yy = 0.0F;
#pragma unroll
  for (unsigned c = 0; c < AnyRow::kValues; ++c) {
    xy += x.values[c] * y.values[c];
    xx += x.values[c] * x.values[c];
    yy += y.values[c] * y.values[c];
  }
  sum_over_lanes(xy, xx, yy);
  const SgdRates u = update_of(a, value, xy, x.state, y.state);
#pragma unroll
  for (unsigned c = 0; c < AnyRow::kValues; ++c) {
    const float old = x.values[c];
    x.values[c] = moved(old, y.values[c], x.state.decay, u.error, u.x_rate, a.floor);
    y.values[c] = moved(y.values[c], old, y.state.decay, u.error, u.y_rate, a.floor);
  }
  move_state(a, x.state, u.error, xx, xy, yy);
  move_state(a, y.state, u.error, yy, xy, xx);
}

template <unsigned kWidth, unsigned kPieces, bool kIsSerial>
__global__ void __launch_bounds__(32 * kSgdMostParts, 1) sgd_block(SgdArguments a, unsigned shift) {
  using AnyRow = Row<kWidth, kPieces>;
  const SgdWalk walk = walk_of_warp<kIsSerial>(a, shift);
  if (walk.begin.entry == walk.end.entry) return;
  PairStream entries(a.entries, walk.begin.entry, walk.end.entry);
  PairStream runs(a.runs, walk.begin.run, walk.end.run);
  const auto load_user = [&](AnyRow& x, unsigned user) {
    x.load(a.users + std::uint64_t{user} * a.stride, a.user_states + user, a.stride);
  };
  const auto load_item = [&](AnyRow& y, unsigned item) {
    y.load(a.items + std::uint64_t{item} * a.stride, a.item_states + item, a.stride);
  };
  // The next run's user, where there are registers for it, and the next entry's item are under way while an entry is
  // worked on.
  constexpr bool kHasNextUser = kPieces < 4;
  uint2 next_run = runs.at(walk.begin.run);
  uint2 next_entry = entries.at(walk.begin.entry);
  AnyRow next_x;
  AnyRow next_y;
  if constexpr (kHasNextUser) load_user(next_x, next_run.x);
  load_item(next_y, next_entry.x);
  std::uint64_t k = walk.begin.entry;
  for (std::uint64_t r = walk.begin.run; r < walk.end.run; ++r) {
    const uint2 run = next_run;
    AnyRow x;
    if constexpr (kHasNextUser) {
      x = next_x;
    } else {
      load_user(x, run.x);
    }
    if (r + 1 < walk.end.run) {
      next_run = runs.at(r + 1);
      if constexpr (kHasNextUser) load_user(next_x, next_run.x);
      const unsigned far = runs.first_ahead(r + kRunsAhead);
      const unsigned floats = threadIdx.x % 32 * 32;  // of a line of 128 bytes
      if (r + kRunsAhead < walk.end.run && floats < a.stride) {
        prefetch_line(a.users + std::uint64_t{far} * a.stride + floats);
      }
    }
    for (unsigned left = run.y; left > 0; --left) {
      const uint2 entry = next_entry;
      AnyRow y = next_y;
      const AnyRow before = y;
      if (++k < walk.end.entry) {
        next_entry = entries.at(k);
        load_item(next_y, next_entry.x);
      }
      update_rows(a, __uint_as_float(entry.y), x, y);
      float* row = a.items + std::uint64_t{entry.x} * a.stride;
      if (kIsSerial) {
        y.store_values(row, a.stride);
      } else {
        y.add_difference(row, a.stride, before);
      }
      write_state<kIsSerial>(a.item_states + entry.x, before.state, y.state);
      // What was read for the next entry is from before this update; it may hold what others have added.
      if (next_entry.x == entry.x) {
        if constexpr (kIsSerial) {
          next_y = y;
        } else {
          next_y.follow(before, y);
        }
      }
    }
    x.store_values(a.users + std::uint64_t{run.x} * a.stride, a.stride);
    if (threadIdx.x % 32 == 0) a.user_states[run.x] = x.state;
  }
}

// -- any rank --

/// The same with both rows in memory: two passes over the columns an entry, 128 columns at a time.
template <bool kIsSerial>
__device__ __forceinline__ void update_in_memory(const SgdArguments& a, float value, float* x_row, float* y_row,
                                                 SgdRowState& x, SgdRowState& y) {
  float xy = 0.0F;
  float xx = 0.0F;
  float yy = 0.0F;
  const unsigned first = threadIdx.x % 32 * 4;
  for (unsigned column = first; column < a.stride; column += 128) {
    const float4 xs = load_relaxed(reinterpret_cast<const float4*>(x_row + column));
    const float4 ys = load_relaxed(reinterpret_cast<const float4*>(y_row + column));
    xy += xs.x * ys.x + xs.y * ys.y + xs.z * ys.z + xs.w * ys.w;
    xx += xs.x * xs.x + xs.y * xs.y + xs.z * xs.z + xs.w * xs.w;
    yy += ys.x * ys.x + ys.y * ys.y + ys.z * ys.z + ys.w * ys.w;
  }
  sum_over_lanes(xy, xx, yy);
  const SgdRates u = update_of(a, value, xy, x, y);
  for (unsigned column = first; column < a.stride; column += 128) {
    const auto x_place = reinterpret_cast<float4*>(x_row + column);
    const auto y_place = reinterpret_cast<float4*>(y_row + column);
    float xs[4];
    float ys[4];
    float difference[4];
    unpack(load_relaxed(x_place), xs);
    unpack(load_relaxed(y_place), ys);
#pragma unroll
    for (unsigned c = 0; c < 4; ++c) {
      const float old = xs[c];
      const float old_y = ys[c];
      xs[c] = moved(old, old_y, x.decay, u.error, u.x_rate, a.floor);
      ys[c] = moved(old_y, old, y.decay, u.error, u.y_rate, a.floor);
      difference[c] = ys[c] - old_y;
    }
    pack(xs, *x_place);
    float4 out;
    pack(kIsSerial ? ys : difference, out);
    if (kIsSerial) {
      *y_place = out;
    } else {
      add_to(y_place, out);
    }
  }
  move_state(a, x, u.error, xx, xy, yy);
  move_state(a, y, u.error, yy, xy, xx);
}

template <bool kIsSerial>
__global__ void __launch_bounds__(32 * kSgdMostParts, 1) sgd_block_in_memory(SgdArguments a, unsigned shift) {
  const SgdWalk walk = walk_of_warp<kIsSerial>(a, shift);
  if (walk.begin.entry == walk.end.entry) return;
  PairStream entries(a.entries, walk.begin.entry, walk.end.entry);
  PairStream runs(a.runs, walk.begin.run, walk.end.run);
  std::uint64_t k = walk.begin.entry;
  for (std::uint64_t r = walk.begin.run; r < walk.end.run; ++r) {
    const uint2 run = runs.at(r);
    SgdRowState x = load_state(a.user_states + run.x);
    for (unsigned left = run.y; left > 0; --left, ++k) {
      const uint2 entry = entries.at(k);
      SgdRowState y = load_state(a.item_states + entry.x);
      const SgdRowState before = y;
      update_in_memory<kIsSerial>(a, __uint_as_float(entry.y), a.users + std::uint64_t{run.x} * a.stride,
                                  a.items + std::uint64_t{entry.x} * a.stride, x, y);
      write_state<kIsSerial>(a.item_states + entry.x, before, y);
    }
    if (threadIdx.x % 32 == 0) a.user_states[run.x] = x;
  }
}

// -- before and after an epoch --

constexpr unsigned kRowBlock = 256;

/// `biases` may be null.
__global__ void gather_states(const float* accumulators, const float* biases, const float* weights, float decay,
                              float bias_decay, std::uint64_t rows, SgdRowState* states) {
  const std::uint64_t r = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  states[r] = {accumulators[r], biases == nullptr ? 0.0F : biases[r], decay * weights[r], bias_decay * weights[r]};
}

__global__ void scatter_states(const SgdRowState* states, std::uint64_t rows, float* accumulators, float* biases) {
  const std::uint64_t r = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  accumulators[r] = states[r].accumulator;
  if (biases != nullptr) biases[r] = states[r].bias;
}

/// Projects the rows that have entries; the others were never updated. Four values a thread.
__global__ void project_rows(float* values, const float* weights, std::uint64_t rows, unsigned stride) {
  const std::uint64_t at = 4 * (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x);
  if (at >= rows * stride || weights[at / stride] == 0.0F) return;
  auto* place = reinterpret_cast<float4*>(values + at);
  const float4 v = *place;
  *place = {v.x < 0.0F ? 0.0F : v.x, v.y < 0.0F ? 0.0F : v.y, v.z < 0.0F ? 0.0F : v.z, v.w < 0.0F ? 0.0F : v.w};
}

// -- host --

const DecayWeights& decay_weights(MemoryPool& pool, const Stream& stream, const GridBuffer& grid, double exponent) {
  for (const DecayWeights& known : grid.weights) {
    if (known.exponent == exponent) return known;
  }
  DecayWeights made;
  made.exponent = exponent;
  const std::vector<float> users = sgd_decay_weights(grid.user_counts, exponent);
  std::vector<float> items = sgd_decay_weights(grid.item_counts, exponent);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (grid.item_entries[i] == 0) items[i] = 0.0F;  // another grid's: not to be projected here
  }
  made.users = DeviceArray<float>(pool, stream, users, "decays of SGD");
  made.items = DeviceArray<float>(pool, stream, items, "decays of SGD");
  return grid.weights.emplace_back(std::move(made));
}

SgdRowState* load_states(MemoryPool& pool, const Stream& stream, const Objective& objective,
                         const DeviceArray<float>& weights, TableBuffer& table, Scratch<SgdRowState>& scratch) {
  const RowIndex rows = table.shape.rows;
  require_accumulators(pool, stream, table);
  SgdRowState* states = scratch.at_least(pool, rows, "states of rows for SGD");
  launch(stream, "gather_states", gather_states, {.grid_x = blocks_for(rows, kRowBlock), .block = kRowBlock},
         table.accumulators.data(), table.biases.data(), weights.data(), static_cast<float>(objective.regularization),
         static_cast<float>(objective.bias_regularization), std::uint64_t{rows}, states);
  return states;
}

void store_states(const Stream& stream, const SgdRowState* states, TableBuffer& table) {
  const RowIndex rows = table.shape.rows;
  launch(stream, "scatter_states", scatter_states, {.grid_x = blocks_for(rows, kRowBlock), .block = kRowBlock}, states,
         std::uint64_t{rows}, table.accumulators.data(), table.biases.data());
}

using SgdKernel = void (*)(SgdArguments, unsigned);

template <bool kIsSerial>
SgdKernel kernel_for(std::size_t stride) {
  if (stride <= 64) return sgd_block<2, 1, kIsSerial>;
  if (stride <= 128) return sgd_block<4, 1, kIsSerial>;
  if (stride <= 256) return sgd_block<4, 2, kIsSerial>;
  if (stride <= 384) return sgd_block<4, 3, kIsSerial>;
  if (stride <= 512) return sgd_block<4, 4, kIsSerial>;
  return sgd_block_in_memory<kIsSerial>;
}

}  // namespace

std::unique_ptr<Buffer> CudaBackend::load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                               const RowCounts& counts) {
  CONCERTO_CHECK((counts.users.empty() || counts.users.size() == by_user.rows) &&
                     (counts.items.empty() || counts.items.size() == by_item.rows),
                 "counts of other rows than the grid's");
  SgdGrid grid = cut_sgd_grid(by_user, by_item, cuda_sgd_limits());
  auto buffer = std::make_unique<GridBuffer>();
  buffer->side = grid.side;
  buffer->parts_per_block = grid.parts_per_block;
  buffer->entries = DeviceArray<SgdEntry>(pool_, stream_, grid.entries, "the grid of SGD");
  buffer->runs = DeviceArray<SgdRun>(pool_, stream_, grid.runs, "the grid of SGD");
  buffer->parts = DeviceArray<SgdPart>(pool_, stream_, grid.parts, "the grid of SGD");
  buffer->user_counts = std::move(grid.user_counts);
  buffer->item_counts = grid.item_counts;
  buffer->item_entries = std::move(grid.item_counts);
  if (!counts.users.empty()) buffer->user_counts.assign(counts.users.begin(), counts.users.end());
  if (!counts.items.empty()) buffer->item_counts.assign(counts.items.begin(), counts.items.end());
  return buffer;
}

void CudaBackend::sgd_epoch(const SgdStep& step) {
  const auto& grid = buffer_as<GridBuffer>(step.grid);
  auto& users = buffer_as<TableBuffer>(step.users);
  auto& items = buffer_as<TableBuffer>(step.items);
  CONCERTO_CHECK(!step.objective.is_implicit(), "SGD serves explicit objectives only");
  check_grid(grid, users, items);
  if (grid.entries.empty()) return;
  const DecayWeights& weights = decay_weights(pool_, stream_, grid, step.objective.regularization_exponent);
  SgdArguments a;
  a.users = users.master.data();
  a.items = items.master.data();
  a.user_states = load_states(pool_, stream_, step.objective, weights.users, users, grid.user_states);
  a.item_states = load_states(pool_, stream_, step.objective, weights.items, items, grid.item_states);
  a.entries = reinterpret_cast<const uint2*>(grid.entries.data());
  a.runs = reinterpret_cast<const uint2*>(grid.runs.data());
  a.parts = grid.parts.data();
  a.side = grid.side;
  a.parts_per_block = grid.parts_per_block;
  a.stride = static_cast<unsigned>(users.stride);
  a.inverse_rank = 1.0F / static_cast<float>(users.shape.rank);
  a.rate = static_cast<float>(step.rate);
  a.mean = static_cast<float>(step.objective.mean);
  a.bias_rate = users.shape.biases ? a.rate : 0.0F;
  a.floor = step.nonnegative ? 0.0F : -std::numeric_limits<float>::infinity();
  const bool is_serial = options_.deterministic;
  const SgdKernel kernel = is_serial ? kernel_for<true>(users.stride) : kernel_for<false>(users.stride);
  const LaunchShape shape{.grid_x = grid.side, .block = 32 * (is_serial ? 1 : grid.parts_per_block)};
  for (const std::uint32_t shift : sgd_strata(grid.side, step.seed, step.epoch)) {
    launch(stream_, "sgd_block", kernel, shape, a, shift);
  }
  store_states(stream_, a.user_states, users);
  store_states(stream_, a.item_states, items);
  if (step.nonnegative && !is_serial) {
    const std::uint64_t threads = std::uint64_t{items.shape.rows} * items.stride / 4;
    launch(stream_, "project_rows", project_rows, {.grid_x = blocks_for(threads, kRowBlock), .block = kRowBlock},
           items.master.data(), weights.items.data(), std::uint64_t{items.shape.rows}, a.stride);
  }
  refresh_shadow(stream_, users, {0, users.shape.rows});
  refresh_shadow(stream_, items, {0, items.shape.rows});
}

}  // namespace concerto::cuda
