// Cholesky's decomposition of a packed lower triangle by one thread block, blocked by 16 columns, with the right side
// as one more row, so that the forward solution comes with it.
//
// Per block of 16 columns: the first warp factors the 16 x 16 block on the diagonal, a row a lane, in registers; then
// every row below is solved against it, a row a thread; then the rest of the triangle is updated in tiles of 4 x 4 a
// thread, each reading 8 numbers for 16 multiply-adds. A pivot that is not positive and finite says that the matrix is
// not positive definite in fp32. Right-looking, in the order of the columns: the same bits each time. width^3 / 6
// multiply-adds.
#pragma once

#include "row_system.cuh"

namespace concerto::cuda {

inline constexpr unsigned kCholeskyBlock = 16;

/// Factors the block at `begin` of `count` <= 16 columns. By one whole warp. Inverse pivots go to `inverses[begin..]`.
/// False, in all lanes, if a pivot is not positive and finite.
__device__ inline bool factor_diagonal_block(float* matrix, unsigned begin, unsigned count, float* inverses) {
  const unsigned lane = threadIdx.x % 32;
  const bool is_row = lane < count;
  float* row = matrix + packed_floats(begin + lane) + begin;
  float values[kCholeskyBlock];
#pragma unroll
  for (unsigned c = 0; c < kCholeskyBlock; ++c) values[c] = is_row && c <= lane ? row[c] : 0.0F;
  bool is_definite = true;
#pragma unroll
  for (unsigned j = 0; j < kCholeskyBlock; ++j) {
    const float pivot = __shfl_sync(0xffffffffU, values[j], j);
    const bool is_usable = pivot > 0.0F && is_finite(pivot);
    is_definite = is_definite && (is_usable || j >= count);
    const float inverse = is_usable ? 1.0F / sqrtf(pivot) : 0.0F;
    values[j] *= inverse;
    if (lane == j && is_row) inverses[begin + j] = inverse;
#pragma unroll
    for (unsigned c = j + 1; c < kCholeskyBlock; ++c) {
      const float other = __shfl_sync(0xffffffffU, values[j], c);
      values[c] -= values[j] * other;
    }
  }
#pragma unroll
  for (unsigned c = 0; c < kCholeskyBlock; ++c) {
    if (is_row && c <= lane) row[c] = values[c];
  }
  return is_definite;
}

/// Solves row `r` below a factored block against it.
__device__ inline void solve_row_against_block(float* matrix, unsigned r, unsigned begin, unsigned count,
                                               const float* inverses) {
  float* row = matrix + packed_floats(r) + begin;
  float values[kCholeskyBlock];
#pragma unroll
  for (unsigned j = 0; j < kCholeskyBlock; ++j) {
    if (j < count) {
      const float* factor = matrix + packed_floats(begin + j) + begin;
      float value = row[j];
#pragma unroll
      for (unsigned m = 0; m < j; ++m) value -= values[m] * factor[m];
      values[j] = value * inverses[begin + j];
      row[j] = values[j];
    }
  }
}

/// Takes the outer product of the block's columns off the tile of 4 x 4 at (row, column); only what lies in the
/// triangle of `width` columns and `width` + 1 rows.
__device__ inline void update_tile(float* matrix, unsigned row, unsigned column, unsigned begin, unsigned count,
                                   unsigned width) {
  float sums[4][4] = {};
  const float* rows[4];
  const float* columns[4];
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) {
    rows[i] = matrix + packed_floats(min(row + i, width)) + begin;
    columns[i] = matrix + packed_floats(min(column + i, width)) + begin;
  }
  for (unsigned m = 0; m < count; ++m) {
    float left[4];
    float right[4];
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      left[i] = rows[i][m];
      right[i] = columns[i][m];
    }
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
#pragma unroll
      for (unsigned j = 0; j < 4; ++j) sums[i][j] += left[i] * right[j];
    }
  }
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) {
#pragma unroll
    for (unsigned j = 0; j < 4; ++j) {
      if (row + i <= width && column + j < width && column + j <= row + i) {
        matrix[packed_floats(row + i) + column + j] -= sums[i][j];
      }
    }
  }
}

/// Replaces `matrix` (width rows and the row of the right side) by its factor and the forward solution, and writes the
/// solution of the system to x. `inverses`: width floats. By the whole block. False, in the first warp, if the matrix
/// is not positive definite in fp32: x is then of no use.
__device__ inline bool solve_by_cholesky(float* matrix, unsigned width, float* inverses, float* x) {
  bool is_definite = true;
  for (unsigned begin = 0; begin < width; begin += kCholeskyBlock) {
    const unsigned count = min(kCholeskyBlock, width - begin);
    const unsigned next = begin + count;
    if (threadIdx.x < 32) is_definite = factor_diagonal_block(matrix, begin, count, inverses) && is_definite;
    __syncthreads();
    for (unsigned r = next + threadIdx.x; r <= width; r += blockDim.x) {
      solve_row_against_block(matrix, r, begin, count, inverses);
    }
    __syncthreads();
    // Tiles of the triangle below, numbered along its rows of tiles.
    const unsigned tile_rows = (width + 1 - next + 3) / 4;
    const unsigned tiles = tile_rows * (tile_rows + 1) / 2;
    for (unsigned tile = threadIdx.x; tile < tiles; tile += blockDim.x) {
      unsigned r = static_cast<unsigned>((sqrtf(8.0F * static_cast<float>(tile) + 1.0F) - 1.0F) * 0.5F);
      while (r * (r + 1) / 2 > tile) --r;
      while ((r + 1) * (r + 2) / 2 <= tile) ++r;
      update_tile(matrix, next + 4 * r, next + 4 * (tile - r * (r + 1) / 2), begin, count, width);
    }
    __syncthreads();
  }

  // Backward: the last block of columns first; what it settles is taken off all columns before it.
  for (unsigned c = threadIdx.x; c < width; c += blockDim.x) x[c] = matrix[packed_floats(width) + c];
  __syncthreads();
  for (unsigned end = width; end > 0;) {
    const unsigned begin = (end - 1) / kCholeskyBlock * kCholeskyBlock;
    if (threadIdx.x < 32) {
      const unsigned lane = threadIdx.x;
      const bool is_column = begin + lane < end && lane < kCholeskyBlock;
      float value = is_column ? x[begin + lane] : 0.0F;
      for (unsigned j = end - begin; j-- > 0;) {
        const float solved = __shfl_sync(0xffffffffU, value, j) * inverses[begin + j];
        if (lane == j) value = solved;
        if (lane < j) value -= matrix[packed_floats(begin + j) + begin + lane] * solved;
      }
      if (is_column) x[begin + lane] = value;
    }
    __syncthreads();
    for (unsigned c = threadIdx.x; c < begin; c += blockDim.x) {
      float value = x[c];
      for (unsigned j = begin; j < end; ++j) value -= matrix[packed_floats(j) + c] * x[j];
      x[c] = value;
    }
    __syncthreads();
    end = begin;
  }
  return is_definite;
}

}  // namespace concerto::cuda
