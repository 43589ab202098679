// Measures: the loss of observed entries, penalties, and errors of predictions; per chunk, then along the tree.
#include <algorithm>
#include <cmath>

#include "concerto/base/tree_sum.hpp"

#include "reference_backend.hpp"

namespace concerto::reference {
namespace {

/// Sum of `row_value(row)` over `rows`: chunk by chunk, then along the tree.
template <class RowValue>
double sum_over_rows(RowIndex table_rows, RowRange rows, RowValue row_value) {
  std::vector<double> leaves;
  for (const RowRange part : chunk_parts(table_rows, rows)) {
    double sum = 0.0;
    for (RowIndex r = part.begin; r < part.end; ++r) sum += row_value(r);
    leaves.push_back(sum);
  }
  return tree_sum(leaves);
}

/// What a row with n counted entries is penalized with.
double row_penalty(const FactorTable& table, RowIndex row, double count, double other_rows,
                   const Objective& objective) {
  double sum = objective.penalty(count, other_rows) * dot(table.row(row), table.row(row));
  if (objective.biases) sum += objective.bias_penalty(count) * double{table.bias(row)} * table.bias(row);
  return sum;
}

/// x.y + mean + both biases.
double predict(const FactorTable& users, RowIndex u, const FactorTable& items, RowIndex i, double mean) {
  return dot(users.row(u), items.row(i)) + mean + users.bias(u) + items.bias(i);
}

}  // namespace

double ReferenceBackend::entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users, const Buffer& items,
                                    const Objective& objective) {
  const CompressedRows& matrix = as<Ratings>(by_user).view;
  const FactorTable& x = as<Table>(users).values;
  const FactorTable& y = as<Table>(items).values;
  return sum_over_rows(matrix.rows, rows, [&](RowIndex u) {
    double sum = 0.0;
    for (EntryIndex k = matrix.offsets[u]; k < matrix.offsets[u + 1]; ++k) {
      const double mean = objective.is_implicit() ? 0.0 : objective.mean;
      sum += objective.entry_loss(matrix.value(k), predict(x, u, y, matrix.columns[k], mean));
    }
    return sum;
  });
}

double ReferenceBackend::penalty(const Buffer& ratings, RowRange rows, const Buffer& table,
                                 const Objective& objective) {
  const CompressedRows& matrix = as<Ratings>(ratings).view;
  const FactorTable& values = as<Table>(table).values;
  return sum_over_rows(matrix.rows, rows, [&](RowIndex r) {
    const auto count = static_cast<double>(counted_entries(matrix, r, objective));
    return row_penalty(values, r, count, matrix.column_count, objective);
  });
}

double ReferenceBackend::grid_loss(const Buffer& grid, const Buffer& users, const Buffer& items,
                                   const Objective& objective) {
  CONCERTO_CHECK(!objective.is_implicit(), "SGD serves explicit objectives only");
  const Grid& ratings = as<Grid>(grid);
  const auto penalties = [&](const Buffer& table, const std::vector<EntryIndex>& counts) {
    const FactorTable& values = as<Table>(table).values;
    return sum_over_rows(values.rows(), {0, values.rows()}, [&](RowIndex r) {
      return row_penalty(values, r, static_cast<double>(counts[r]), 0.0, objective);
    });
  };
  return entry_loss(ratings.by_user, {0, ratings.by_user.view.rows}, users, items, objective) +
         penalties(users, ratings.user_counts) + penalties(items, ratings.item_counts);
}

ErrorSums ReferenceBackend::prediction_errors(const CompressedRows& held_out, const Buffer& users, const Buffer& items,
                                              double mean, float low, float high) {
  const FactorTable& x = as<Table>(users).values;
  const FactorTable& y = as<Table>(items).values;
  const auto sum_errors = [&](auto measure) {
    return sum_over_rows(held_out.rows, {0, held_out.rows}, [&](RowIndex u) {
      double sum = 0.0;
      for (EntryIndex k = held_out.offsets[u]; k < held_out.offsets[u + 1]; ++k) {
        const double prediction = predict(x, u, y, held_out.columns[k], mean);
        sum += measure(held_out.value(k) - std::clamp(prediction, double{low}, double{high}));
      }
      return sum;
    });
  };
  return {sum_errors([](double error) { return error * error; }),
          sum_errors([](double error) { return std::fabs(error); })};
}

}  // namespace concerto::reference
