// Ranking: scores by matrix products (OpenBLAS, one thread inside our threads) of a batch of queries with a tile of
// candidates, so that they stay in the second-level cache; then the best k of each query, exactly.
//
// Batches and tiles are of fixed size and a batch is ranked by one thread, so the lists do not depend on the number of
// threads. Memory is that of one batch a thread, whatever the number of queries.
#include <algorithm>
#include <cmath>
#include <limits>

#include <cblas.h>

#include "cpu_backend.hpp"
#include "row_kernel.hpp"

namespace concerto::cpu {
namespace {

constexpr std::size_t kBatch = 128;
constexpr std::size_t kTile = 1024;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct Scored {
  float score;
  RowIndex row;
};

/// Better first; ties by their order, or to the lower row.
struct Better {
  std::span<const RowIndex> tie_order;
  bool operator()(const Scored& a, const Scored& b) const noexcept {
    if (a.score != b.score) return a.score > b.score;
    return tie_order.empty() ? a.row < b.row : tie_order[a.row] < tie_order[b.row];
  }
};

/// The best k of scores that are offered in ascending order of rows. Holds some more than k and drops the surplus when
/// full, so that an offer costs constant time on average.
class BestList {
 public:
  BestList(std::uint32_t k, std::span<const RowIndex> tie_order)
      : k_(k), capacity_(2 * std::size_t{k} + 64), is_better_{tie_order} {
    kept_.reserve(capacity_);
  }

  void clear() {
    kept_.clear();
    threshold_ = kLowest;
  }
  /// Only scores above it can still enter. By rows, a tie with the last kept one cannot: the lower row came first.
  [[nodiscard]] float threshold() const noexcept { return threshold_; }
  void offer(float score, RowIndex row) {
    kept_.push_back({score, row});
    if (kept_.size() < capacity_) return;
    std::nth_element(kept_.begin(), kept_.begin() + (k_ - 1), kept_.end(), is_better_);
    kept_.resize(k_);
    threshold_ = kept_.back().score;
    if (!is_better_.tie_order.empty()) threshold_ = std::nextafter(threshold_, kLowest);
  }
  /// The best k in order; fewer if fewer were offered.
  [[nodiscard]] std::span<const Scored> finish() {
    const std::size_t filled = std::min(k_, kept_.size());
    if (filled < kept_.size()) std::ranges::nth_element(kept_, kept_.begin() + filled, is_better_);
    std::sort(kept_.begin(), kept_.begin() + filled, is_better_);
    return std::span(kept_).first(filled);
  }

 private:
  std::size_t k_;
  std::size_t capacity_;
  Better is_better_;
  float threshold_ = kLowest;
  std::vector<Scored> kept_;
};

/// What scores of candidates are multiplied by and raised by; empty when that changes nothing.
struct CandidateTerms {
  AlignedVector<float> scales;
  AlignedVector<float> shifts;
};

float inverse_norm(const FactorTable& table, RowIndex row) {
  const float square = squared_norm(table.row(row).data(), table.stride());
  return square > 0.0F ? 1.0F / std::sqrt(square) : 0.0F;
}

CandidateTerms candidate_terms(const FactorTable& candidates, bool cosine) {
  CandidateTerms terms;
  if (!cosine && !candidates.shape().biases) return terms;
  terms.scales.assign(candidates.rows(), 1.0F);
  terms.shifts.assign(candidates.rows(), 0.0F);
  if (cosine) {
    for (RowIndex c = 0; c < candidates.rows(); ++c) terms.scales[c] = inverse_norm(candidates, c);
  } else {
    std::ranges::copy(candidates.biases(), terms.shifts.begin());
  }
  return terms;
}

/// One thread's memory for a batch.
class BatchRanker {
 public:
  BatchRanker(const TopKQuery& query, const FactorTable& queries, const FactorTable& candidates,
              const CandidateTerms& terms)
      : query_(query),
        queries_(queries),
        candidates_(candidates),
        terms_(terms),
        packed_(kBatch * queries.stride()),
        scores_(kBatch * kTile),
        excluded_(kBatch),
        lists_(kBatch, BestList(query.k, query.tie_order)) {}

  /// Ranks all candidates for query.rows[begin, end) and writes their lists.
  void rank(std::size_t begin, std::size_t end, TopKResult& result) {
    load(begin, end);
    for (std::size_t first = 0; first < candidates_.rows(); first += kTile) {
      rank_tile(end - begin, first, std::min<std::size_t>(kTile, candidates_.rows() - first));
    }
    for (std::size_t q = begin; q < end; ++q) {
      std::size_t place = q * query_.k;
      for (const Scored& scored : lists_[q - begin].finish()) {
        result.candidates[place] = scored.row;
        result.scores[place++] = scored.score;
      }
    }
  }

 private:
  void load(std::size_t begin, std::size_t end) {
    for (std::size_t q = begin; q < end; ++q) {
      const RowIndex row = query_.rows[q];
      float* const packed = packed_.data() + (q - begin) * queries_.stride();
      const float scale = query_.cosine ? inverse_norm(queries_, row) : 1.0F;
      std::ranges::transform(queries_.row(row), packed, [scale](float value) { return value * scale; });
      excluded_[q - begin] = query_.exclude == nullptr ? std::span<const RowIndex>() : query_.exclude->row_columns(row);
      lists_[q - begin].clear();
    }
  }

  void rank_tile(std::size_t queries, std::size_t first, std::size_t width) {
    const auto stride = static_cast<blasint>(queries_.stride());
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(queries), static_cast<blasint>(width),
                static_cast<blasint>(queries_.rank()), 1.0F, packed_.data(), stride,
                candidates_.data() + first * candidates_.stride(), stride, 0.0F, scores_.data(),
                static_cast<blasint>(kTile));
    for (std::size_t q = 0; q < queries; ++q) {
      const std::span<float> scores = std::span(scores_).subspan(q * kTile, width);
      if (!terms_.scales.empty()) scale_and_shift(scores, terms_.scales.data() + first, terms_.shifts.data() + first);
      std::span<const RowIndex>& excluded = excluded_[q];  // ascending; what lies before this tile is used up
      while (!excluded.empty() && excluded.front() < first + width) {
        scores[excluded.front() - first] = kLowest;
        excluded = excluded.subspan(1);
      }
      BestList& list = lists_[q];
      for (std::size_t c = find_above(scores, 0, list.threshold()); c < width;
           c = find_above(scores, c + 1, list.threshold())) {
        list.offer(scores[c], static_cast<RowIndex>(first + c));
      }
    }
  }

  const TopKQuery& query_;
  const FactorTable& queries_;
  const FactorTable& candidates_;
  const CandidateTerms& terms_;
  AlignedVector<float> packed_;
  AlignedVector<float> scores_;
  std::vector<std::span<const RowIndex>> excluded_;
  std::vector<BestList> lists_;
};

}  // namespace

TopKResult CpuBackend::top_k(const TopKQuery& query) {
  const FactorTable& queries = buffer_as<TableBuffer>(query.queries).factors;
  const FactorTable& candidates = buffer_as<TableBuffer>(query.candidates).factors;
  CONCERTO_CHECK(queries.rank() == candidates.rank(), "queries and candidates differ in rank");
  const std::size_t places = query.rows.size() * query.k;
  TopKResult result{std::vector<RowIndex>(places, kNoRow), std::vector<float>(places, kLowest)};
  if (places == 0) return result;
  openblas_set_num_threads(1);
  const CandidateTerms terms = candidate_terms(candidates, query.cosine);
  std::vector<std::unique_ptr<BatchRanker>> rankers(pool_.size());
  const std::size_t batches = (query.rows.size() + kBatch - 1) / kBatch;
  pool_.parallel_for(batches, 1, [&](std::size_t first, std::size_t last, unsigned worker) {
    if (!rankers[worker]) rankers[worker] = std::make_unique<BatchRanker>(query, queries, candidates, terms);
    for (std::size_t batch = first; batch < last; ++batch) {
      rankers[worker]->rank(batch * kBatch, std::min((batch + 1) * kBatch, query.rows.size()), result);
    }
  });
  return result;
}

}  // namespace concerto::cpu
