// What training begins with and what ends it early, shared by the trainer of one process and that of many.
#pragma once

#include <vector>

#include "concerto/base/error.hpp"
#include "concerto/data/partition.hpp"
#include "concerto/data/ratings.hpp"
#include "concerto/model/factors.hpp"
#include "concerto/train/trainer.hpp"

namespace concerto {

/// Error{kBadInput} or {kUnsupported} for options that contradict each other, naming the key.
void check_options(const TrainOptions& options);

/// The work of a row under the solver that the options name.
[[nodiscard]] WorkModel work_of(const TrainOptions& options);

/// The metric that early stopping watches, alone; none where there is none to watch.
[[nodiscard]] std::vector<Metric> stop_metrics(const TrainOptions& options);

/// The sum of the values of a chunk of rows, in the order of entries; and their mean over all, from the chunks' sums.
[[nodiscard]] double value_sum(const CompressedRows& ratings, RowIndex chunk);
[[nodiscard]] double mean_value(const CompressedRows& ratings);

/// Start values of one side: the warm start's or drawn ones; zero rows where there is nothing to learn from.
[[nodiscard]] FactorTable start_values(const TrainOptions& options, Side side, const RowLengths& lengths,
                                       const FactorTable* warm);

[[nodiscard]] bool all_finite(const FactorTable& table);
[[nodiscard]] bool all_finite(const FactorTable& table, RowRange rows);
/// "training diverged ...", naming the epoch and what to change.
[[nodiscard]] Error diverged_error(const TrainOptions& options, std::uint32_t epoch);

}  // namespace concerto
