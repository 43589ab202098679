// Subspace steps: block coordinate descent over slices of the rank, each slice solved exactly given the others.
//
// Source: Rendle, Krichene, Zhang and Koren 2021, "iALS++: speeding up matrix factorization with subspace
// optimization", algorithm 1; with biases, the bias is eliminated jointly with each slice (row_system.hpp).
#include <algorithm>

#include "row_system.hpp"

namespace concerto::reference {

void ReferenceBackend::solve_slices(const SubspaceStep& step) {
  const CompressedRows& matrix = as<Ratings>(step.ratings).view;
  const FactorTable& fixed = as<Table>(step.fixed).values;
  FactorTable& target = as<Table>(step.target).values;
  const Gram* gram = step.objective.is_implicit() ? &as<Gram>(step.gram) : nullptr;
  CONCERTO_CHECK(step.rows.end <= target.rows() && matrix.rows == target.rows(), "rows outside the table");
  CONCERTO_CHECK(step.slice > 0, "an empty slice");
  const std::size_t rank = target.rank();
  for (RowIndex r = step.rows.begin; r < step.rows.end; ++r) {
    const RowSystem system(matrix, r, fixed, gram, step.objective);
    std::vector<double> x = row_as_double(target, r);
    if (!system.has_entries()) {
      store_row(target, r, std::vector<double>(rank, 0.0), 0.0);
      continue;
    }
    for (std::size_t begin = 0; begin < rank; begin += step.slice) {
      const std::size_t end = std::min<std::size_t>(rank, begin + step.slice);
      const std::vector<double> image = system.apply(x);
      std::vector<double> change(end - begin);
      for (std::size_t c = begin; c < end; ++c) change[c - begin] = system.right()[c] - image[c];
      std::vector<double> a = system.matrix(begin, end);
      solve_symmetric(a, change);
      for (std::size_t c = begin; c < end; ++c) x[c] += change[c - begin];
    }
    store_row(target, r, x, system.bias(x));
  }
}

}  // namespace concerto::reference
