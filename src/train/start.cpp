// What training begins with, whoever runs the epochs.
#include "start.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/tree_sum.hpp"
#include "concerto/data/partition.hpp"

#include "epochs.hpp"

namespace concerto {

WorkModel work_of(const TrainOptions& options) {
  switch (options.solver) {
    case SolverKind::kAls:
      return als_work(options);
    case SolverKind::kSubspace:
      return subspace_work(options);
    case SolverKind::kSgd:
      break;
  }
  return sgd_work();
}

void check_options(const TrainOptions& options) {
  const auto refuse = [](std::string message, std::string where) {
    throw Error(ErrorCode::kUnsupported, std::move(message), std::move(where));
  };
  if (options.rank == 0) throw Error(ErrorCode::kBadInput, "must be at least 1", "model.rank");
  if (options.epochs == 0) throw Error(ErrorCode::kBadInput, "must be at least 1", "solver.epochs");
  if (options.solver == SolverKind::kSgd && options.objective.is_implicit()) {
    refuse("sgd serves explicit ratings only; use als or subspace for implicit feedback", "solver.kind");
  }
  if (options.solver == SolverKind::kAls && options.inner == InnerSolver::kCholesky &&
      options.rank > kMaxCholeskyRank) {
    refuse(fmt::format("cholesky is limited to rank {}, this is rank {}; use solver.inner = \"cg\" or "
                       "solver.kind = \"subspace\"",
                       kMaxCholeskyRank, options.rank),
           "solver.inner");
  }
  if (options.stop_after > 0 && !options.stop_metric && options.metrics.empty()) {
    throw Error(ErrorCode::kBadInput, "needs a metric to stop by", "solver.stop_metric");
  }
  if (options.nonnegative && options.solver != SolverKind::kSgd) {
    refuse("non-negative factors are served by solver.kind = \"sgd\" only", "model.nonnegative");
  }
  if (options.objective.biases && options.objective.is_implicit()) {
    refuse("biases belong to explicit ratings", "model.biases");
  }
}

std::vector<Metric> stop_metrics(const TrainOptions& options) {
  if (options.stop_metric) return {*options.stop_metric};
  if (options.metrics.empty()) return {};
  return {options.metrics.front()};
}

double value_sum(const CompressedRows& ratings, RowIndex chunk) {
  const RowRange rows = chunk_range(ratings.rows, chunk);
  double sum = 0.0;
  for (EntryIndex i = ratings.offsets[rows.begin]; i < ratings.offsets[rows.end]; ++i) sum += ratings.value(i);
  return sum;
}

double mean_value(const CompressedRows& ratings) {
  std::vector<double> chunks(chunk_count(ratings.rows));
  for (RowIndex chunk = 0; chunk < chunks.size(); ++chunk) chunks[chunk] = value_sum(ratings, chunk);
  return ratings.entries() == 0 ? 0.0 : tree_sum(chunks) / static_cast<double>(ratings.entries());
}

FactorTable start_values(const TrainOptions& options, Side side, const RowLengths& lengths, const FactorTable* warm) {
  const TableShape shape{lengths.rows, options.rank, options.objective.biases};
  FactorTable table;
  if (warm != nullptr) {
    if (warm->shape() != shape) {
      throw Error(ErrorCode::kBadInput,
                  fmt::format("the model has rank {} {} biases, this run rank {} {}", warm->rank(),
                              warm->shape().biases ? "with" : "without", shape.rank, shape.biases ? "with" : "without"),
                  "model.warm_start");
    }
    table = *warm;
  } else {
    table = FactorTable(shape);
    initialize(table, side, options.seed, options.init_stddev);
  }
  for (RowIndex r = 0; r < shape.rows; ++r) {
    const auto row = table.row(r);
    if (lengths.count(r) == 0) {
      std::fill(row.begin(), row.end(), 0.0F);
      if (shape.biases) table.biases()[r] = 0.0F;
    } else if (options.nonnegative) {
      // A drawn value keeps its size; a learned one is projected, as SGD does it.
      std::ranges::transform(row, row.begin(),
                             [&](float value) { return warm == nullptr ? std::fabs(value) : std::max(value, 0.0F); });
    }
  }
  return table;
}

namespace {

/// An exponent of ones and one more is a carry into the sign: two operations a value, that compilers make vectors of.
bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7f800000U;
  constexpr std::uint32_t kLeastExponent = 0x00800000U;
  std::uint32_t carries = 0;
  for (const float value : values) carries |= (std::bit_cast<std::uint32_t>(value) & kExponent) + kLeastExponent;
  return (carries & 0x80000000U) == 0;
}

}  // namespace

bool all_finite(const FactorTable& table) {
  return all_finite(table, {0, table.rows()});
}

bool all_finite(const FactorTable& table, RowRange rows) {
  const std::span all(table.data(), table.rows() * table.stride());
  return all_finite(all.subspan(rows.begin * table.stride(), rows.size() * table.stride())) &&
         (!table.shape().biases || all_finite(table.biases().subspan(rows.begin, rows.size())));
}

Error diverged_error(const TrainOptions& options, std::uint32_t epoch) {
  std::string remedy = "raise model.regularization";
  if (options.solver == SolverKind::kSgd) remedy = "lower solver.learning_rate or raise model.regularization";
  if (options.momentum > 0.0) remedy = "lower solver.momentum or raise model.regularization";
  return {ErrorCode::kBadInput, "training diverged, a factor or the loss is no longer finite; " + remedy,
          fmt::format("epoch {}", epoch)};
}

}  // namespace concerto
