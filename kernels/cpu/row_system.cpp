// From the buffers of a step to the pointers that solving takes: see row_system.hpp.
#include "row_system.hpp"

#include "cpu_backend.hpp"

namespace concerto::cpu {

RowStep make_row_step(const Buffer* ratings, const Buffer* fixed, const Buffer* gram, Buffer* target, RowRange rows,
                      const Objective& objective) {
  const FactorTable& fixed_table = buffer_as<TableBuffer>(fixed).factors;
  FactorTable& target_table = buffer_as<TableBuffer>(target).factors;
  RowStep step;
  step.ratings = buffer_as<RatingsBuffer>(ratings).view;
  step.objective = objective;
  step.fixed = fixed_table.data();
  step.target = target_table.data();
  step.fixed_rows = fixed_table.rows();
  step.width = target_table.stride();
  step.rank = target_table.rank();
  CONCERTO_CHECK(fixed_table.rank() == target_table.rank(), "the two tables of a step differ in rank");
  CONCERTO_CHECK(step.ratings.rows == target_table.rows() && step.ratings.column_count == fixed_table.rows(),
                 "the ratings of a step are not of its tables' shape");
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= target_table.rows(), "the rows of a step are out of range");
  if (objective.is_implicit()) {
    const auto& matrix = buffer_as<GramBuffer>(gram);
    CONCERTO_CHECK(matrix.rank == target_table.rank(), "the Gram matrix of a step is of another rank");
    step.gram = matrix.values.data();
  }
  if (objective.biases) {
    CONCERTO_CHECK(!objective.is_implicit() && fixed_table.shape().biases && target_table.shape().biases,
                   "biases need an explicit objective and tables with biases");
    step.fixed_biases = fixed_table.biases().data();
    step.target_biases = target_table.biases().data();
  }
  return step;
}

RowStep make_sum_step(const SumStep& sums) {
  const FactorTable& fixed = buffer_as<TableBuffer>(sums.fixed).factors;
  RowStep step;
  step.ratings = buffer_as<RatingsBuffer>(sums.ratings).view;
  step.objective = sums.objective;
  step.fixed = fixed.data();
  step.fixed_rows = fixed.rows();
  step.width = fixed.stride();
  step.rank = fixed.rank();
  CONCERTO_CHECK(step.ratings.column_count == fixed.rows(), "the ratings of a step are not of its table's shape");
  CONCERTO_CHECK(sums.rows.begin <= sums.rows.end && sums.rows.end <= step.ratings.rows,
                 "the rows of a step are out of range");
  if (sums.objective.biases) {
    CONCERTO_CHECK(!sums.objective.is_implicit() && fixed.shape().biases, "biases need a table with biases");
    step.fixed_biases = fixed.biases().data();
  }
  return step;
}

}  // namespace concerto::cpu
