// Ranking by sorting: for lists longer than a block's shared memory selects. All candidates of a batch of queries
// become 64-bit keys (query, score with the best first, place), which the device sorts at once.
//
// It takes what a full sort takes: about 8 bytes a candidate written and read by each of up to 8 passes. An excluded
// candidate's key has all bits of the score set, which no score has (select.cuh), and so comes last.
#include <bit>

#include "concerto/base/check.hpp"

#include "device/launch.cuh"
#include "select.cuh"
#include "sort.hpp"
#include "top_k_score.cuh"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 256;
constexpr std::uint32_t kNoScore = 0xffffffffU;  ///< the inverted key of no score

unsigned place_bits(RowIndex candidates) {
  return static_cast<unsigned>(std::bit_width(candidates - 1));
}

/// A thread a candidate, grid_y the queries.
template <Terms kTerms>
__global__ void make_keys(RankBatch a, unsigned place_bits, std::uint64_t* keys) {
  const std::uint64_t candidate = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (candidate >= a.candidates) return;
  const std::uint64_t query = blockIdx.y;
  const float* terms = kTerms == Terms::kScales ? a.scales : a.shifts;
  const float product = a.scores[query * score_stride(a.candidates) + candidate];
  const float term = kTerms == Terms::kNone ? 0.0F : terms[candidate];
  const float query_scale = kTerms == Terms::kScales ? a.query_scales[query] : 1.0F;
  const std::uint32_t inverted = ~score_key(score_of<kTerms>(product, term, query_scale));
  const std::uint64_t place = a.places == nullptr ? candidate : a.places[candidate];
  // One after the other: with 32 bits of places there are no queries but the first, and no room to shift them.
  keys[query * a.candidates + candidate] = ((query << 32) + inverted) << place_bits | place;
}

/// grid_y the queries; the blocks of a query stride over its exclusions. Duplicates set the same bits again.
__global__ void exclude_keys(RankBatch a, unsigned place_bits, std::uint64_t* keys) {
  const std::uint64_t query = blockIdx.y;
  const EntryIndex end = a.exclude_offsets[query + 1];
  const EntryIndex step = std::uint64_t{gridDim.x} * blockDim.x;
  for (EntryIndex entry = a.exclude_offsets[query] + std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; entry < end;
       entry += step) {
    const RowIndex candidate = a.excluded[entry];
    if (candidate >= a.candidates) continue;
    const std::uint64_t place = a.places == nullptr ? candidate : a.places[candidate];
    keys[query * a.candidates + candidate] = ((query << 32) + kNoScore) << place_bits | place;
  }
}

/// A thread a place of the list, grid_y the queries.
__global__ void write_sorted(RankBatch a, unsigned place_bits, const std::uint64_t* keys) {
  const std::uint64_t at = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= a.k) return;
  const std::uint64_t query = blockIdx.y;
  const std::uint64_t key = keys[query * a.candidates + at];
  const auto inverted = static_cast<std::uint32_t>(key >> place_bits);
  const std::uint64_t place = key & ((std::uint64_t{1} << place_bits) - 1);
  RowIndex candidate = kNoRow;
  float score = __uint_as_float(0xff800000U);
  if (inverted != kNoScore) {
    candidate = a.rows_by_place == nullptr ? static_cast<RowIndex>(place) : a.rows_by_place[place];
    score = key_score(~inverted);
  }
  a.out_candidates[query * a.k + at] = candidate;
  a.out_scores[query * a.k + at] = score;
}

unsigned blocks_of(std::uint64_t threads) {
  return static_cast<unsigned>((threads + kBlock - 1) / kBlock);
}

}  // namespace

void rank_by_sorting(const Stream& stream, MemoryPool& pool, const RankBatch& batch, std::uint64_t* keys) {
  CONCERTO_CHECK(batch.k >= 1 && batch.k <= batch.candidates, "a list longer than its candidates");
  CONCERTO_CHECK(batch.queries <= queries_per_sort(batch.candidates), "more queries than a sort's keys hold");
  if (batch.queries == 0) return;
  const unsigned bits = place_bits(batch.candidates);
  const LaunchShape shape{.grid_x = blocks_of(batch.candidates), .grid_y = batch.queries, .block = kBlock};
  switch (terms_of(batch)) {
    case Terms::kNone:
      launch(stream, "make_keys", make_keys<Terms::kNone>, shape, batch, bits, keys);
      break;
    case Terms::kShifts:
      launch(stream, "make_keys", make_keys<Terms::kShifts>, shape, batch, bits, keys);
      break;
    case Terms::kScales:
      launch(stream, "make_keys", make_keys<Terms::kScales>, shape, batch, bits, keys);
      break;
  }
  if (batch.exclude_offsets != nullptr) {
    launch(stream, "exclude_keys", exclude_keys, {.grid_x = 8, .grid_y = batch.queries, .block = kBlock}, batch, bits,
           keys);
  }
  const int key_bits = static_cast<int>(32 + bits) + std::bit_width(batch.queries - 1);
  sort_keys(stream, pool, keys, std::size_t{batch.queries} * batch.candidates, key_bits);
  launch(stream, "write_sorted", write_sorted, {.grid_x = blocks_of(batch.k), .grid_y = batch.queries, .block = kBlock},
         batch, bits, keys);
}

}  // namespace concerto::cuda
