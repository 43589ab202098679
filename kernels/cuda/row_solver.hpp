// Solving the rows of a step whose systems fit in shared memory: widths up to 256, the whole rank of an ALS step or a
// slice of a subspace step. What als.cu and subspace.cu share.
//
// Three kernels, by the class of a row (row_plan.hpp), in row_solver.cuh. They are compiled once for each padded width
// (row_solver_*.cu): a few minutes of compile time, cut in parallel pieces.
#pragma once

#include "cuda_backend.hpp"

namespace concerto::cuda {

struct SystemArguments;

inline constexpr std::uint32_t kMostSystemWidth = 256;
/// Rows with more entries are cut into segments: a few hundred microseconds of one block's gathering.
inline constexpr std::uint32_t kSegmentEntries = 8192;

/// The sums of segments are kept in batches of giant rows of this size: a wave of the largest chips at f = 256.
inline constexpr std::size_t kPartialBytes = std::size_t{128} << 20;
/// How many segments' sums are kept at a time; at least those of one row.
[[nodiscard]] std::uint32_t most_partial_sums(std::uint64_t width) noexcept;

/// Rows of at most this many entries are solved in the space of their entries; 0: none. `exactly`: by Cholesky, where
/// that needs an explicit objective and positive penalties.
[[nodiscard]] std::uint32_t light_entries(std::uint32_t width, const Objective& objective, bool exactly);

/// Do all entries have the same weight in the Gram matrix, so that the plain sum and a factor do?
[[nodiscard]] bool has_equal_weights(const RatingsBuffer& ratings, const Objective& objective) noexcept;

/// The parts of the arguments that a step's buffers and objective give: entries, fixed side, dense part, penalties,
/// target. `gram` may be null for explicit objectives.
[[nodiscard]] SystemArguments system_arguments(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                                               const TableBuffer& fixed, const GramBuffer* gram, TableBuffer& target,
                                               const Objective& objective);

/// Solves all rows of a plan; rows without counted entries become zero (ALS only: a slice leaves that to the caller).
/// `partials`: scratch for giant rows.
void solve_planned_rows(const Stream& stream, MemoryPool& pool, const SystemArguments& arguments, bool is_bf16,
                        bool equal_weights, const DeviceRowPlan& plan, Scratch<float>& partials);

/// Zeroes the rows listed, their shadow and biases.
void clear_rows(const Stream& stream, const DeviceArray<RowIndex>& rows, TableBuffer& table);

}  // namespace concerto::cuda
