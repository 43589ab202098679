// What the ranks of an asynchronous run have measured becomes one: gathered by collectives when the run is over.
#pragma once

#include <cstdint>
#include <vector>

#include "concerto/data/ratings.hpp"
#include "concerto/replication/membership.hpp"
#include "concerto/train/asynchronous.hpp"

#include "asynchronous_driver.hpp"
#include "rank_steps.hpp"
#include "report.hpp"

namespace concerto {

/// The rows of the consistency index: of each table of which every rank holds a replica (with sgd: the items)
/// kSampledRows, drawn by `seed`, in the order of the plan's blocks.
[[nodiscard]] std::vector<SampledRow> sampled_rows(const BlockPlan& plan, std::uint64_t seed);

/// By rank, its share of the entries that ranks work on: those of own rows, of both tables, or with sgd of users. Their
/// sum is 1.
[[nodiscard]] std::vector<double> shares_of_entries(const RowLengths& by_user, const RowLengths& by_item,
                                                    const BlockPlan& plan, const Membership& record, bool is_adding);

/// What all ranks promise, the same on each. Every rank calls it with its own outcome; the rest is equal on all. Moves
/// each sample (most_samples() of them) once from the owners of its rows to all. Samples that a rank lacks are left
/// out. Error{kIo} as of RankSteps.
[[nodiscard]] PromisesReport gather_promises(RankSteps& steps, const AsynchronousOutcome& outcome,
                                             const AsynchronousRun& run, const std::vector<double>& shares);

}  // namespace concerto
