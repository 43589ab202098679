// Penalties and plans of rows, cached in the ratings they belong to.
#include "row_terms.hpp"

namespace concerto::cuda {

std::span<const EntryIndex> counted_entries(const RatingsBuffer& ratings, const Objective& objective) noexcept {
  if (objective.counts(-1.0F)) return {};
  return ratings.positive_counts;
}

bool same_terms(const Objective& a, const Objective& b) noexcept {
  return a.kind == b.kind && a.regularization == b.regularization &&
         a.regularization_exponent == b.regularization_exponent && a.biases == b.biases &&
         a.bias_regularization == b.bias_regularization && a.unobserved_weight == b.unobserved_weight;
}

RowTerms make_row_terms(MemoryPool& pool, const Stream& stream, std::span<const EntryIndex> counts,
                        RowIndex column_count, const Objective& objective) {
  std::vector<float> penalties(counts.size());
  std::vector<float> divisors(objective.biases ? counts.size() : 0);
  std::vector<float> bias_penalties(divisors.size());
  for (std::size_t r = 0; r < counts.size(); ++r) {
    const auto count = static_cast<double>(counts[r]);
    penalties[r] = static_cast<float>(objective.penalty(count, column_count));
    if (objective.biases) {
      bias_penalties[r] = static_cast<float>(objective.bias_penalty(count));
      divisors[r] = static_cast<float>(count + objective.bias_penalty(count));
    }
  }
  RowTerms terms;
  terms.objective = objective;
  terms.penalties = DeviceArray<float>(pool, stream, penalties, "penalties of rows");
  terms.bias_divisors = DeviceArray<float>(pool, stream, divisors, "penalties of rows");
  terms.bias_penalties = DeviceArray<float>(pool, stream, bias_penalties, "penalties of rows");
  return terms;
}

const RowTerms& row_terms(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                          const Objective& objective) {
  for (const RowTerms& known : ratings.terms) {
    if (same_terms(known.objective, objective)) return known;
  }
  const auto counted = counted_entries(ratings, objective);
  std::vector<EntryIndex> counts(counted.begin(), counted.end());
  if (counted.empty()) {
    counts.resize(ratings.rows);
    for (RowIndex r = 0; r < ratings.rows; ++r) counts[r] = ratings.host_offsets[r + 1] - ratings.host_offsets[r];
  }
  return ratings.terms.emplace_back(make_row_terms(pool, stream, counts, ratings.column_count, objective));
}

const DeviceRowPlan& row_plan(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                              const Objective& objective, RowRange rows, const PlanLimits& limits) {
  const auto counted = counted_entries(ratings, objective);
  const RowPlanKey key{rows.begin, rows.end, !counted.empty(), limits};
  const auto known = ratings.plans.find(key);
  if (known != ratings.plans.end()) return known->second;
  const RowPlan plan = plan_rows(ratings.host_offsets, counted, rows, limits);
  return ratings.plans.emplace(key, DeviceRowPlan(pool, stream, plan)).first->second;
}

}  // namespace concerto::cuda
