// Ranking by selection: one thread block a query reads its row of scores once, keeps what can still be among the best
// k, and sorts k entries at the end.
//
// The row is taken in tiles of 12,288 scores that stay in registers, 24 a thread. From the first tile a lower bound of
// the k-th best score is made: the k-th largest of the threads' own maxima (or, for longer lists, of the maxima of
// fours) is reached by at least k scores, and by few more (for k = 100 about 111 of 12,288 if rows are in random order,
// as the engine stores them). Later tiles add what reaches the bound. Where that is more than the list in shared memory
// holds (many equal scores, or scores that rise along the row), the exact k-th entry of list and tile together becomes
// the bound: never more than k remain. The result does not depend on the order in which threads append: it is sorted,
// and no two entries are equal.
//
// Excluded candidates are bits in shared memory, one tile at a time, and are NaN in the registers: score_of makes no
// NaN, so that no score is mistaken for one. Many exclusions cannot spoil the bound: it is made without them.
//
// What it costs, Netflix shape, all users (480,189 x 17,770), top 100: 8.53e9 scores, 34.1 GB in fp32, written once by
// the product and read once here, both in the second-level cache: 6.2 to 7.9 ms each at 4.3 to 5.5 TB/s. The product
// itself, 1.09e12 (f = 64) or 2.18e12 (f = 128) operations, is 1.4 or 2.8 ms at 790 TFLOP/s, under its own writing.
// Roofline 12.4 to 15.9 ms. Exclusions (0.4 GB) and lists (0.4 GB) cross device memory once, 0.2 ms, and the bus to the
// host, which is not counted here. Not yet run on a device.
#include <algorithm>
#include <bit>
#include <cmath>

#include "concerto/base/check.hpp"

#include "device/launch.cuh"
#include "select.cuh"
#include "top_k_score.cuh"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 512;  // two blocks a multiprocessor leave 64 registers a thread
constexpr unsigned kQuads = 6;    ///< of a thread in a tile; 8 would spill on sm_80
constexpr unsigned kTileColumns = kBlock * kQuads * 4;
constexpr std::uint32_t kLeastCapacity = 1024;
/// With more, the k-th largest of kBlock maxima is among the smallest of them: too low a bound.
constexpr std::uint32_t kMostByThreads = kBlock / 4 * 3;

/// Sizes of the lists in shared memory: room for twice k, so that one tile can always be added after the bound is
/// exact.
struct ListSizes {
  std::uint32_t capacity = 0;
  std::uint32_t sorted = 0;  ///< a power of two >= k
};

ListSizes list_sizes(std::uint32_t k) {
  const std::uint32_t sorted = std::bit_ceil(k);
  return {std::max(kLeastCapacity, 2 * sorted), sorted};
}

/// A block's shared memory: what is of fixed size first, at addresses that take no registers.
struct Workspace {
  std::uint32_t bins[kRadixBins];             ///< of limit_of_best
  std::uint32_t excluded[kTileColumns / 32];  ///< a bit a column of the tile
  SelectState state;
};
constexpr std::size_t kListsAt = (sizeof(Workspace) + 15) / 16 * 16;

std::size_t shared_bytes(const ListSizes& sizes) {
  return kListsAt + (std::size_t{sizes.capacity} + sizes.sorted) * sizeof(std::uint64_t);
}

__device__ __forceinline__ Workspace& workspace() {
  return *reinterpret_cast<Workspace*>(dynamic_shared());
}
/// What can still be among the best: `capacity` entries.
__device__ __forceinline__ std::uint64_t* list_of() {
  return reinterpret_cast<std::uint64_t*>(dynamic_shared() + kListsAt);
}
/// `sorted` entries.
__device__ __forceinline__ std::uint64_t* kept_of(const ListSizes& sizes) {
  return list_of() + sizes.capacity;
}

/// What a block works on: one query's row of scores.
struct QueryRow {
  const float* products;
  float scale;
};

/// Column in the tile of the first of this thread's fours; a block's width apart.
__device__ __forceinline__ unsigned column_in_tile(unsigned quad) {
  return 4 * (quad * kBlock + threadIdx.x);
}

__device__ __forceinline__ float no_score() {
  return __uint_as_float(0x7fffffffU);
}

__device__ __forceinline__ std::uint32_t place_of(const RankBatch& a, std::uint64_t column) {
  return a.places == nullptr ? static_cast<std::uint32_t>(column) : a.places[column];
}

/// Marks the exclusions of one tile, from *next on, and moves *next behind them. The block is synchronized on return.
__device__ __forceinline__ void mark_excluded(const RankBatch& a, std::uint64_t tile, EntryIndex* next,
                                              EntryIndex end) {
  static_assert(kTileColumns / 32 <= kBlock, "a word a thread");
  __syncthreads();
  if (threadIdx.x < kTileColumns / 32) workspace().excluded[threadIdx.x] = 0;
  if (threadIdx.x == 0) workspace().state.consumed = 0;
  __syncthreads();
  std::uint32_t mine = 0;
  for (EntryIndex entry = *next + threadIdx.x; entry < end; entry += kBlock) {
    const RowIndex column = a.excluded[entry];
    if (column >= tile + kTileColumns) break;
    ++mine;
    if (column < tile) continue;
    const auto bit = static_cast<unsigned>(column - tile);
    atomicOr(&workspace().excluded[bit / 32], 1U << bit % 32);
  }
  if (mine > 0) atomicAdd(&workspace().state.consumed, mine);
  __syncthreads();
  *next += workspace().state.consumed;
}

/// The largest of a four; fmaxf passes over NaN.
__device__ __forceinline__ float largest(const float (&values)[4 * kQuads], unsigned quad) {
  return fmaxf(fmaxf(values[4 * quad], values[4 * quad + 1]), fmaxf(values[4 * quad + 2], values[4 * quad + 3]));
}

/// Fills `values` with this thread's scores of a tile: no_score where a candidate is excluded, or where there is none.
template <Terms kTerms>
__device__ __forceinline__ void load_tile(const RankBatch& a, const QueryRow& row, std::uint64_t tile, bool excludes,
                                          float (&values)[4 * kQuads]) {
  const float* terms = kTerms == Terms::kScales ? a.scales : a.shifts;
#pragma unroll
  for (unsigned quad = 0; quad < kQuads; ++quad) {
    const std::uint64_t column = tile + column_in_tile(quad);
    float4 products{};
    if (column < a.candidates) products = *reinterpret_cast<const float4*>(row.products + column);
    values[4 * quad] = products.x;
    values[4 * quad + 1] = products.y;
    values[4 * quad + 2] = products.z;
    values[4 * quad + 3] = products.w;
  }
  const auto columns = static_cast<unsigned>(min(std::uint64_t{kTileColumns}, a.candidates - tile));
#pragma unroll
  for (unsigned quad = 0; quad < kQuads; ++quad) {
    const unsigned at = column_in_tile(quad);
    // Terms come from the first-level cache and are read late: hoisted over this, they would take 24 registers more.
    if (kTerms != Terms::kNone && quad % 4 == 0) __syncwarp();
    float4 term{};
    if (kTerms != Terms::kNone && at < columns) term = *reinterpret_cast<const float4*>(terms + tile + at);
    const unsigned bits = !excludes ? 0 : workspace().excluded[at / 32] >> at % 32;
    const float term_of[4] = {term.x, term.y, term.z, term.w};
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      const bool is_there = at + i < columns && (bits >> i & 1U) == 0;
      const float score = score_of<kTerms>(values[4 * quad + i], term_of[i], row.scale);
      values[4 * quad + i] = is_there ? score : no_score();
    }
  }
}

/// A bound that at least k scores of the tile reach; kLeastEntry if none is found this way.
__device__ __forceinline__ std::uint64_t bound_of_tile(const float (&values)[4 * kQuads], std::uint32_t k) {
  const bool by_threads = k <= kMostByThreads;
  float most = largest(values, 0);
#pragma unroll
  for (unsigned quad = 1; quad < kQuads; ++quad) most = fmaxf(most, largest(values, quad));
  const auto visit = [&](std::uint64_t, std::uint64_t, const auto& count) {
#pragma unroll
    for (unsigned quad = 0; quad < kQuads; ++quad) {
      const float sample = !by_threads ? largest(values, quad) : quad == 0 ? most : no_score();
      if (sample == sample) count(std::uint64_t{score_key(sample)} << 32);
    }
  };
  return max(limit_of_best<32>(k, visit, workspace().bins, &workspace().state), kLeastEntry);
}

/// Appends an entry to the list if it reaches the limit; one beyond the list's capacity is counted and lost.
__device__ __forceinline__ void append(std::uint64_t entry, std::uint64_t limit, std::uint32_t capacity) {
  if (entry < limit) return;
  const std::uint32_t slot = atomicAdd(&workspace().state.held, 1U);
  if (slot < capacity) list_of()[slot] = entry;
}

/// Appends the tile's entries that reach the limit to the list's `count`; returns the number with them, which may be
/// above the capacity. The block is synchronized on return.
__device__ __forceinline__ std::uint32_t append_tile(const RankBatch& a, const float (&values)[4 * kQuads],
                                                     std::uint64_t tile, std::uint64_t limit, std::uint32_t count,
                                                     std::uint32_t capacity) {
  const float least = key_score(entry_key(limit));
  __syncthreads();
  if (threadIdx.x == 0) workspace().state.held = count;
  __syncthreads();
#pragma unroll
  for (unsigned quad = 0; quad < kQuads; ++quad) {
    if (!(largest(values, quad) >= least)) continue;
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      const float value = values[4 * quad + i];
      if (!(value >= least)) continue;
      append(entry_of(score_key(value), place_of(a, tile + column_in_tile(quad) + i)), limit, capacity);
    }
  }
  __syncthreads();
  return workspace().state.held;
}

/// Calls f(column, score) for this thread's columns of a tile that are there, reading them again.
template <Terms kTerms, class Function>
__device__ __forceinline__ void for_each_score(const RankBatch& a, const QueryRow& row, std::uint64_t tile,
                                               bool excludes, const Function& f) {
  const float* terms = kTerms == Terms::kScales ? a.scales : a.shifts;
  const auto columns = static_cast<unsigned>(min(std::uint64_t{kTileColumns}, a.candidates - tile));
#pragma unroll 1
  for (unsigned at = threadIdx.x; at < columns; at += kBlock) {
    if (excludes && (workspace().excluded[at / 32] >> at % 32 & 1U) != 0) continue;
    const std::uint64_t column = tile + at;
    f(column, score_of<kTerms>(row.products[column], kTerms == Terms::kNone ? 0.0F : terms[column], row.scale));
  }
}

/// For a tile that did not fit: makes the k-th best of the list's `count` entries and the tile the bound, and of both
/// keeps what reaches it: k entries, the list's new count. Slow and rare.
template <Terms kTerms>
__device__ __forceinline__ std::uint32_t reduce_with_tile(const RankBatch& a, const QueryRow& row, std::uint64_t tile,
                                                          bool excludes, std::uint32_t count, const ListSizes& sizes,
                                                          std::uint64_t* bound) {
  const float least = key_score(entry_key(*bound));
  const auto visit = [&](std::uint64_t limit, std::uint64_t fixed, const auto& count_entry) {
#pragma unroll 1
    for (std::uint32_t i = threadIdx.x; i < count; i += kBlock) count_entry(list_of()[i]);
    const bool is_key_fixed = entry_key(fixed) == 0xffffffffU;
    for_each_score<kTerms>(a, row, tile, excludes, [&](std::uint64_t column, float score) {
      const std::uint32_t key = score_key(score);
      if (score < least || (is_key_fixed && key != entry_key(limit))) return;
      count_entry(entry_of(key, is_key_fixed ? place_of(a, column) : 0));
    });
  };
  const std::uint64_t limit = limit_of_best<0>(a.k, visit, workspace().bins, &workspace().state);
  const std::uint32_t kept = copy_reaching(list_of(), count, limit, kept_of(sizes), &workspace().state);
  for (std::uint32_t i = threadIdx.x; i < kept; i += kBlock) list_of()[i] = kept_of(sizes)[i];
  __syncthreads();  // all know `kept`: it is counted on
  const float least_now = key_score(entry_key(limit));
  for_each_score<kTerms>(a, row, tile, excludes, [&](std::uint64_t column, float score) {
    if (score >= least_now) append(entry_of(score_key(score), place_of(a, column)), limit, sizes.capacity);
  });
  __syncthreads();
  *bound = limit;
  return workspace().state.held;
}

/// Sorts the best k of the list and writes them; fewer than k leave empty places.
__device__ __forceinline__ void write_list(const RankBatch& a, const ListSizes& sizes, std::uint32_t count) {
  std::uint64_t limit = 0;
  if (count > a.k) {
    const auto visit = [&](std::uint64_t, std::uint64_t, const auto& count_entry) {
      for (std::uint32_t i = threadIdx.x; i < count; i += kBlock) count_entry(list_of()[i]);
    };
    limit = limit_of_best<0>(a.k, visit, workspace().bins, &workspace().state);
  }
  const std::uint32_t kept = copy_reaching(list_of(), count, limit, kept_of(sizes), &workspace().state);
  for (std::uint32_t i = kept + threadIdx.x; i < sizes.sorted; i += kBlock) kept_of(sizes)[i] = 0;
  __syncthreads();
  sort_best_first(kept_of(sizes), sizes.sorted);
  const std::uint64_t first = std::uint64_t{blockIdx.x} * a.k;
  for (std::uint32_t i = threadIdx.x; i < a.k; i += kBlock) {
    RowIndex candidate = kNoRow;
    float score = __uint_as_float(0xff800000U);
    if (i < kept) {
      const std::uint32_t place = entry_place(kept_of(sizes)[i]);
      candidate = a.rows_by_place == nullptr ? place : a.rows_by_place[place];
      score = key_score(entry_key(kept_of(sizes)[i]));
    }
    a.out_candidates[first + i] = candidate;
    a.out_scores[first + i] = score;
  }
}

/// A block a query.
template <Terms kTerms>
__global__ void __launch_bounds__(kBlock, 2) select_best(RankBatch a, ListSizes sizes) {
  const QueryRow row{a.scores + blockIdx.x * score_stride(a.candidates),
                     kTerms == Terms::kScales ? a.query_scales[blockIdx.x] : 1.0F};
  EntryIndex next = a.exclude_offsets == nullptr ? 0 : a.exclude_offsets[blockIdx.x];
  const EntryIndex end = a.exclude_offsets == nullptr ? 0 : a.exclude_offsets[blockIdx.x + 1];
  std::uint32_t count = 0;
  std::uint64_t bound = kLeastEntry;
  for (std::uint64_t tile = 0; tile < a.candidates; tile += kTileColumns) {
    const bool excludes = next < end;
    if (excludes) mark_excluded(a, tile, &next, end);
    float values[4 * kQuads];
    load_tile<kTerms>(a, row, tile, excludes, values);
    const std::uint64_t columns = min(std::uint64_t{kTileColumns}, a.candidates - tile);
    if (bound == kLeastEntry && columns > sizes.capacity - count) bound = bound_of_tile(values, a.k);
    const std::uint32_t with_tile = append_tile(a, values, tile, bound, count, sizes.capacity);
    count = with_tile <= sizes.capacity ? with_tile
                                        : reduce_with_tile<kTerms>(a, row, tile, excludes, count, sizes, &bound);
  }
  write_list(a, sizes, count);
}

}  // namespace

void rank_by_selection(const Stream& stream, const RankBatch& batch) {
  CONCERTO_CHECK(batch.k >= 1 && batch.k <= kMostSelected && batch.k <= batch.candidates, "a list of another length");
  if (batch.queries == 0) return;
  const ListSizes sizes = list_sizes(batch.k);
  const LaunchShape shape{.grid_x = batch.queries, .block = kBlock, .shared_bytes = shared_bytes(sizes)};
  switch (terms_of(batch)) {
    case Terms::kNone:
      return launch(stream, "select_best", select_best<Terms::kNone>, shape, batch, sizes);
    case Terms::kShifts:
      return launch(stream, "select_best", select_best<Terms::kShifts>, shape, batch, sizes);
    case Terms::kScales:
      return launch(stream, "select_best", select_best<Terms::kScales>, shape, batch, sizes);
  }
}

}  // namespace concerto::cuda
