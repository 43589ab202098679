// Sums over the entries of a batch of rows, and reading and writing the rows themselves.
//
// Sums: a thread block has a piece of a row and goes through it in tiles of 32 entries. First each warp takes entries
// and multiplies their rows with the vector (16 bytes a lane, coalesced); then threads lie along the columns, in as
// many groups of entries as the rank leaves room for, and add weighted rows in registers. The second reading of a tile
// finds it in the first-level cache. Tables wider than one block's registers are cut into panels of columns, a block
// each; each of them then multiplies anew.
#include <algorithm>

#include "device/launch.cuh"
#include "large_rows.hpp"
#include "large_sums.cuh"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 256;
constexpr unsigned kTile = 32;

/// How the threads of a block lie along the columns, in units of 16 bytes.
struct ColumnLayout {
  unsigned width = 1;   ///< units side by side
  unsigned groups = 1;  ///< of entries
  unsigned block = 32;
  unsigned panels = 1;
};

/// Facts of a tile, in shared memory; what comes behind it is used to add the groups.
struct Tile {
  RowIndex columns[kTile];
  float weights[3][kTile];  ///< of image (after scoring with the score), right, s
};

/// Columns and weights of the tile's entries, by the first warp; returns this thread's h.
template <unsigned kParts>
__device__ __forceinline__ float load_tile(const LargeRows& a, const LargePiece& piece, std::uint32_t first,
                                           Tile& tile) {
  const std::uint32_t k = first + threadIdx.x;
  if (k >= piece.length) return 0.0F;
  const EntryIndex entry = piece.begin + k;
  const RowIndex column = a.columns[entry];
  const float value = a.values != nullptr ? a.values[entry] : 1.0F;
  const float bias = a.column_biases != nullptr ? a.column_biases[column] : 0.0F;
  const auto weights = a.objective.entry_weights(value, bias);
  tile.columns[threadIdx.x] = column;
  tile.weights[0][threadIdx.x] = weights.gram;
  tile.weights[1][threadIdx.x] = weights.right;
  tile.weights[2][threadIdx.x] = 1.0F;
  return weights.right;
}

/// Multiplies the weights of image by y_k.v, two entries a warp at a time.
template <class Value>
__device__ __forceinline__ void score_tile(const LargeRows& a, const float* vector, unsigned count, Tile& tile) {
  constexpr unsigned kPer = 16 / sizeof(Value);
  const unsigned lane = threadIdx.x % 32;
  const unsigned warps = blockDim.x / 32;
  const std::uint64_t units = a.stride / kPer;
  const auto* fixed = static_cast<const uint4*>(a.fixed.data);
  for (unsigned e = 2 * (threadIdx.x / 32); e < count; e += 2 * warps) {
    const unsigned other = min(e + 1, count - 1);
    const uint4* first_row = fixed + tile.columns[e] * units;
    const uint4* second_row = fixed + tile.columns[other] * units;
    float first = 0.0F;
    float second = 0.0F;
    for (std::uint64_t unit = lane; unit < units; unit += 32) {
      float first_values[kPer];
      float second_values[kPer];
      float own[kPer];
      widen<Value>(__ldg(first_row + unit), first_values);
      widen<Value>(__ldg(second_row + unit), second_values);
#pragma unroll
      for (unsigned q = 0; q < kPer; q += 4) {
        const float4 four = *reinterpret_cast<const float4*>(vector + unit * kPer + q);
        own[q] = four.x;
        own[q + 1] = four.y;
        own[q + 2] = four.z;
        own[q + 3] = four.w;
      }
#pragma unroll
      for (unsigned q = 0; q < kPer; ++q) {
        first += first_values[q] * own[q];
        second += second_values[q] * own[q];
      }
    }
    for (unsigned step = 16; step > 0; step /= 2) {
      first += __shfl_xor_sync(0xffffffffU, first, step);
      second += __shfl_xor_sync(0xffffffffU, second, step);
    }
    if (lane == 0) {
      tile.weights[0][e] *= first;
      if (other != e) tile.weights[0][other] *= second;
    }
  }
}

/// Adds the groups' sums in their order and writes them; `shared` has room for all of them.
template <unsigned kPer>
__device__ __forceinline__ void store_groups(const float (&sums)[kPer], const ColumnLayout& layout, float* shared,
                                             float* to) {
  const unsigned floats = layout.width * kPer;
  __syncthreads();  // whoever still reads the last part's
  if (threadIdx.x < layout.groups * layout.width) {
#pragma unroll
    for (unsigned q = 0; q < kPer; q += 4) {
      *reinterpret_cast<float4*>(shared + threadIdx.x * kPer + q) = {sums[q], sums[q + 1], sums[q + 2], sums[q + 3]};
    }
  }
  __syncthreads();
  for (unsigned c = threadIdx.x; c < floats; c += blockDim.x) {
    float sum = shared[c];
    for (unsigned group = 1; group < layout.groups; ++group) sum += shared[group * floats + c];
    to[c] = sum;
  }
}

template <class Value, unsigned kUnits, unsigned kParts>
__global__ void __launch_bounds__(kUnits == 1 ? 512 : 256, 1)
    sum_pieces(LargeRows a, ColumnLayout layout, const float* vectors, bool only_active) {
  constexpr unsigned kPer = 16 / sizeof(Value);
  constexpr unsigned kCount = part_count(kParts);
  const LargePiece piece = a.pieces[blockIdx.x];
  if (only_active && a.states[piece.slot].is_active == 0) return;
  auto& tile = *reinterpret_cast<Tile*>(dynamic_shared());
  const std::uint64_t units = a.stride / kPer;
  const unsigned group = threadIdx.x / layout.width;
  const std::uint64_t first_unit = std::uint64_t{blockIdx.y} * kUnits * layout.width + threadIdx.x % layout.width;
  const auto* fixed = static_cast<const uint4*>(a.fixed.data) + first_unit;
  float sums[kCount][kUnits][kPer] = {};
  float residual_sum = 0.0F;
  for (std::uint32_t first = 0; first < piece.length; first += kTile) {
    const unsigned count = min(kTile, piece.length - first);
    if (threadIdx.x < kTile) residual_sum += load_tile<kParts>(a, piece, first, tile);
    __syncthreads();
    if constexpr ((kParts & kImage) != 0) {
      score_tile<Value>(a, vectors + piece.slot * a.stride, count, tile);
      __syncthreads();
    }
    if (group < layout.groups) {
#pragma unroll(kUnits == 1 ? 2 : 1)
      for (unsigned e = group; e < count; e += layout.groups) {
        const uint4* row = fixed + tile.columns[e] * units;
#pragma unroll
        for (unsigned u = 0; u < kUnits; ++u) {
          if (first_unit + u * layout.width >= units) break;
          float values[kPer];
          widen<Value>(__ldg(row + u * layout.width), values);
#pragma unroll
          for (unsigned part = 0; part < 3; ++part) {
            if ((kParts >> part & 1U) == 0) continue;
            const float weight = tile.weights[part][e];
            float(&sum)[kPer] = sums[part_count(kParts & ((1U << part) - 1))][u];
#pragma unroll
            for (unsigned q = 0; q < kPer; ++q) sum[q] += weight * values[q];
          }
        }
      }
    }
    __syncthreads();
  }
  float* to = a.partials + std::uint64_t{blockIdx.x} * kCount * a.stride;
#pragma unroll
  for (unsigned part = 0; part < kCount; ++part) {
    if constexpr (kUnits == 1) {
      store_groups<kPer>(sums[part][0], layout, reinterpret_cast<float*>(dynamic_shared() + sizeof(Tile)),
                         to + part * a.stride);
    } else {
#pragma unroll
      for (unsigned u = 0; u < kUnits; ++u) {
        const std::uint64_t unit = first_unit + u * layout.width;
        if (unit >= units) break;
#pragma unroll
        for (unsigned q = 0; q < kPer; q += 4) {
          const float(&four)[kPer] = sums[part][u];
          *reinterpret_cast<float4*>(to + part * a.stride + unit * kPer + q) = {four[q], four[q + 1], four[q + 2],
                                                                                four[q + 3]};
        }
      }
    }
  }
  if ((kParts & kRight) != 0 && blockIdx.y == 0 && threadIdx.x < 32) {
    for (unsigned step = 16; step > 0; step /= 2) residual_sum += __shfl_xor_sync(0xffffffffU, residual_sum, step);
    if (threadIdx.x == 0) a.piece_residuals[blockIdx.x] = residual_sum;
  }
}

/// Adds the pieces of a row of many, a thread a component of all its parts.
__global__ void fold_pieces(LargeRows a, unsigned parts, bool only_active) {
  const std::uint32_t slot = a.longs[blockIdx.x];
  if (only_active && a.states[slot].is_active == 0) return;
  const LargeRow row = a.rows[slot];
  const std::uint64_t size = parts * a.stride;
  const std::uint64_t c = std::uint64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (c >= size) return;
  float* at = a.partials + row.first_piece * size + c;
  float sum = *at;
#pragma unroll 8
  for (std::uint32_t piece = 1; piece < row.pieces; ++piece) sum += at[piece * size];
  *at = sum;
}

template <class Value, unsigned kUnits, unsigned kParts>
void launch_sums(const Stream& stream, const LargeRows& batch, const ColumnLayout& layout, const float* vectors,
                 bool only_active) {
  const std::size_t shared_floats = kUnits == 1 ? layout.groups * layout.width * (16 / sizeof(Value)) : 0;
  launch(stream, "sum_pieces", sum_pieces<Value, kUnits, kParts>,
         {.grid_x = batch.piece_count,
          .grid_y = layout.panels,
          .block = layout.block,
          .shared_bytes = sizeof(Tile) + shared_floats * sizeof(float)},
         batch, layout, vectors, only_active);
}

template <class Value, unsigned kUnits>
void launch_parts(const Stream& stream, const LargeRows& batch, const ColumnLayout& layout, unsigned parts,
                  const float* vectors, bool only_active) {
  if constexpr (kUnits == 1) {  // without an image only where a matrix is made, at ranks up to kMaxCholeskyRank
    if (parts == kRight) return launch_sums<Value, 1, kRight>(stream, batch, layout, vectors, only_active);
    if (parts == (kRight | kSum)) {
      return launch_sums<Value, 1, kRight | kSum>(stream, batch, layout, vectors, only_active);
    }
  }
  switch (parts) {
    case kImage:
      return launch_sums<Value, kUnits, kImage>(stream, batch, layout, vectors, only_active);
    case kImage | kRight:
      return launch_sums<Value, kUnits, kImage | kRight>(stream, batch, layout, vectors, only_active);
    case kImage | kRight | kSum:
      return launch_sums<Value, kUnits, kImage | kRight | kSum>(stream, batch, layout, vectors, only_active);
    default:
      CONCERTO_CHECK(false, "no kernel for these parts of the sums");
  }
}

template <class Value>
void launch_for(const Stream& stream, const LargeRows& batch, unsigned parts, const float* vectors, bool only_active) {
  const auto units = static_cast<unsigned>(batch.stride * sizeof(Value) / 16);
  const auto whole_warps = [](unsigned threads) { return (threads + 31) / 32 * 32; };
  ColumnLayout layout;
  if (units <= kBlock) {
    layout.width = units;
    layout.groups = (kBlock + units - 1) / units;
    layout.block = whole_warps(layout.width * layout.groups);
    launch_parts<Value, 1>(stream, batch, layout, parts, vectors, only_active);
    return;
  }
  constexpr unsigned kMostUnits = 4;
  layout.panels = (units + kMostUnits * kBlock - 1) / (kMostUnits * kBlock);
  const unsigned per_panel = (units + layout.panels - 1) / layout.panels;
  const unsigned per_thread = per_panel <= 2 * kBlock ? 2 : kMostUnits;
  layout.width = whole_warps((per_panel + per_thread - 1) / per_thread);
  layout.block = layout.width;
  if (per_thread == 2) {
    launch_parts<Value, 2>(stream, batch, layout, parts, vectors, only_active);
  } else {
    launch_parts<Value, kMostUnits>(stream, batch, layout, parts, vectors, only_active);
  }
}

__global__ void read_present(LargeRows a) {
  const float* from = a.target + a.rows[blockIdx.x].row * a.stride;
  float* to = a.x + blockIdx.x * a.stride;
  for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) to[c] = from[c];
}

__global__ void write_solutions(LargeRows a) {
  const RowIndex row = a.rows[blockIdx.x].row;
  const float* x = a.x + blockIdx.x * a.stride;
  float* target = a.target + row * a.stride;
  float product = 0.0F;  // s.x
  for (std::uint64_t c = threadIdx.x; c < a.rank; c += blockDim.x) {
    float value = x[c];
    if (a.sums != nullptr) product += a.sums[blockIdx.x * a.stride + c] * value;
    value += a.momentum * (value - target[c]);
    target[c] = value;
    if (a.failed_row != nullptr && !is_finite(value)) note_failed_row(a.failed_row, row);
    if (a.target_shadow != nullptr) a.target_shadow[row * a.stride + c] = bf16_bits(value);
  }
  if (a.target_biases == nullptr) return;
  product = block_sum(product, reinterpret_cast<float*>(dynamic_shared()));
  if (threadIdx.x != 0) return;
  const float bias =
      a.bias_divisors != nullptr ? (a.states[blockIdx.x].residual_sum - product) / a.bias_divisors[row] : 0.0F;
  a.target_biases[row] = bias + a.momentum * (bias - a.target_biases[row]);
}

__global__ void write_zeros(LargeRows a, const RowIndex* rows) {
  const RowIndex row = rows[blockIdx.x];
  for (std::uint64_t c = threadIdx.x; c < a.stride; c += blockDim.x) {
    a.target[row * a.stride + c] = 0.0F;
    if (a.target_shadow != nullptr) a.target_shadow[row * a.stride + c] = 0;
  }
  if (threadIdx.x == 0 && a.target_biases != nullptr) a.target_biases[row] = 0.0F;
}

}  // namespace

void sum_large_rows(const Stream& stream, const LargeRows& batch, unsigned parts, const float* vectors,
                    bool only_active) {
  if (batch.fixed.element == Element::kBf16) {
    launch_for<std::uint16_t>(stream, batch, parts, vectors, only_active);
  } else {
    launch_for<float>(stream, batch, parts, vectors, only_active);
  }
  if (batch.long_count == 0) return;
  const std::uint64_t size = part_count(parts) * batch.stride;
  launch(stream, "fold_pieces", fold_pieces,
         {.grid_x = batch.long_count, .grid_y = static_cast<unsigned>((size + kBlock - 1) / kBlock), .block = kBlock},
         batch, part_count(parts), only_active);
}

void load_large_rows(const Stream& stream, const LargeRows& batch) {
  launch(stream, "read_present", read_present, {.grid_x = batch.row_count, .block = kBlock}, batch);
}

void write_large_rows(const Stream& stream, const LargeRows& batch) {
  launch(stream, "write_solutions", write_solutions,
         {.grid_x = batch.row_count, .block = kBlock, .shared_bytes = 32 * sizeof(float)}, batch);
}

void clear_large_rows(const Stream& stream, const LargeRows& step, const RowIndex* rows, std::size_t count) {
  if (count == 0) return;
  launch(stream, "write_zeros", write_zeros, {.grid_x = static_cast<unsigned>(count), .block = kBlock}, step, rows);
}

}  // namespace concerto::cuda
