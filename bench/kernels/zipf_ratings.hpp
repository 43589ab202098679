// Ratings for benchmarks: as many as asked for, users and items drawn with skewed popularity, both orientations. Rows
// are in random order, as prepared data has them. Values are random: speed does not depend on them.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "concerto/base/rng.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto::bench {

struct ZipfRatings {
  CompressedMatrix by_user;
  CompressedMatrix by_item;
};

/// The orientation of parallel arrays of rows, columns and values, by counting; columns in the order of the arrays.
inline CompressedMatrix orient(RowIndex rows, RowIndex column_count, const std::vector<RowIndex>& row,
                               const std::vector<RowIndex>& column, const std::vector<float>& value) {
  CompressedMatrix matrix{rows, column_count, std::vector<EntryIndex>(rows + 1), {}, {}};
  for (const RowIndex r : row) ++matrix.offsets[r + 1];
  for (RowIndex r = 0; r < rows; ++r) matrix.offsets[r + 1] += matrix.offsets[r];
  std::vector<EntryIndex> next(matrix.offsets.begin(), matrix.offsets.end() - 1);
  matrix.columns.resize(row.size());
  matrix.values.resize(row.size());
  for (std::size_t k = 0; k < row.size(); ++k) {
    const EntryIndex at = next[row[k]]++;
    matrix.columns[at] = column[k];
    matrix.values[at] = value[k];
  }
  return matrix;
}

/// Draws rows with probability about proportional to (rank + 50)^-exponent, in random order.
class SkewedRows {
 public:
  SkewedRows(RowIndex count, double exponent, std::uint64_t stream)
      : order_(random_permutation(count, 1, stream)),
        low_(std::pow(50.0, 1.0 - exponent)),
        high_(std::pow(50.0 + count, 1.0 - exponent)),
        power_(1.0 / (1.0 - exponent)) {}
  [[nodiscard]] RowIndex draw(Random& random) const {
    const double place = std::pow(low_ + random.uniform() * (high_ - low_), power_) - 50.0;
    return order_[std::min(static_cast<std::size_t>(place), order_.size() - 1)];
  }

 private:
  std::vector<RowIndex> order_;
  double low_;
  double high_;
  double power_;
};

inline ZipfRatings zipf_ratings(RowIndex users, RowIndex items, EntryIndex entries) {
  Random random(1);
  const SkewedRows user_rows(users, 0.6, 2);
  const SkewedRows item_rows(items, 0.8, 3);
  std::vector<RowIndex> user(entries);
  std::vector<RowIndex> item(entries);
  std::vector<float> value(entries);
  for (EntryIndex k = 0; k < entries; ++k) {
    user[k] = user_rows.draw(random);
    item[k] = item_rows.draw(random);
    value[k] = static_cast<float>(1 + random.below(5));
  }
  // Orienting by items, then by users, leaves the columns of both ascending.
  const auto rows_of = [](const CompressedMatrix& matrix) {
    std::vector<RowIndex> rows;
    rows.reserve(matrix.columns.size());
    for (RowIndex r = 0; r < matrix.rows; ++r) rows.insert(rows.end(), matrix.view().count(r), r);
    return rows;
  };
  const CompressedMatrix first = orient(items, users, item, user, value);
  ZipfRatings ratings;
  ratings.by_user = orient(users, items, first.columns, rows_of(first), first.values);
  ratings.by_item = orient(items, users, ratings.by_user.columns, rows_of(ratings.by_user), ratings.by_user.values);
  return ratings;
}

}  // namespace concerto::bench
