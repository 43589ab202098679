// A row's system in two steps: what entries add to it, and solving it from what all of them add up to. The formulas are
// those of row_system.hpp.
#include "concerto/compute/system_checks.hpp"

#include "row_system.hpp"

namespace concerto::reference {
namespace {

/// The symmetric matrix whose upper triangle lies row by row, row-major.
std::vector<double> unpacked(std::span<const float> upper, std::uint32_t rank) {
  std::vector<double> a(std::size_t{rank} * rank);
  std::size_t k = 0;
  for (std::size_t i = 0; i < rank; ++i) {
    for (std::size_t j = i; j < rank; ++j, ++k) a[i * rank + j] = a[j * rank + i] = upper[k];
  }
  return a;
}

std::vector<double> as_double(std::span<const float> values) {
  return {values.begin(), values.end()};
}

}  // namespace

void ReferenceBackend::sum_systems(const SumStep& step, std::span<float> systems) {
  const CompressedRows& matrix = as<Ratings>(step.ratings).view;
  const FactorTable& fixed = as<Table>(step.fixed).values;
  const SystemLayout layout{fixed.rank(), step.objective.biases};
  CONCERTO_CHECK(step.rows.end <= matrix.rows && systems.size() == step.rows.size() * layout.floats(),
                 "sums of other rows than there is room for");
  for (RowIndex r = step.rows.begin; r < step.rows.end; ++r) {
    std::vector<double> sums(layout.floats(), 0.0);
    for (EntryIndex e = matrix.offsets[r]; e < matrix.offsets[r + 1]; ++e) {
      const RowIndex column = matrix.columns[e];
      const auto weights = step.objective.entry_weights(matrix.value(e), fixed.bias(column));
      const auto y = fixed.row(column);
      std::size_t k = 0;
      for (std::size_t i = 0; i < y.size(); ++i) {
        for (std::size_t j = i; j < y.size(); ++j, ++k) sums[k] += double{weights.gram} * y[i] * y[j];
      }
      for (std::size_t c = 0; c < y.size(); ++c) sums[layout.right() + c] += double{weights.right} * y[c];
      if (!layout.biases) continue;
      for (std::size_t c = 0; c < y.size(); ++c) sums[layout.bias_sum() + c] += y[c];
      sums[layout.residual()] += weights.right;
    }
    float* out = systems.data() + (r - step.rows.begin) * layout.floats();
    for (std::size_t k = 0; k < sums.size(); ++k) out[k] = static_cast<float>(sums[k]);
  }
}

void ReferenceBackend::solve_systems(const SystemsStep& step) {
  FactorTable& target = as<Table>(step.target).values;
  const std::uint32_t rank = target.rank();
  const SystemLayout layout{rank, step.objective.biases};
  check_systems(step, target.shape());
  for (RowIndex r = step.rows.begin; r < step.rows.end; ++r) {
    const std::vector<double> previous = row_as_double(target, r);
    const auto count = static_cast<double>(step.counts[r - step.rows.begin]);
    if (count == 0.0) {
      store_row(target, r, std::vector<double>(rank, 0.0), 0.0);
      continue;
    }
    const auto sums = step.systems.subspan((r - step.rows.begin) * layout.floats(), layout.floats());
    std::vector<double> a = unpacked(sums.first(layout.gram_floats()), rank);
    std::vector<double> right = as_double(sums.subspan(layout.right(), rank));
    if (step.objective.is_implicit()) {
      const std::vector<double> gram = unpacked(step.gram, rank);
      for (std::size_t k = 0; k < a.size(); ++k) a[k] += step.objective.base_weight() * gram[k];
    }
    for (std::size_t c = 0; c < rank; ++c) a[c * rank + c] += step.objective.penalty(count, step.fixed_rows);
    std::vector<double> sum;
    const double divisor = count + step.objective.bias_penalty(count);
    const double residual = layout.biases ? sums[layout.residual()] : 0.0;
    if (layout.biases) {
      sum = as_double(sums.subspan(layout.bias_sum(), rank));
      for (std::size_t i = 0; i < rank; ++i) {
        for (std::size_t j = 0; j < rank; ++j) a[i * rank + j] -= sum[i] * sum[j] / divisor;
        right[i] -= sum[i] * residual / divisor;
      }
    }
    std::vector<double> x = right;
    if (step.inner == InnerSolver::kCholesky) {
      solve_symmetric(a, x);
    } else {
      const auto apply = [&](std::span<const double> p) {
        std::vector<double> image(rank, 0.0);
        for (std::size_t i = 0; i < rank; ++i) {
          for (std::size_t j = 0; j < rank; ++j) image[i] += a[i * rank + j] * p[j];
        }
        return image;
      };
      x = solve_by_cg(apply, right, previous, step.cg_steps);
    }
    double bias = residual;
    for (std::size_t c = 0; c < sum.size(); ++c) bias -= sum[c] * x[c];
    bias /= divisor;
    for (std::size_t c = 0; c < x.size(); ++c) x[c] += step.momentum * (x[c] - previous[c]);
    bias += step.momentum * (bias - target.bias(r));
    store_row(target, r, x, bias);
  }
}

}  // namespace concerto::reference
