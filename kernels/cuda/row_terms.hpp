// What depends on a row and the objective alone: how many of its entries count, its penalties, its plan.
#pragma once

#include <span>

#include "cuda_backend.hpp"

namespace concerto::cuda {

/// For each row the number of entries that count (Objective::counts); empty where all of them do.
[[nodiscard]] std::span<const EntryIndex> counted_entries(const RatingsBuffer& ratings,
                                                          const Objective& objective) noexcept;
/// Have rows the same terms under both? The mean does not matter to it.
[[nodiscard]] bool same_terms(const Objective& a, const Objective& b) noexcept;
/// The terms of rows with so many counted entries each, where the other side has `column_count` rows; computed on the
/// host, a power a row.
[[nodiscard]] RowTerms make_row_terms(MemoryPool& pool, const Stream& stream, std::span<const EntryIndex> counts,
                                      RowIndex column_count, const Objective& objective);
/// The terms of an orientation's rows, made the first time that they are asked for under an objective.
[[nodiscard]] const RowTerms& row_terms(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                                        const Objective& objective);
/// The plan of a step's rows, made the first time it is asked for.
[[nodiscard]] const DeviceRowPlan& row_plan(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                                            const Objective& objective, RowRange rows, const PlanLimits& limits);

}  // namespace concerto::cuda
