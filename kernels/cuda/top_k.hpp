// The parts of top_k: how queries are cut into pieces and batches, and the two ways to rank a batch's scores.
//
// Private to kernels/cuda. What is here is decided on the host from shapes alone, and tested there; it knows neither
// factors nor how scores came about.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/compute/backend.hpp"

#include "runtime.hpp"

namespace concerto::cuda {

/// Longer lists are found by sorting all candidates of a query.
inline constexpr std::uint32_t kMostSelected = 2048;

/// Floats from one row of scores to the next: whole cache lines.
[[nodiscard]] constexpr std::size_t score_stride(RowIndex candidates) noexcept {
  return (std::size_t{candidates} + 31) / 32 * 32;
}

/// How many queries are scored at a time: what stays in half of the second-level cache, in whole numbers of queries a
/// multiprocessor where there is one; but, with so many candidates that few rows fit, up to 64 rows of at most 128 MiB,
/// as a product of few rows would read the candidates too often. At least 1.
[[nodiscard]] std::size_t queries_per_batch(const DeviceFacts& facts, RowIndex candidates) noexcept;

/// How many queries are sorted at a time: a sort's keys hold query, score and place in 64 bits, and take 64 MiB at most
/// (128 MiB with the sort's own copy). At least 1.
[[nodiscard]] std::size_t queries_per_sort(RowIndex candidates) noexcept;

/// The end of the piece of queries that starts at `begin`: what is uploaded, gathered and downloaded at a time. At most
/// 65,536 queries, 32 MiB of their factors, 16 MiB of lists of `places` and 16 MiB of exclusions, but one query at
/// least.
[[nodiscard]] std::size_t piece_end(std::span<const RowIndex> rows, std::size_t begin, std::size_t factor_row_bytes,
                                    std::uint32_t places, const CompressedRows* exclude) noexcept;

/// Each candidate's place among equal scores, and the candidate at each place: permutations that are each other's
/// inverse. Both empty where a candidate's place is its row.
struct PlaceOrder {
  std::vector<RowIndex> places;
  std::vector<RowIndex> rows;
};
/// From TopKQuery::tie_order. One that is not a permutation is taken as an order, equal places by row.
[[nodiscard]] PlaceOrder place_order(std::span<const RowIndex> tie_order);

/// A batch of scores to rank; pointers to the device.
struct RankBatch {
  const float* scores = nullptr;  ///< products, a row of score_stride(candidates) a query
  std::uint32_t queries = 0;
  RowIndex candidates = 0;
  std::uint32_t k = 0;  ///< 1 to candidates
  // A score is the product, plus the candidate's shift if there are shifts, times both scales if there are scales.
  // Shifts and scales of candidates are as long as a row of scores.
  const float* shifts = nullptr;
  const float* scales = nullptr;
  const float* query_scales = nullptr;
  // Ascending lists of candidates to leave out: query q's is [offsets[q], offsets[q + 1]) of excluded; null: none.
  const EntryIndex* exclude_offsets = nullptr;
  const RowIndex* excluded = nullptr;
  const RowIndex* places = nullptr;  ///< see PlaceOrder; null: a candidate's place is its row
  const RowIndex* rows_by_place = nullptr;
  RowIndex* out_candidates = nullptr;  ///< queries x k
  float* out_scores = nullptr;
};

/// Each query's best k <= kMostSelected by one thread block (top_k_select.cu).
void rank_by_selection(const Stream& stream, const RankBatch& batch);

/// Any k, by sorting (top_k_sort.cu). `keys` has room for queries * candidates.
void rank_by_sorting(const Stream& stream, MemoryPool& pool, const RankBatch& batch, std::uint64_t* keys);

}  // namespace concerto::cuda
