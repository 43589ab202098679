// The objectives of the design written out over all pairs, in double: what losses and solvers are held against.
//
// Nothing here is shared with a backend. Costs users * items * rank; entries must not repeat a pair.
#pragma once

#include <map>

#include "problems.hpp"

namespace concerto::test {

/// Factors in double, so that derivatives can be taken by differences.
struct DoubleTable {
  std::vector<std::vector<double>> rows;
  std::vector<double> biases;

  DoubleTable() = default;
  explicit DoubleTable(const FactorTable& table) : biases(table.rows(), 0.0) {
    for (RowIndex r = 0; r < table.rows(); ++r) {
      rows.emplace_back(table.row(r).begin(), table.row(r).end());
      biases[r] = table.bias(r);
    }
  }
};

inline double dot_product(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0.0;
  for (std::size_t c = 0; c < x.size(); ++c) sum += x[c] * y[c];
  return sum;
}

inline double explicit_error(const Objective& objective, float value, const DoubleTable& x, RowIndex u,
                             const DoubleTable& y, RowIndex i) {
  return value - objective.mean - x.biases[u] - y.biases[i] - dot_product(x.rows[u], y.rows[i]);
}

/// The part of the loss that a pair adds; `value` is null where nothing was observed.
inline double pair_loss(const Objective& objective, const float* value, double score) {
  if (objective.kind == ObjectiveKind::kImplicitUnobserved) {
    const double observed = value != nullptr ? *value * (score - 1.0) * (score - 1.0) : 0.0;
    return observed + objective.unobserved_weight * score * score;
  }
  if (value == nullptr) return score * score;
  const double scaled = objective.alpha * std::fabs(*value);
  const double c = objective.confidence == Confidence::kOnePlus ? 1.0 + scaled : scaled;
  const double p = *value > 0.0F ? 1.0 : 0.0;
  return c * (p - score) * (p - score);
}

/// lambda times the sum of n^nu |x|^2 over one side, and the same for biases.
inline double regularizer(const Objective& objective, const CompressedMatrix& matrix, const DoubleTable& table) {
  double sum = 0.0;
  const CompressedRows view = matrix.view();
  for (RowIndex r = 0; r < view.rows; ++r) {
    double n = 0.0;
    for (EntryIndex k = view.offsets[r]; k < view.offsets[r + 1]; ++k) {
      if (objective.kind != ObjectiveKind::kImplicitAlpha || view.value(k) > 0.0F) n += 1.0;
    }
    const double bias_weight = objective.bias_regularization * std::pow(n, objective.regularization_exponent);
    if (objective.kind == ObjectiveKind::kImplicitUnobserved) n += objective.unobserved_weight * view.column_count;
    const double weight = objective.regularization * std::pow(n, objective.regularization_exponent);
    sum += weight * dot_product(table.rows[r], table.rows[r]);
    if (objective.biases) sum += bias_weight * table.biases[r] * table.biases[r];
  }
  return sum;
}

inline double objective_by_definition(const Objective& objective, const Problem& problem, const DoubleTable& x,
                                      const DoubleTable& y) {
  double sum = regularizer(objective, problem.by_user, x) + regularizer(objective, problem.by_item, y);
  const CompressedRows view = problem.by_user.view();
  for (RowIndex u = 0; u < view.rows; ++u) {
    std::map<RowIndex, float> observed;
    for (EntryIndex k = view.offsets[u]; k < view.offsets[u + 1]; ++k) observed[view.columns[k]] = view.value(k);
    if (objective.kind == ObjectiveKind::kExplicit) {
      for (const auto& [item, value] : observed) {
        const double error = explicit_error(objective, value, x, u, y, item);
        sum += error * error;
      }
      continue;
    }
    for (RowIndex i = 0; i < view.column_count; ++i) {
      const auto found = observed.find(i);
      sum +=
          pair_loss(objective, found == observed.end() ? nullptr : &found->second, dot_product(x.rows[u], y.rows[i]));
    }
  }
  return sum;
}

/// The derivative of the objective by one number, by central differences. The objective is quadratic in each single
/// number, so the difference is exact up to rounding.
inline double derivative(const Objective& objective, const Problem& problem, DoubleTable& x, DoubleTable& y,
                         double& number) {
  constexpr double kStep = 1e-3;
  const double before = number;
  number = before + kStep;
  const double above = objective_by_definition(objective, problem, x, y);
  number = before - kStep;
  const double below = objective_by_definition(objective, problem, x, y);
  number = before;
  return (above - below) / (2.0 * kStep);
}

/// `problem` without the second of each repeated pair.
inline Problem without_duplicates(const Problem& problem) {
  std::vector<Entry> list;
  std::set<std::pair<RowIndex, RowIndex>> seen;
  const CompressedRows view = problem.by_user.view();
  for (RowIndex u = 0; u < view.rows; ++u) {
    for (EntryIndex k = view.offsets[u]; k < view.offsets[u + 1]; ++k) {
      if (seen.emplace(u, view.columns[k]).second) list.push_back({u, view.columns[k], view.value(k)});
    }
  }
  return make_problem(problem.name + " distinct", view.rows, view.column_count, list, !view.values.empty());
}

}  // namespace concerto::test
