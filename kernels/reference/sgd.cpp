// One SGD epoch in the serial order of sgd_order.hpp.
//
// Sources: Koren, Bell and Volinsky 2009 (the update); Gemulla et al. 2011 (strata); Chin et al. 2015 (one adaptive
// rate a row, after AdaGrad).
#include <algorithm>
#include <cmath>

#include "concerto/compute/sgd_order.hpp"

#include "row_system.hpp"
#include "sgd_gradient.hpp"

namespace concerto::reference {
namespace {

/// Moves one row against its gradient and lets its accumulator grow.
void update_row(const SgdStep& step, Table& table, RowIndex row, std::span<const double> values,
                std::span<const double> gradient, double bias_gradient) {
  const double accumulator = table.accumulators[row];
  const double rate = step.rate / std::sqrt(accumulator);
  std::vector<double> moved(values.begin(), values.end());
  double square = 0.0;
  for (std::size_t c = 0; c < moved.size(); ++c) {
    moved[c] -= rate * gradient[c];
    if (step.nonnegative) moved[c] = std::max(moved[c], 0.0);
    square += gradient[c] * gradient[c];
  }
  table.accumulators[row] = static_cast<float>(accumulator + square / static_cast<double>(moved.size()));
  store_row(table.values, row, moved, table.values.bias(row) - rate * bias_gradient);
}

void update_entry(const SgdStep& step, const Grid& grid, Table& users, Table& items, const GridEntry& entry) {
  const Objective& objective = step.objective;
  const std::vector<double> x = row_as_double(users.values, entry.user);
  const std::vector<double> y = row_as_double(items.values, entry.item);
  const double user_bias = users.values.bias(entry.user);
  const double item_bias = items.values.bias(entry.item);
  const SgdDecay user_decay = sgd_decay(objective, static_cast<double>(grid.user_counts[entry.user]));
  const SgdDecay item_decay = sgd_decay(objective, static_cast<double>(grid.item_counts[entry.item]));
  const double error = sgd_error(objective, entry.value, x, user_bias, y, item_bias);
  std::vector<double> gradient(x.size());
  sgd_gradient(error, user_decay.factors, x, y, gradient);
  update_row(step, users, entry.user, x, gradient, sgd_bias_gradient(error, user_decay.bias, user_bias));
  sgd_gradient(error, item_decay.factors, y, x, gradient);
  update_row(step, items, entry.item, y, gradient, sgd_bias_gradient(error, item_decay.bias, item_bias));
}

}  // namespace

void ReferenceBackend::sgd_epoch(const SgdStep& step) {
  const Grid& grid = as<Grid>(step.grid);
  Table& users = as<Table>(step.users);
  Table& items = as<Table>(step.items);
  CONCERTO_CHECK(!step.objective.is_implicit(), "SGD serves explicit objectives only");
  CONCERTO_CHECK(users.values.rows() == grid.by_user.view.rows && items.values.rows() == grid.by_item.view.rows,
                 "the grid and the tables differ in size");
  for (const std::uint32_t shift : sgd_strata(grid.side, step.seed, step.epoch)) {
    for (std::uint32_t block = 0; block < grid.side; ++block) {
      const std::size_t index = std::size_t{block} * grid.side + sgd_item_block(block, shift, grid.side);
      for (const GridEntry& entry : grid.blocks[index]) update_entry(step, grid, users, items, entry);
    }
  }
}

}  // namespace concerto::reference
