// Ranking: for each query row, all candidates scored, the excluded left out, the best k sorted.
#include <algorithm>
#include <cmath>
#include <limits>

#include "reference_backend.hpp"

namespace concerto::reference {
namespace {

struct Scored {
  float score;
  RowIndex row;
};

float score_of(const TopKQuery& query, const FactorTable& queries, RowIndex q, const FactorTable& candidates,
               RowIndex c) {
  const double product = dot(queries.row(q), candidates.row(c));
  if (!query.cosine) return static_cast<float>(product + candidates.bias(c));
  const double norms = std::sqrt(dot(queries.row(q), queries.row(q)) * dot(candidates.row(c), candidates.row(c)));
  return norms > 0.0 ? static_cast<float>(product / norms) : 0.0F;
}

}  // namespace

TopKResult ReferenceBackend::top_k(const TopKQuery& query) {
  const FactorTable& queries = as<Table>(query.queries).values;
  const FactorTable& candidates = as<Table>(query.candidates).values;
  CONCERTO_CHECK(queries.rank() == candidates.rank(), "queries and candidates differ in rank");
  TopKResult result;
  for (const RowIndex q : query.rows) {
    std::vector<bool> is_excluded(candidates.rows(), false);
    if (query.exclude != nullptr) {
      for (const RowIndex c : query.exclude->row_columns(q)) is_excluded[c] = true;
    }
    std::vector<Scored> scored;
    for (RowIndex c = 0; c < candidates.rows(); ++c) {
      if (!is_excluded[c]) scored.push_back({score_of(query, queries, q, candidates, c), c});
    }
    // Ties are those of the scores as they are returned.
    const auto place_of = [&](RowIndex c) { return query.tie_order.empty() ? c : query.tie_order[c]; };
    std::ranges::sort(scored, [&](const Scored& a, const Scored& b) {
      return a.score != b.score ? a.score > b.score : place_of(a.row) < place_of(b.row);
    });
    for (std::uint32_t place = 0; place < query.k; ++place) {
      const bool is_filled = place < scored.size();
      result.candidates.push_back(is_filled ? scored[place].row : kNoRow);
      result.scores.push_back(is_filled ? scored[place].score : -std::numeric_limits<float>::infinity());
    }
  }
  return result;
}

}  // namespace concerto::reference
