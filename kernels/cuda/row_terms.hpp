// What depends on a row and the objective alone: how many of its entries count, its penalties, its plan.
#pragma once

#include <span>

#include "cuda_backend.hpp"

namespace concerto::cuda {

/// For each row the number of entries that count (Objective::counts); empty where all of them do.
[[nodiscard]] std::span<const EntryIndex> counted_entries(const RatingsBuffer& ratings,
                                                          const Objective& objective) noexcept;
/// lambda n^nu and n + lambda_b n^nu of every row, on the device; computed on the host (a power a row) the first time
/// it is asked for under an objective. The mean does not matter to it.
[[nodiscard]] const RowTerms& row_terms(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                                        const Objective& objective);
/// The plan of a step's rows, made the first time it is asked for.
[[nodiscard]] const DeviceRowPlan& row_plan(MemoryPool& pool, const Stream& stream, const RatingsBuffer& ratings,
                                            const Objective& objective, RowRange rows, const PlanLimits& limits);

}  // namespace concerto::cuda
