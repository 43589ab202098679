// Penalties and plans of rows, cached in the ratings they belong to.
#include "row_terms.hpp"

#include <algorithm>

namespace concerto::cuda {
namespace {

bool same_terms(const Objective& a, const Objective& b) noexcept {
  return a.kind == b.kind && a.regularization == b.regularization &&
         a.regularization_exponent == b.regularization_exponent && a.biases == b.biases &&
         a.bias_regularization == b.bias_regularization && a.unobserved_weight == b.unobserved_weight;
}

}  // namespace

std::span<const EntryIndex> counted_entries(const RatingsBuffer& ratings, const Objective& objective) noexcept {
  if (objective.counts(-1.0F)) return {};
  return ratings.positive_counts;
}

const RowTerms& row_terms(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                          const Objective& objective) {
  const auto known = std::ranges::find_if(
      ratings.terms, [&](const RowTerms& terms) { return same_terms(terms.objective, objective); });
  if (known != ratings.terms.end()) return *known;

  const auto counted = counted_entries(ratings, objective);
  std::vector<float> penalties(ratings.rows);
  std::vector<float> divisors(objective.biases ? ratings.rows : 0);
  std::vector<float> bias_penalties(divisors.size());
  for (RowIndex r = 0; r < ratings.rows; ++r) {
    const auto count =
        static_cast<double>(counted.empty() ? ratings.host_offsets[r + 1] - ratings.host_offsets[r] : counted[r]);
    penalties[r] = static_cast<float>(objective.penalty(count, ratings.column_count));
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
  return ratings.terms.emplace_back(std::move(terms));
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
