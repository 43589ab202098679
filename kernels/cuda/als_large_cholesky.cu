// Cholesky decompositions in device memory, for ranks whose matrices do not fit into shared memory.
//
// All rows of a batch go in lockstep. First their Gram matrices: a block makes a tile of 64 x 64 of one row's matrix
// from the row's entries (bf16 rows by tensor cores, fp32 rows by multiply-adds) and adds what does not depend on
// entries. Then, for each block of 64 columns from the left: one block a row updates its tile on the diagonal by the
// columns before it, factors it, inverts the factor and takes the right side one block of columns further; then a block
// for each tile below updates it likewise and multiplies it with the inverse. At last a block a row substitutes
// backward. Left-looking: a tile is read and written once, and what is read over and over is finished. No sum depends
// on which block ran first. A pivot that is not positive and finite is noted as a failure of its row; its inverse is
// taken for 0, as is that of padding columns, which are columns of zeros. Only the lower triangle of tiles is used.
#include <algorithm>

#include "cholesky.cuh"
#include "device/launch.cuh"
#include "large_gram_tile.cuh"
#include "large_sums.cuh"

namespace concerto::cuda {
namespace {

using namespace large_tiles;

constexpr unsigned kDepth = 16;  // columns of a stage of a product
constexpr unsigned kSolveBlock = 256;

/// The matrices of a batch: `padded` rows and columns each.
struct Matrices {
  float* values = nullptr;
  float* inverses = nullptr;  ///< padded x kTile a row: inverses of the factors on the diagonal, one below another
  float* right = nullptr;     ///< padded a row
  std::uint64_t padded = 0;
  [[nodiscard]] __device__ float* of(unsigned slot) const { return values + slot * padded * padded; }
};

/// From the sums over entries: right side, s and q of each row.
__global__ void prepare_right(LargeRows a, Matrices m) {
  const LargeRow row = a.rows[blockIdx.x];
  const bool is_biased = a.bias_divisors != nullptr;
  const unsigned parts = is_biased ? 2 : 1;
  const float residual_sum = residual_total(a, row, reinterpret_cast<float*>(dynamic_shared()));
  const float share = is_biased ? residual_sum / a.bias_divisors[row.row] : 0.0F;
  for (std::uint64_t c = threadIdx.x; c < m.padded; c += blockDim.x) {
    float right = 0.0F;
    if (c < a.stride) {
      right = total_at(a, row, parts, 0, c);
      if (is_biased) {
        const float s = total_at(a, row, parts, 1, c);
        a.sums[blockIdx.x * a.stride + c] = s;
        right -= s * share;
      }
    }
    m.right[blockIdx.x * m.padded + c] = right;
  }
  if (threadIdx.x == 0) a.states[blockIdx.x].residual_sum = residual_sum;
}

/// Grid: rows of the batch x tiles of the triangle.
template <class Value, bool kSigned>
__global__ void __launch_bounds__(kBlock) make_matrices(LargeRows a, Matrices m) {
  const LargeRow row = a.rows[blockIdx.x];
  const LargePiece& first = a.pieces[row.first_piece];
  const LargePiece& last = a.pieces[row.first_piece + row.pieces - 1];
  const TilePlace place = tile_at(blockIdx.y);
  GramTile<Value, kSigned> gram(a, place, first.begin, last.begin + last.length);
  const float* tile = gram.run();
  const float penalty = a.penalties[row.row];
  const float* sums = a.sums + blockIdx.x * a.stride;
  const float inverse = a.bias_divisors != nullptr ? 1.0F / a.bias_divisors[row.row] : 0.0F;
  float* matrix = m.of(blockIdx.x);
  for (unsigned at = threadIdx.x; at < kTile * kTile; at += kBlock) {
    const unsigned inside = at / kTile;
    const unsigned r = place.row * kTile + inside;
    const unsigned c = place.column * kTile + at % kTile;
    float value = 0.0F;
    if (r < a.rank && c < a.rank) {
      value = tile[inside * kPitch + at % kTile];
      if (a.gram != nullptr) value += a.base * a.gram[r * a.stride + c];
      if (a.bias_divisors != nullptr) value -= sums[r] * inverse * sums[c];
      if (r == c) value += penalty;
    }
    matrix[r * m.padded + c] = value;
  }
}

/// Two tiles in shared memory, each by columns: element (row, column) at column * kPitch + row.
struct TilePair {
  float left[kTile * kPitch];
  float right[kTile * kPitch];
};

/// sums += left right^T over `depth` columns that lie in shared memory; a thread has rows 8 (t / 16).. and columns
/// 4 (t % 16)..
__device__ __forceinline__ void add_product(float (&sums)[8][4], const TilePair& tiles, unsigned depth) {
  const unsigned row = threadIdx.x / 16 * 8;
  const unsigned column = threadIdx.x % 16 * 4;
#pragma unroll 8
  for (unsigned k = 0; k < depth; ++k) {
    const float4 upper = *reinterpret_cast<const float4*>(tiles.left + k * kPitch + row);
    const float4 lower = *reinterpret_cast<const float4*>(tiles.left + k * kPitch + row + 4);
    const float4 right = *reinterpret_cast<const float4*>(tiles.right + k * kPitch + column);
    const float left[8] = {upper.x, upper.y, upper.z, upper.w, lower.x, lower.y, lower.z, lower.w};
#pragma unroll
    for (unsigned i = 0; i < 8; ++i) {
      sums[i][0] += left[i] * right.x;
      sums[i][1] += left[i] * right.y;
      sums[i][2] += left[i] * right.z;
      sums[i][3] += left[i] * right.w;
    }
  }
}

__device__ __forceinline__ void store_transposed(float* tile, unsigned row, unsigned column, const float4& four) {
  tile[column * kPitch + row] = four.x;
  tile[(column + 1) * kPitch + row] = four.y;
  tile[(column + 2) * kPitch + row] = four.z;
  tile[(column + 3) * kPitch + row] = four.w;
}

/// sums = left right^T over the first `depth` columns (a multiple of kDepth) of 64 rows each, `pitch` floats a row. The
/// next columns are on their way while these are multiplied. Returns synchronized.
__device__ __forceinline__ void multiply_bands(float (&sums)[8][4], const float* left, const float* right,
                                               std::uint64_t pitch, unsigned depth, TilePair& tiles) {
  constexpr unsigned kFours = kTile * kDepth / 4 / kBlock;  // of a thread, of each band
  float4 next_left[kFours];
  float4 next_right[kFours];
  const unsigned row = threadIdx.x / (kDepth / 4);
  const unsigned inside = threadIdx.x % (kDepth / 4) * 4;
  constexpr unsigned kRows = kBlock / (kDepth / 4);  // between two fours of a thread
  const auto load = [&](unsigned begin) {
#pragma unroll
    for (unsigned f = 0; f < kFours; ++f) {
      const std::uint64_t at = (row + f * kRows) * pitch + begin + inside;
      next_left[f] = *reinterpret_cast<const float4*>(left + at);
      next_right[f] = *reinterpret_cast<const float4*>(right + at);
    }
  };
  if (depth > 0) load(0);
  for (unsigned begin = 0; begin < depth; begin += kDepth) {
#pragma unroll
    for (unsigned f = 0; f < kFours; ++f) {
      store_transposed(tiles.left, row + f * kRows, inside, next_left[f]);
      store_transposed(tiles.right, row + f * kRows, inside, next_right[f]);
    }
    __syncthreads();
    if (begin + kDepth < depth) load(begin + kDepth);
    add_product(sums, tiles, kDepth);
    __syncthreads();
  }
}

/// Factors a tile (row-major, kPitch a row) in place, left-looking, a row a thread; inverse pivots to `pivots`, 0 where
/// a pivot is not positive and finite. Synchronized before and after.
__device__ inline void factor_tile(float* tile, float* pivots) {
  const unsigned r = threadIdx.x;
  for (unsigned j = 0; j < kTile; ++j) {
    if (r >= j && r < kTile) {
      float value = tile[r * kPitch + j];
      for (unsigned k = 0; k < j; ++k) value -= tile[r * kPitch + k] * tile[j * kPitch + k];
      tile[r * kPitch + j] = value;
      if (r == j) pivots[j] = value > 0.0F && is_finite(value) ? 1.0F / sqrtf(value) : 0.0F;
    }
    __syncthreads();
    if (r >= j && r < kTile) tile[r * kPitch + j] *= pivots[j];
    __syncthreads();  // the next column reads it in another thread's row
  }
}

/// inverse (row-major, kPitch a row) = the inverse of the factor, a column a thread; zero where the pivot was.
__device__ inline void invert_tile(const float* tile, const float* pivots, float* inverse) {
  const unsigned c = threadIdx.x;
  if (c < kTile) {
    for (unsigned r = 0; r < kTile; ++r) {
      float value = r == c ? 1.0F : 0.0F;
      for (unsigned k = c; k < r; ++k) value -= tile[r * kPitch + k] * inverse[k * kPitch + c];
      inverse[r * kPitch + c] = value * pivots[r];
    }
  }
  __syncthreads();
}

struct DiagonalShared {
  TilePair tiles;
  float pivots[kTile];
  float right[kTile];
};

/// Updates, factors and inverts the tile on the diagonal at `begin`, and solves the right side so far.
__global__ void __launch_bounds__(kBlock) factor_diagonal(LargeRows a, Matrices m, unsigned begin) {
  auto& shared = *reinterpret_cast<DiagonalShared*>(dynamic_shared());
  float* matrix = m.of(blockIdx.x);
  float* band = matrix + begin * m.padded;
  float sums[8][4] = {};
  multiply_bands(sums, band, band, m.padded, begin, shared.tiles);
  float* tile = shared.tiles.left;
  const unsigned row = threadIdx.x / 16 * 8;
  const unsigned column = threadIdx.x % 16 * 4;
#pragma unroll
  for (unsigned i = 0; i < 8; ++i) {
    const float4 four = *reinterpret_cast<const float4*>(band + (row + i) * m.padded + begin + column);
    *reinterpret_cast<float4*>(tile + (row + i) * kPitch + column) = {four.x - sums[i][0], four.y - sums[i][1],
                                                                      four.z - sums[i][2], four.w - sums[i][3]};
  }
  __syncthreads();
  factor_tile(tile, shared.pivots);
  if (threadIdx.x < kTile && begin + threadIdx.x < a.rank && shared.pivots[threadIdx.x] == 0.0F) {
    note_failed_row(a.failed_row, a.rows[blockIdx.x].row);
  }
  float* inverse = shared.tiles.right;
  invert_tile(tile, shared.pivots, inverse);

  // The right side: what earlier blocks of columns take off it, a warp a row; then the block itself.
  float* right = m.right + blockIdx.x * m.padded;
  for (unsigned r = threadIdx.x / 32; r < kTile; r += kBlock / 32) {
    float sum = 0.0F;
    for (unsigned c = threadIdx.x % 32; c < begin; c += 32) sum += band[r * m.padded + c] * right[c];
    for (unsigned step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, step);
    if (threadIdx.x % 32 == 0) shared.right[r] = right[begin + r] - sum;
  }
  __syncthreads();
  if (threadIdx.x < kTile) {
    float value = 0.0F;
    for (unsigned k = 0; k <= threadIdx.x; ++k) value += inverse[threadIdx.x * kPitch + k] * shared.right[k];
    right[begin + threadIdx.x] = value;
  }
  for (unsigned at = threadIdx.x; at < kTile * kTile; at += kBlock) {
    const unsigned r = at / kTile;
    const unsigned c = at % kTile;
    band[r * m.padded + begin + c] = c <= r ? tile[r * kPitch + c] : 0.0F;
    m.inverses[(blockIdx.x * m.padded + begin) * kTile + at] = inverse[r * kPitch + c];
  }
}

/// The tiles below the diagonal at `begin`. Grid: rows of the batch x tiles.
__global__ void __launch_bounds__(kBlock) solve_panel(Matrices m, unsigned begin) {
  auto& tiles = *reinterpret_cast<TilePair*>(dynamic_shared());
  float* matrix = m.of(blockIdx.x);
  float* band = matrix + (begin + std::uint64_t{blockIdx.y + 1} * kTile) * m.padded;
  const float* inverse = m.inverses + (blockIdx.x * m.padded + begin) * kTile;
  float sums[8][4] = {};
  multiply_bands(sums, band, matrix + begin * m.padded, m.padded, begin, tiles);
  const unsigned row = threadIdx.x / 16 * 8;
  const unsigned column = threadIdx.x % 16 * 4;
#pragma unroll
  for (unsigned i = 0; i < 8; ++i) {
    const float4 four = *reinterpret_cast<const float4*>(band + (row + i) * m.padded + begin + column);
    store_transposed(tiles.left, row + i, column,
                     {four.x - sums[i][0], four.y - sums[i][1], four.z - sums[i][2], four.w - sums[i][3]});
  }
  for (unsigned at = threadIdx.x; at < kTile * kTile / 4; at += kBlock) {
    const unsigned r = at / (kTile / 4);
    const unsigned c = at % (kTile / 4) * 4;
    store_transposed(tiles.right, r, c, *reinterpret_cast<const float4*>(inverse + r * kTile + c));
  }
  __syncthreads();
  float solved[8][4] = {};
  add_product(solved, tiles, kTile);
#pragma unroll
  for (unsigned i = 0; i < 8; ++i) {
    *reinterpret_cast<float4*>(band + (row + i) * m.padded + begin + column) = {solved[i][0], solved[i][1],
                                                                                solved[i][2], solved[i][3]};
  }
}

/// x from the forward solutions, the last block of columns first. Shared memory: padded + 5 kTile floats.
__global__ void __launch_bounds__(kSolveBlock) substitute_backward(LargeRows a, Matrices m) {
  auto* x = reinterpret_cast<float*>(dynamic_shared());
  float* sums = x + m.padded;
  float* rest = sums + kSolveBlock;
  const float* matrix = m.of(blockIdx.x);
  const float* right = m.right + blockIdx.x * m.padded;
  const unsigned c = threadIdx.x % kTile;
  const unsigned group = threadIdx.x / kTile;
  for (unsigned begin = static_cast<unsigned>(m.padded); begin > 0;) {
    const unsigned end = begin;
    begin -= kTile;
    float sum = 0.0F;
#pragma unroll 4
    for (unsigned r = end + group; r < m.padded; r += kSolveBlock / kTile)
      sum += matrix[r * m.padded + begin + c] * x[r];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (group == 0) {
      float value = right[begin + c];
      for (unsigned g = 0; g < kSolveBlock / kTile; ++g) value -= sums[g * kTile + c];
      rest[c] = value;
    }
    __syncthreads();
    if (group == 0) {
      const float* inverse = m.inverses + (blockIdx.x * m.padded + begin) * kTile;
      float value = 0.0F;
#pragma unroll 8
      for (unsigned r = 0; r < kTile; ++r) value += inverse[r * kTile + c] * rest[r];
      x[begin + c] = value;
    }
    __syncthreads();
  }
  for (unsigned at = threadIdx.x; at < a.stride; at += blockDim.x) a.x[blockIdx.x * a.stride + at] = x[at];
}

template <class Value, bool kSigned>
void launch_matrices(const Stream& stream, const LargeRows& batch, const Matrices& matrices, unsigned tiles) {
  launch(stream, "make_matrices", make_matrices<Value, kSigned>,
         {.grid_x = batch.row_count,
          .grid_y = tiles,
          .block = kBlock,
          .shared_bytes = GramTile<Value, kSigned>::kSharedBytes},
         batch, matrices);
}

std::uint32_t padded_rank(std::uint32_t rank) noexcept {
  return (rank + kTile - 1) / kTile * kTile;
}

}  // namespace

std::size_t LargeCholesky::matrix_bytes(std::uint32_t rank) noexcept {
  const std::size_t padded = padded_rank(rank);
  return padded * (padded + kTile + 1) * sizeof(float);
}

LargeCholesky::LargeCholesky(MemoryPool& pool, const Stream& stream, std::uint32_t rank, std::size_t rows)
    : stream_(stream),
      padded_(padded_rank(rank)),
      matrices_(pool, rows * padded_ * padded_, "matrices of rows"),
      inverses_(pool, rows * padded_ * kTile, "matrices of rows"),
      right_(pool, rows * padded_, "matrices of rows") {}

void LargeCholesky::solve(const LargeRows& batch) {
  const Matrices matrices{matrices_.data(), inverses_.data(), right_.data(), padded_};
  const unsigned tiles = padded_ / kTile;
  const unsigned triangle = tiles * (tiles + 1) / 2;
  const bool is_signed = batch.objective.is_implicit();
  sum_large_rows(stream_, batch, kRight | (batch.bias_divisors != nullptr ? kSum : 0U), nullptr, false);
  launch(stream_, "prepare_right", prepare_right,
         {.grid_x = batch.row_count, .block = kSolveBlock, .shared_bytes = 32 * sizeof(float)}, batch, matrices);
  if (batch.fixed.element == Element::kBf16) {
    if (is_signed) {
      launch_matrices<std::uint16_t, true>(stream_, batch, matrices, triangle);
    } else {
      launch_matrices<std::uint16_t, false>(stream_, batch, matrices, triangle);
    }
  } else if (is_signed) {
    launch_matrices<float, true>(stream_, batch, matrices, triangle);
  } else {
    launch_matrices<float, false>(stream_, batch, matrices, triangle);
  }
  for (unsigned tile = 0; tile < tiles; ++tile) {
    launch(stream_, "factor_diagonal", factor_diagonal,
           {.grid_x = batch.row_count, .block = kBlock, .shared_bytes = sizeof(DiagonalShared)}, batch, matrices,
           tile * kTile);
    if (tile + 1 == tiles) break;
    launch(stream_, "solve_panel", solve_panel,
           {.grid_x = batch.row_count, .grid_y = tiles - tile - 1, .block = kBlock, .shared_bytes = sizeof(TilePair)},
           matrices, tile * kTile);
  }
  launch(stream_, "substitute_backward", substitute_backward,
         {.grid_x = batch.row_count,
          .block = kSolveBlock,
          .shared_bytes = (padded_ + kSolveBlock + kTile) * sizeof(float)},
         batch, matrices);
  write_large_rows(stream_, batch);
}

}  // namespace concerto::cuda
