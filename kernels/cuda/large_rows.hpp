// What the two large-rank solvers share: the vectors of a batch of rows in device memory, sums over the rows' entries,
// and how solutions are written.
//
// Row systems as in row_system.cuh. A row of the batch has a slot; its vectors are `stride` floats at slot * stride,
// zero in the padding. Sums over entries come as partial sums, a piece each, and are added in the order of the pieces.
#pragma once

#include <cstdint>

#include "concerto/model/objective.hpp"

#include "cuda_backend.hpp"
#include "large_plan.hpp"

namespace concerto::cuda {

/// Which sums over a row's entries: image = sum_k g_k (y_k.v) y_k of a vector v, right = sum_k h_k y_k, s = sum_k y_k.
enum SumParts : unsigned { kImage = 1, kRight = 2, kSum = 4 };

/// Where a row of the batch stands.
struct RowState {
  float norm = 0.0F;          ///< CG: |residual|^2
  float floor = 0.0F;         ///< CG: the norm that is negligible
  float residual_sum = 0.0F;  ///< q
  std::uint32_t is_active = 0;
};

/// What kernels need to know of a step and its batch. Device pointers; null where a part is absent.
struct LargeRows {
  // The step.
  const RowIndex* columns = nullptr;
  const float* values = nullptr;
  const float* column_biases = nullptr;
  Objective objective;
  MatrixView fixed;
  const float* gram = nullptr;  ///< stride x stride; null where base is 0
  float base = 0.0F;
  const float* penalties = nullptr;
  const float* bias_divisors = nullptr;
  float* target = nullptr;
  std::uint16_t* target_shadow = nullptr;
  float* target_biases = nullptr;
  std::uint32_t* failed_row = nullptr;  ///< FailedRow::device(), of exact systems
  float momentum = 0.0F;
  std::uint32_t rank = 0;
  std::uint64_t stride = 0;

  // The batch.
  const LargeRow* rows = nullptr;
  const LargePiece* pieces = nullptr;
  const std::uint32_t* longs = nullptr;
  std::uint32_t row_count = 0;
  std::uint32_t piece_count = 0;
  std::uint32_t long_count = 0;

  // Scratch of the batch.
  float* partials = nullptr;         ///< a vector for each piece and part of the sums
  float* piece_residuals = nullptr;  ///< sum of h_k, a piece each
  float* x = nullptr;
  float* sums = nullptr;  ///< s; null without biases
  RowState* states = nullptr;
};

[[nodiscard]] constexpr unsigned part_count(unsigned parts) noexcept {
  return (parts & 1U) + (parts >> 1 & 1U) + (parts >> 2 & 1U);
}

/// Writes the sums `parts` over the entries of every row to `partials`, part after part of a piece; rows of many pieces
/// have their total in their first piece's place. `vectors` is v of image, or null. With `only_active`, rows that are
/// not active are left out.
void sum_large_rows(const Stream& stream, const LargeRows& batch, unsigned parts, const float* vectors,
                    bool only_active);

/// x becomes the rows' present values.
void load_large_rows(const Stream& stream, const LargeRows& batch);
/// Writes x (with momentum) and its biases to the target and its shadow.
void write_large_rows(const Stream& stream, const LargeRows& batch);
/// Makes rows of the target zero.
void clear_large_rows(const Stream& stream, const LargeRows& step, const RowIndex* rows, std::size_t count);

/// Solves batches by Cholesky decomposition in device memory (als_large_cholesky.cu); scratch for `rows` rows, of which
/// each takes matrix_bytes.
class LargeCholesky {
 public:
  LargeCholesky(MemoryPool& pool, const Stream& stream, std::uint32_t rank, std::size_t rows);
  [[nodiscard]] static std::size_t matrix_bytes(std::uint32_t rank) noexcept;
  void solve(const LargeRows& batch);

 private:
  const Stream& stream_;
  std::uint32_t padded_;  ///< the rank rounded up to whole tiles
  DeviceArray<float> matrices_;
  DeviceArray<float> inverses_;  ///< of the tiles on the diagonal
  DeviceArray<float> right_;     ///< `padded_` a row: right side, then the forward solution
};

}  // namespace concerto::cuda
