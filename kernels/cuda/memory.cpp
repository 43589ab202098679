// Predicts what the cuda backend takes, on the device and on the host, so that a run that does not fit is refused
// before it starts. It knows shapes, not the ratings: where the lengths of rows matter it takes the worst. It does not
// ask the device what is free.
#include "memory.hpp"

#include <algorithm>
#include <bit>

#include "concerto/data/partition.hpp"

#include "als_large.hpp"
#include "cuda_backend.hpp"
#include "gram.hpp"
#include "large_plan.hpp"
#include "large_rows.hpp"
#include "row_solver.hpp"
#include "sgd_grid.hpp"
#include "subspace_batch.hpp"

namespace concerto::cuda {
namespace {

/// Weights and states of a row during SGD (sgd_grid_bytes leaves them out), and what its counts take on the host.
constexpr std::uint64_t kSgdRowBytes = 20;
constexpr std::uint64_t kSgdHostRowBytes = sizeof(EntryIndex);

/// The state of a row of a batch, of a piece its residual.
constexpr std::uint64_t kLargeFactBytes = 16;

/// A loss has a sum for each so many entries at least (loss.cu).
constexpr std::uint64_t kEntriesPerSum = 1024;

/// What an array takes of the pool.
std::uint64_t array_bytes(std::uint64_t size, std::size_t element) {
  return MemoryPool::rounded(static_cast<std::size_t>(size * element));
}

/// Vectors are a rank long and padded.
std::uint64_t stride_of(const MemoryShape& shape) {
  return FactorTable::padded(shape.rank);
}

/// One orientation: where rows begin, columns, values.
std::uint64_t ratings_bytes(const MemoryShape& shape, RowIndex rows) {
  return array_bytes(std::uint64_t{rows} + 1, sizeof(EntryIndex)) + array_bytes(shape.entries, sizeof(RowIndex)) +
         (shape.values ? array_bytes(shape.entries, sizeof(float)) : 0);
}

std::uint64_t table_bytes(const MemoryShape& shape, RowIndex rows, Gather gather) {
  const std::uint64_t values = rows * stride_of(shape);
  std::uint64_t bytes = array_bytes(values, sizeof(float));
  if (gather == Gather::kBf16) bytes += array_bytes(values, sizeof(std::uint16_t));
  if (shape.biases) bytes += array_bytes(rows, sizeof(float));
  if (shape.solver == MemoryShape::Solver::kSgd) bytes += array_bytes(rows, sizeof(float));
  return bytes;
}

/// RowTerms: penalties, and with biases two numbers more, kept for the solver and, where its penalty is none, once more
/// for the loss.
std::uint64_t terms_bytes(const MemoryShape& shape, RowIndex rows) {
  constexpr std::uint64_t kObjectives = 2;
  return kObjectives * (shape.biases ? 3 : 1) * array_bytes(rows, sizeof(float));
}

/// Are the systems of this training solved in one fused pass a row?
bool is_fused(const MemoryShape& shape) {
  return shape.solver == MemoryShape::Solver::kSubspace ||
         (shape.solver != MemoryShape::Solver::kSgd && shape.rank <= kMostSystemWidth);
}

/// Segments of giant rows, as plan_rows cuts them: the fewest that hold all entries, and one more a row.
std::uint64_t most_segments(const MemoryShape& shape, RowIndex rows) {
  const std::uint64_t giants = std::min<std::uint64_t>(rows, shape.entries / (kSegmentEntries + 1));
  return giants == 0 ? 0 : shape.entries / kSegmentEntries + giants;
}

/// A row is in one class of its plan, whose entries take 16 bytes at most; segments come on top.
std::uint64_t plan_bytes(const MemoryShape& shape, RowIndex rows) {
  if (is_fused(shape)) return array_bytes(rows + most_segments(shape, rows), sizeof(WorkItem));
  if (shape.solver == MemoryShape::Solver::kSgd) return 0;
  const std::uint64_t pieces = rows + shape.entries / kPieceEntries;
  return array_bytes(rows, sizeof(LargeRow)) + array_bytes(pieces, sizeof(LargePiece));
}

/// Sums of a batch of segments of giant rows: packed Gram, two vectors, a number each.
std::uint64_t partial_bytes(const MemoryShape& shape, std::uint64_t width) {
  const std::uint64_t all = std::max(most_segments(shape, shape.users), most_segments(shape, shape.items));
  const std::uint64_t segments = std::min<std::uint64_t>(all, most_partial_sums(width));
  return array_bytes(segments * (width * (width + 1) / 2 + 2 * width + 1), sizeof(float));
}

/// A batch of rows' scores, and two arrays of their slices.
std::uint64_t subspace_bytes(const MemoryShape& shape, std::uint64_t width) {
  const RowIndex rows = std::max(shape.users, shape.items);
  const std::uint64_t scores = std::min<std::uint64_t>(shape.entries, std::max<EntryIndex>(kBatchEntries, rows));
  const std::uint64_t values = std::min<std::uint64_t>(rows * width, std::max(kBatchValues, width));
  return array_bytes(scores, sizeof(float)) + 2 * array_bytes(values, sizeof(float));
}

/// Vectors of a batch's rows and of their pieces, and, for Cholesky, a matrix a row (als_large.cu). A row that needs
/// more than a batch has is a batch of its own.
std::uint64_t large_bytes(const MemoryShape& shape) {
  const LargeScratch scratch;
  const std::uint64_t vector = stride_of(shape) * sizeof(float);
  const std::uint64_t rows = std::max<std::uint64_t>(1, std::max(shape.users, shape.items));
  const std::uint64_t batch_rows = std::min(rows, std::max<std::uint64_t>(1, scratch.vector_bytes / 3 / (6 * vector)));
  const std::uint64_t batch_pieces =
      std::min(rows + shape.entries / kPieceEntries,
               std::max<std::uint64_t>(kMostPieces, scratch.vector_bytes / 3 * 2 / (3 * vector)));
  const std::uint64_t row_vectors = 4 + (shape.is_implicit ? 1 : 0) + (shape.biases ? 1 : 0);
  const std::uint64_t piece_vectors = 2 + (shape.biases ? 1 : 0);
  std::uint64_t bytes =
      batch_rows * (row_vectors * vector + kLargeFactBytes) + batch_pieces * (piece_vectors * vector + kLargeFactBytes);
  if (shape.solver == MemoryShape::Solver::kCholesky) {
    const std::uint64_t matrix = LargeCholesky::matrix_bytes(std::min(shape.rank, kMaxCholeskyRank));
    bytes += std::max(matrix, std::min<std::uint64_t>(scratch.matrix_bytes, rows * matrix));
  }
  return bytes;
}

/// The other side's Gram matrix, held for the loss, and this one on its way (gram.cu): a stack of sums of whole chunks,
/// and where there are several chunks, a batch of theirs.
std::uint64_t gram_bytes(const MemoryShape& shape) {
  const std::uint64_t matrix = array_bytes(stride_of(shape) * stride_of(shape), sizeof(float));
  const RowIndex rows = std::max<RowIndex>(1, std::max(shape.users, shape.items));
  const RowIndex chunk = chunk_rows(rows);
  const std::uint64_t whole = rows / chunk;
  const std::uint64_t chunks = whole + (rows % chunk != 0 ? 1 : 0);
  const std::uint64_t stack = std::bit_width(chunks - 1) + std::uint64_t{1};
  const std::uint64_t batch = whole > 1 ? std::min<std::uint64_t>(kGramBatchBytes, whole * matrix) : 0;
  return (1 + stack) * matrix + batch;
}

std::uint64_t solving_bytes(const MemoryShape& shape) {
  std::uint64_t bytes = shape.is_implicit ? gram_bytes(shape) : 0;
  if (is_fused(shape)) {
    const bool is_subspace = shape.solver == MemoryShape::Solver::kSubspace;
    const std::uint64_t width = is_subspace ? std::min(shape.slice, shape.rank) : shape.rank;
    bytes += partial_bytes(shape, width);
    if (is_subspace) bytes += subspace_bytes(shape, width);
  } else if (shape.solver != MemoryShape::Solver::kSgd) {
    bytes += large_bytes(shape);
  }
  return bytes;
}

}  // namespace

DeviceBytes predict_device_bytes(const MemoryShape& shape, Gather gather) {
  // Held-out entries come in pieces of 64 MiB. A ranking has scores of 128 MiB at most, where they do not stay in the
  // cache, and pieces of factors, exclusions and lists of 64 MiB; the longest lists (over 2,048 places) take more.
  constexpr std::uint64_t kMeasuringBytes = std::uint64_t{192} << 20;
  constexpr std::uint64_t kCandidateBytes = 2 * sizeof(RowIndex) + sizeof(float);  // places among ties, a bias or norm
  // cuBLAS is documented to keep 32 MiB for each stream on sm_90; as much again for kernels, which load when first
  // used.
  constexpr std::uint64_t kLibraryBytes = std::uint64_t{64} << 20;
  const bool is_sgd = shape.solver == MemoryShape::Solver::kSgd;
  DeviceBytes bytes;
  for (const RowIndex rows : {shape.users, shape.items}) {
    bytes.ratings += ratings_bytes(shape, rows);
    bytes.tables += table_bytes(shape, rows, gather);
    bytes.rows += terms_bytes(shape, rows) + plan_bytes(shape, rows);
    if (is_sgd) bytes.rows += array_bytes(rows, kSgdRowBytes);
  }
  if (is_sgd) bytes.ratings += sgd_grid_bytes(shape.entries, shape.users, shape.items);
  bytes.solving = solving_bytes(shape);
  bytes.measuring = kMeasuringBytes + array_bytes(shape.items, kCandidateBytes) +
                    array_bytes(shape.entries / kEntriesPerSum, sizeof(double));
  bytes.libraries = kLibraryBytes;
  return bytes;
}

}  // namespace concerto::cuda

namespace concerto {

std::uint64_t cuda_device_bytes(const MemoryShape& shape, Gather gather) {
  return cuda::predict_device_bytes(shape, gather).total();
}

std::uint64_t cuda_host_bytes(const MemoryShape& shape) {
  // Of each row where its entries begin and how many count, kept; its plan while it is made.
  constexpr std::uint64_t kRowBytes = 2 * sizeof(EntryIndex) + sizeof(cuda::WorkItem);
  const std::uint64_t rows = std::uint64_t{shape.users} + shape.items;
  const std::uint64_t bytes = kRowBytes * rows;
  if (shape.solver != MemoryShape::Solver::kSgd) return bytes;
  return bytes + cuda::kSgdHostRowBytes * rows + cuda::sgd_grid_bytes(shape.entries, shape.users, shape.items);
}

}  // namespace concerto
