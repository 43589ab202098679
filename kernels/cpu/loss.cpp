// Measures: the loss of observed entries, penalties, errors of predictions. Products in fp32, all sums over entries and
// rows in double: per chunk of rows by one thread, then along the tree of base/tree_sum.hpp.
#include <algorithm>
#include <cmath>

#include "concerto/base/tree_sum.hpp"
#include "concerto/data/partition.hpp"

#include "cpu_backend.hpp"
#include "row_kernel.hpp"
#include "sgd_grid.hpp"

namespace concerto::cpu {
namespace {

/// Entries whose products are formed at a time.
constexpr std::size_t kSegment = 512;

/// Calls leaf(chunk's place, rows) for the part of each chunk that lies in `rows`, in parallel; place from 0.
template <class Leaf>
void for_each_chunk(ThreadPool& pool, RowIndex table_rows, RowRange rows, Leaf leaf) {
  if (rows.begin >= rows.end) return;
  const RowIndex first = rows.begin / chunk_rows(table_rows);
  const RowIndex last = (rows.end - 1) / chunk_rows(table_rows);
  pool.parallel_for(last - first + 1, 1, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t place = begin; place < end; ++place) {
      const RowRange chunk = chunk_range(table_rows, first + static_cast<RowIndex>(place));
      leaf(place, RowRange{std::max(chunk.begin, rows.begin), std::min(chunk.end, rows.end)});
    }
  });
}

/// The number of places that for_each_chunk visits.
std::size_t chunk_places(RowIndex table_rows, RowRange rows) {
  if (rows.begin >= rows.end) return 0;
  return (rows.end - 1) / chunk_rows(table_rows) - rows.begin / chunk_rows(table_rows) + 1;
}

/// Calls visit(value, x.y + mean + both biases) for each entry of a user's row.
template <class Visit>
void score_row(const CompressedRows& matrix, RowIndex user, const FactorTable& users, const FactorTable& items,
               double mean, Visit visit) {
  float products[kSegment];
  const std::span<const RowIndex> columns = matrix.row_columns(user);
  const EntryIndex row_begin = matrix.offsets[user];
  const double offset = mean + users.bias(user);
  for (std::size_t begin = 0; begin < columns.size(); begin += kSegment) {
    const auto segment = columns.subspan(begin, std::min(kSegment, columns.size() - begin));
    gathered_products(users.row(user).data(), items.data(), items.stride(), segment, products);
    for (std::size_t k = 0; k < segment.size(); ++k) {
      visit(matrix.value(row_begin + begin + k), products[k] + offset + items.bias(segment[k]));
    }
  }
}

/// The entries of a row that count in n (see Objective::counts).
double counted_entries(const CompressedRows& matrix, RowIndex row, const Objective& objective) {
  if (objective.kind != ObjectiveKind::kImplicitAlpha || matrix.values.empty()) {
    return static_cast<double>(matrix.count(row));
  }
  const auto values = matrix.row_values(row);
  return static_cast<double>(std::ranges::count_if(values, [&](float value) { return objective.counts(value); }));
}

/// Sum over `rows` of what each is penalized with; `count(row)` is its n.
template <class Count>
double sum_of_penalties(ThreadPool& pool, const FactorTable& factors, RowRange rows, RowIndex other_rows,
                        const Objective& objective, Count count) {
  std::vector<double> sums(chunk_places(factors.rows(), rows));
  for_each_chunk(pool, factors.rows(), rows, [&](std::size_t place, RowRange part) {
    double sum = 0.0;
    for (RowIndex r = part.begin; r < part.end; ++r) {
      const double n = count(r);
      const double bias = factors.bias(r);
      sum += objective.penalty(n, other_rows) * squared_norm(factors.row(r).data(), factors.stride());
      if (objective.biases) sum += objective.bias_penalty(n) * bias * bias;
    }
    sums[place] = sum;
  });
  return tree_sum(sums);
}

void check_shapes(const CompressedRows& matrix, const FactorTable& users, const FactorTable& items) {
  CONCERTO_CHECK(matrix.rows <= users.rows() && matrix.column_count <= items.rows() && users.rank() == items.rank(),
                 "the ratings and the tables differ in size");
}

}  // namespace

double CpuBackend::entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users, const Buffer& items,
                              const Objective& objective) {
  const CompressedRows& matrix = buffer_as<RatingsBuffer>(&by_user).view;
  const FactorTable& x = buffer_as<TableBuffer>(&users).factors;
  const FactorTable& y = buffer_as<TableBuffer>(&items).factors;
  check_shapes(matrix, x, y);
  const double mean = objective.is_implicit() ? 0.0 : objective.mean;
  std::vector<double> sums(chunk_places(matrix.rows, rows));
  for_each_chunk(pool_, matrix.rows, rows, [&](std::size_t place, RowRange part) {
    double sum = 0.0;
    for (RowIndex u = part.begin; u < part.end; ++u) {
      score_row(matrix, u, x, y, mean, [&](float value, double score) { sum += objective.entry_loss(value, score); });
    }
    sums[place] = sum;
  });
  return tree_sum(sums);
}

double CpuBackend::penalty(const Buffer& ratings, RowRange rows, const Buffer& table, const Objective& objective) {
  const CompressedRows& matrix = buffer_as<RatingsBuffer>(&ratings).view;
  const FactorTable& factors = buffer_as<TableBuffer>(&table).factors;
  CONCERTO_CHECK(matrix.rows == factors.rows(), "the ratings and the table differ in rows");
  return sum_of_penalties(pool_, factors, rows, matrix.column_count, objective,
                          [&](RowIndex r) { return counted_entries(matrix, r, objective); });
}

double CpuBackend::grid_loss(const Buffer& buffer, const Buffer& users, const Buffer& items,
                             const Objective& objective) {
  CONCERTO_CHECK(!objective.is_implicit(), "SGD serves explicit objectives only");
  const auto& grid = buffer_as<GridBuffer>(&buffer);
  const auto penalties = [&](Side side, const Buffer& table) {
    const FactorTable& factors = buffer_as<TableBuffer>(&table).factors;
    CONCERTO_CHECK(factors.rows() == grid.orientation(side).rows, "the grid and the table differ in rows");
    return sum_of_penalties(pool_, factors, {0, factors.rows()}, grid.orientation(side).column_count, objective,
                            [&](RowIndex r) { return static_cast<double>(grid.count(side, r)); });
  };
  return entry_loss(grid.by_user, {0, grid.by_user.view.rows}, users, items, objective) +
         penalties(Side::kUsers, users) + penalties(Side::kItems, items);
}

ErrorSums CpuBackend::prediction_errors(const CompressedRows& held_out, const Buffer& users, const Buffer& items,
                                        double mean, float low, float high) {
  const FactorTable& x = buffer_as<TableBuffer>(&users).factors;
  const FactorTable& y = buffer_as<TableBuffer>(&items).factors;
  check_shapes(held_out, x, y);
  const RowRange rows{0, held_out.rows};
  std::vector<double> squared(chunk_places(held_out.rows, rows));
  std::vector<double> absolute(squared.size());
  for_each_chunk(pool_, held_out.rows, rows, [&](std::size_t place, RowRange part) {
    ErrorSums sums;
    for (RowIndex u = part.begin; u < part.end; ++u) {
      score_row(held_out, u, x, y, mean, [&](float value, double score) {
        const double error = value - std::clamp(score, double{low}, double{high});
        sums.squared += error * error;
        sums.absolute += std::fabs(error);
      });
    }
    squared[place] = sums.squared;
    absolute[place] = sums.absolute;
  });
  return {tree_sum(squared), tree_sum(absolute)};
}

}  // namespace concerto::cpu
