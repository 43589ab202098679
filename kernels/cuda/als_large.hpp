// ALS steps of ranks whose row systems do not fit into shared memory: conjugate gradient without a matrix at any rank,
// Cholesky on matrices in device memory up to kMaxCholeskyRank. Private to kernels/cuda: CudaBackend::solve_rows calls
// it above rank 256, where one fused kernel no longer holds a row.
#pragma once

#include <cstddef>

#include "cuda_backend.hpp"

namespace concerto::cuda {

/// Scratch memory for the vectors of a batch of rows (CG), and for its matrices (Cholesky). Fixed numbers, not shares
/// of what is free, so that the batches of a step, and with them the last bits of dense products, are the same each
/// time.
struct LargeScratch {
  std::size_t vector_bytes = std::size_t{256} << 20;
  std::size_t matrix_bytes = std::size_t{1} << 30;
};

/// One ALS step (SolveStep in compute/backend.hpp) on device buffers of any rank. Error{kUnsupported} for Cholesky
/// above kMaxCholeskyRank. Per row of n entries and each CG step about 4 n rank multiply-adds, and rank^2 where there
/// is a dense part; by Cholesky n rank^2 / 2 + rank^3 / 6.
void solve_rows_large(MemoryPool& pool, const Stream& stream, Dense& dense, const SolveStep& step,
                      const LargeScratch& scratch = {});

}  // namespace concerto::cuda
