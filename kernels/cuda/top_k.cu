// Ranking: a dense product of a batch of queries with all candidates, then the best k of each row of scores.
//
// Batches are so large that their scores stay in the second-level cache between the product that writes them and the
// kernel that reads them; device memory never sees them. Products read what a step reads (TableBuffer::gathered): bf16
// rows with sums in fp32, or fp32 throughout. Queries come in any order and may repeat: their rows are gathered into a
// dense piece first. Memory is that of one piece and one batch, whatever the number of queries: scores (half of the
// cache, or 64 rows of at most 128 MiB), 32 MiB of factors, 16 MiB of lists, 16 MiB of exclusions, and 128 MiB of sort
// keys for lists longer than kMostSelected; a single row may exceed its share. How rows are ranked: top_k_select.cu,
// top_k_sort.cu.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "bf16.cuh"
#include "cuda_backend.hpp"
#include "device/launch.cuh"
#include "shadow.hpp"
#include "top_k.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 256;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

std::size_t element_bytes(Element element) {
  return element == Element::kBf16 ? sizeof(std::uint16_t) : sizeof(float);
}

/// Copies rows as they are listed; a thread 16 bytes, of which a row has `words`.
__global__ void gather_rows(const uint4* table, const RowIndex* rows, std::uint32_t count, std::uint32_t words,
                            uint4* out) {
  const std::uint64_t at = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= std::uint64_t{count} * words) return;
  const std::uint64_t row = at / words;
  out[at] = table[std::uint64_t{rows[row]} * words + at % words];
}

__device__ __forceinline__ float square_sum(float a, float b, float sum) {
  return sum + a * a + b * b;
}

/// 1 / |row|, 0 for a row of zeros; a warp a row, whose `words` of 16 bytes hold the padding's zeros too.
template <Element kElement>
__global__ void invert_norms(const uint4* table, std::uint64_t rows, std::uint32_t words, float* out) {
  const std::uint64_t row = (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (row >= rows) return;
  const unsigned lane = threadIdx.x % 32;
  float sum = 0.0F;
  for (std::uint32_t word = lane; word < words; word += 32) {
    const uint4 bits = table[row * words + word];
    if constexpr (kElement == Element::kBf16) {
      sum = square_sum(bf16_low(bits.x), bf16_high(bits.x), sum);
      sum = square_sum(bf16_low(bits.y), bf16_high(bits.y), sum);
      sum = square_sum(bf16_low(bits.z), bf16_high(bits.z), sum);
      sum = square_sum(bf16_low(bits.w), bf16_high(bits.w), sum);
    } else {
      sum = square_sum(__uint_as_float(bits.x), __uint_as_float(bits.y), sum);
      sum = square_sum(__uint_as_float(bits.z), __uint_as_float(bits.w), sum);
    }
  }
#pragma unroll
  for (unsigned distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  if (lane == 0) out[row] = sum > 0.0F ? 1.0F / sqrtf(sum) : 0.0F;
}

void check_query(const TopKQuery& query, const TableBuffer& queries, const TableBuffer& candidates) {
  CONCERTO_CHECK(queries.shape.rank == candidates.shape.rank, "queries and candidates differ in rank");
  CONCERTO_CHECK(queries.shadow.empty() == candidates.shadow.empty() || queries.shape.rows == 0,
                 "queries and candidates differ in precision");
  CONCERTO_CHECK(query.tie_order.empty() || query.tie_order.size() == candidates.shape.rows,
                 "an order of ties for another number of candidates");
  for (const RowIndex row : query.rows) {
    CONCERTO_CHECK(row < queries.shape.rows, "a query outside its table");
    CONCERTO_CHECK(query.exclude == nullptr || row < query.exclude->rows, "a query outside the exclusions");
  }
}

/// What one call holds on the device.
class Ranker {
 public:
  struct Machine {
    const Stream& stream;
    MemoryPool& pool;
    Dense& dense;
    const DeviceFacts& facts;
  };

  Ranker(const Machine& machine, const TopKQuery& query, const TableBuffer& queries, const TableBuffer& candidates,
         std::uint32_t k)
      : stream_(machine.stream),
        pool_(machine.pool),
        dense_(machine.dense),
        query_(query),
        queries_(queries.gathered()),
        candidates_(candidates.gathered()),
        count_(candidates.shape.rows),
        k_(k),
        row_bytes_(candidates.stride * element_bytes(candidates_.element)) {
    batch_ = std::min(queries_per_batch(machine.facts, count_), query.rows.size());
    if (k_ > kMostSelected) {
      batch_ = std::min(batch_, queries_per_sort(count_));
      keys_ = DeviceArray<std::uint64_t>(pool_, batch_ * count_, "keys of a ranking");
    }
    scores_ = DeviceArray<float>(pool_, batch_ * score_stride(count_), "scores of a ranking");
    const PlaceOrder order = place_order(query.tie_order);
    places_ = DeviceArray<RowIndex>(pool_, stream_, order.places, "the order of ties");
    rows_by_place_ = DeviceArray<RowIndex>(pool_, stream_, order.rows, "the order of ties");
    prepare_terms(candidates);
  }

  [[nodiscard]] std::size_t piece_end(std::size_t begin) const noexcept {
    return cuda::piece_end(query_.rows, begin, row_bytes_, k_, query_.exclude);
  }

  /// Ranks query.rows[begin, end), a piece, into this object's lists.
  void rank(std::size_t begin, std::size_t end) {
    load_piece(begin, end);
    const std::size_t size = end - begin;
    for (std::size_t first = 0; first < size; first += batch_) {
      rank_batch(first, std::min(batch_, size - first));
    }
  }

  /// Starts copying the piece's lists of k to the host.
  void read(RowIndex* candidates, float* scores, std::size_t size) {
    copy_to_host(stream_, candidates, lists_data_, size * k_ * sizeof(RowIndex));
    copy_to_host(stream_, scores, list_scores_data_, size * k_ * sizeof(float));
  }

 private:
  /// Biases, or inverse norms of the candidates, as long as a row of scores.
  void prepare_terms(const TableBuffer& candidates) {
    if (query_.cosine) {
      scales_ = DeviceArray<float>(pool_, score_stride(count_), "norms of candidates");
      fill_zero(stream_, scales_.data(), scales_.bytes());
      invert(candidates_, count_, scales_.data());
    } else if (!candidates.biases.empty()) {
      shifts_ = DeviceArray<float>(pool_, score_stride(count_), "biases of candidates");
      fill_zero(stream_, shifts_.data(), shifts_.bytes());
      copy_on_device(stream_, shifts_.data(), candidates.biases.data(), candidates.biases.bytes());
    }
  }

  void invert(const MatrixView& rows, std::uint64_t count, float* out) {
    const auto words = static_cast<std::uint32_t>(row_bytes_ / sizeof(uint4));
    const auto* data = static_cast<const uint4*>(rows.data);
    const LaunchShape shape{.grid_x = blocks_for(32 * count, kBlock), .block = kBlock};
    if (rows.element == Element::kBf16) {
      launch(stream_, "invert_norms", invert_norms<Element::kBf16>, shape, data, count, words, out);
    } else {
      launch(stream_, "invert_norms", invert_norms<Element::kFp32>, shape, data, count, words, out);
    }
  }

  void load_piece(std::size_t begin, std::size_t end) {
    const std::span<const RowIndex> rows = query_.rows.subspan(begin, end - begin);
    RowIndex* ids = ids_.at_least(pool_, rows.size(), "queries");
    copy_to_device(stream_, ids, rows.data(), rows.size_bytes());
    const std::size_t words = row_bytes_ / sizeof(uint4);
    uint4* gathered = gathered_.at_least(pool_, rows.size() * words, "factors of queries");
    launch(stream_, "gather_rows", gather_rows, {.grid_x = blocks_for(rows.size() * words, kBlock), .block = kBlock},
           static_cast<const uint4*>(queries_.data), ids, rows.size(), words, gathered);
    piece_ = MatrixView{gathered, queries_.element, queries_.stride};
    if (query_.cosine) {
      query_scales_data_ = query_scales_.at_least(pool_, rows.size(), "norms of queries");
      invert(piece_, rows.size(), query_scales_data_);
    }
    if (query_.exclude != nullptr) load_exclusions(rows);
    lists_data_ = lists_.at_least(pool_, rows.size() * k_, "lists of a ranking");
    list_scores_data_ = list_scores_.at_least(pool_, rows.size() * k_, "lists of a ranking");
  }

  void load_exclusions(std::span<const RowIndex> rows) {
    const CompressedRows& exclude = *query_.exclude;
    std::vector<EntryIndex> offsets{0};
    bool is_run = true;
    for (std::size_t at = 0; at < rows.size(); ++at) {
      offsets.push_back(offsets.back() + exclude.count(rows[at]));
      is_run = is_run && std::uint64_t{rows[at]} == std::uint64_t{rows[0]} + at;
    }
    std::span<const RowIndex> columns = exclude.columns.subspan(exclude.offsets[rows[0]], is_run ? offsets.back() : 0);
    std::vector<RowIndex> packed;
    if (!is_run) {
      packed.reserve(offsets.back());
      for (const RowIndex row : rows) {
        const auto list = exclude.row_columns(row);
        packed.insert(packed.end(), list.begin(), list.end());
      }
      columns = packed;
    }
    exclude_offsets_data_ = exclude_offsets_.at_least(pool_, offsets.size(), "exclusions");
    copy_to_device(stream_, exclude_offsets_data_, offsets.data(), offsets.size() * sizeof(EntryIndex));
    excluded_data_ = excluded_.at_least(pool_, std::max<std::size_t>(columns.size(), 1), "exclusions");
    copy_to_device(stream_, excluded_data_, columns.data(), columns.size_bytes());
  }

  /// The piece's queries [first, first + size).
  void rank_batch(std::size_t first, std::size_t size) {
    MatrixView queries = piece_;
    queries.data = static_cast<const std::byte*>(piece_.data) + first * row_bytes_;
    // Over the whole stride: the padding is zero, and products of multiples of 16 are the fast ones.
    dense_.product_transposed(size, count_, queries_.stride, queries, candidates_, scores_.data(),
                              score_stride(count_));
    RankBatch batch;
    batch.scores = scores_.data();
    batch.queries = static_cast<std::uint32_t>(size);
    batch.candidates = count_;
    batch.k = k_;
    batch.shifts = shifts_.data();
    batch.scales = scales_.data();
    if (query_.cosine) batch.query_scales = query_scales_data_ + first;
    if (query_.exclude != nullptr) {
      batch.exclude_offsets = exclude_offsets_data_ + first;
      batch.excluded = excluded_data_;
    }
    batch.places = places_.data();
    batch.rows_by_place = rows_by_place_.data();
    batch.out_candidates = lists_data_ + first * k_;
    batch.out_scores = list_scores_data_ + first * k_;
    if (k_ > kMostSelected) {
      rank_by_sorting(stream_, pool_, batch, keys_.data());
    } else {
      rank_by_selection(stream_, batch);
    }
  }

  const Stream& stream_;
  MemoryPool& pool_;
  Dense& dense_;
  const TopKQuery& query_;
  MatrixView queries_;
  MatrixView candidates_;
  RowIndex count_;
  std::uint32_t k_;
  std::size_t row_bytes_;
  std::size_t batch_ = 1;
  DeviceArray<float> scores_;
  DeviceArray<std::uint64_t> keys_;
  DeviceArray<float> shifts_;
  DeviceArray<float> scales_;
  DeviceArray<RowIndex> places_;
  DeviceArray<RowIndex> rows_by_place_;
  // Of the present piece:
  MatrixView piece_;
  Scratch<RowIndex> ids_;
  Scratch<uint4> gathered_;
  Scratch<float> query_scales_;
  Scratch<EntryIndex> exclude_offsets_;
  Scratch<RowIndex> excluded_;
  Scratch<RowIndex> lists_;
  Scratch<float> list_scores_;
  float* query_scales_data_ = nullptr;
  EntryIndex* exclude_offsets_data_ = nullptr;
  RowIndex* excluded_data_ = nullptr;
  RowIndex* lists_data_ = nullptr;
  float* list_scores_data_ = nullptr;
};

/// Lists of `filled` places, as they come from the device, into the first places of lists of k.
void spread(std::span<const RowIndex> candidates, std::span<const float> scores, std::size_t filled, std::size_t k,
            std::size_t first, TopKResult& result) {
  for (std::size_t query = 0; query < candidates.size() / filled; ++query) {
    const auto to = static_cast<std::ptrdiff_t>((first + query) * k);
    std::ranges::copy(candidates.subspan(query * filled, filled), result.candidates.begin() + to);
    std::ranges::copy(scores.subspan(query * filled, filled), result.scores.begin() + to);
  }
}

}  // namespace

TopKResult CudaBackend::top_k(const TopKQuery& query) {
  const auto& queries = buffer_as<TableBuffer>(query.queries);
  const auto& candidates = buffer_as<TableBuffer>(query.candidates);
  check_query(query, queries, candidates);
  const std::size_t places = query.rows.size() * query.k;
  TopKResult result{std::vector<RowIndex>(places, kNoRow), std::vector<float>(places, kLowest)};
  const std::uint32_t filled = std::min(query.k, candidates.shape.rows);
  if (query.rows.empty() || filled == 0) return result;

  Ranker ranker({stream_, pool_, dense_, facts_}, query, queries, candidates, filled);
  std::vector<RowIndex> short_lists;
  std::vector<float> short_scores;
  for (std::size_t begin = 0; begin < query.rows.size();) {
    const std::size_t end = ranker.piece_end(begin);
    ranker.rank(begin, end);
    if (filled == query.k) {
      ranker.read(result.candidates.data() + begin * filled, result.scores.data() + begin * filled, end - begin);
    } else {
      short_lists.resize((end - begin) * filled);
      short_scores.resize((end - begin) * filled);
      ranker.read(short_lists.data(), short_scores.data(), end - begin);
      stream_.wait();
      spread(short_lists, short_scores, filled, query.k, begin, result);
    }
    begin = end;
  }
  stream_.wait();
  return result;
}

}  // namespace concerto::cuda
