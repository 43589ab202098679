// Y^T Y of the rows of a matrix on the device: per chunk of rows, chunks along the tree of base/tree_sum.hpp. Apart
// from the backend's operation so that a test can choose the size of its batches.
#pragma once

#include <cstddef>

#include "concerto/base/ids.hpp"

#include "dense.hpp"

namespace concerto::cuda {

/// Scratch for the Gram matrices of chunks that are made at a time; where one alone is larger, it is one at a time.
inline constexpr std::size_t kGramBatchBytes = std::size_t{128} << 20;

/// stride x stride floats, both triangles: the sum over the `rows` rows of `matrix`, whose padding must be zero. Which
/// batches it was made in changes nothing in the result. Besides the batch it holds up to log2(chunks) + 1 matrices.
[[nodiscard]] DeviceArray<float> gram_of_rows(MemoryPool& pool, const Stream& stream, Dense& dense,
                                              const MatrixView& matrix, RowIndex rows, std::size_t batch_bytes);

}  // namespace concerto::cuda
