// Storage: tables, orientations of the ratings, and the grid of SGD.
#include <algorithm>

#include "concerto/compute/sgd_order.hpp"

#include "reference_backend.hpp"

namespace concerto::reference {
namespace {

void check_copy(const FactorTable& table, RowRange rows, const FactorTable& host) {
  CONCERTO_CHECK(table.shape() == host.shape(), "host table and buffer differ in shape");
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= table.rows(), "rows outside the table");
}

void copy_rows(const FactorTable& from, RowRange rows, FactorTable& to) {
  for (RowIndex r = rows.begin; r < rows.end; ++r) std::ranges::copy(from.row(r), to.row(r).begin());
  if (from.shape().biases) {
    std::ranges::copy(from.biases().subspan(rows.begin, rows.size()), to.biases().begin() + rows.begin);
  }
}

void check_state(const Table& table, RowRange rows, std::size_t values) {
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= table.values.rows(), "rows outside the table");
  CONCERTO_CHECK(values == rows.size(), "optimizer state is one value a row");
}

/// n of each row: as given, or the matrix's own.
std::vector<EntryIndex> row_counts(const CompressedRows& matrix, std::span<const EntryIndex> given) {
  std::vector<EntryIndex> counts(given.begin(), given.end());
  if (given.empty()) {
    for (RowIndex r = 0; r < matrix.rows; ++r) counts.push_back(matrix.count(r));
  }
  CONCERTO_CHECK(counts.size() == matrix.rows, "counts of other rows than the grid's");
  return counts;
}

/// For each row the index of the range that holds it.
std::vector<std::uint32_t> range_of_row(RowIndex rows, const std::vector<RowRange>& ranges) {
  std::vector<std::uint32_t> result(rows);
  for (std::uint32_t b = 0; b < ranges.size(); ++b) {
    std::fill(result.begin() + ranges[b].begin, result.begin() + ranges[b].end, b);
  }
  return result;
}

}  // namespace

std::uint64_t Grid::bytes() const noexcept {
  std::uint64_t total = 0;
  for (const auto& block : blocks) total += block.size() * sizeof(GridEntry);
  return total;
}

std::unique_ptr<Buffer> ReferenceBackend::create_table(const TableShape& shape) {
  return std::make_unique<Table>(shape);
}

void ReferenceBackend::write_rows(Buffer& table, RowRange rows, const FactorTable& host) {
  Table& to = as<Table>(table);
  check_copy(to.values, rows, host);
  copy_rows(host, rows, to.values);
  std::fill(to.accumulators.begin() + rows.begin, to.accumulators.begin() + rows.end, 1.0F);
}

void ReferenceBackend::read_rows(const Buffer& table, RowRange rows, FactorTable& host) const {
  const Table& from = as<Table>(table);
  check_copy(from.values, rows, host);
  copy_rows(from.values, rows, host);
}

void ReferenceBackend::write_state(Buffer& table, RowRange rows, std::span<const float> state) {
  Table& to = as<Table>(table);
  check_state(to, rows, state.size());
  std::ranges::copy(state, to.accumulators.begin() + rows.begin);
}

void ReferenceBackend::read_state(const Buffer& table, RowRange rows, std::span<float> state) const {
  const Table& from = as<Table>(table);
  check_state(from, rows, state.size());
  std::ranges::copy(std::span(from.accumulators).subspan(rows.begin, rows.size()), state.begin());
}

std::unique_ptr<Buffer> ReferenceBackend::load_ratings(const CompressedRows& ratings) {
  return std::make_unique<Ratings>(ratings);
}

std::unique_ptr<Buffer> ReferenceBackend::load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                                    const RowCounts& counts) {
  CONCERTO_CHECK(by_user.rows == by_item.column_count && by_item.rows == by_user.column_count &&
                     by_user.entries() == by_item.entries(),
                 "the two orientations are not of one matrix");
  auto grid = std::make_unique<Grid>(by_user, by_item);
  grid->user_counts = row_counts(by_user, counts.users);
  grid->item_counts = row_counts(by_item, counts.items);
  grid->side = sgd_blocks_per_side(by_user.entries(), by_user.rows, by_item.rows, sgd_limits_);
  grid->blocks.resize(std::size_t{grid->side} * grid->side);
  const auto user_block = range_of_row(by_user.rows, sgd_cut(by_user, grid->side));
  const auto item_block = range_of_row(by_item.rows, sgd_cut(by_item, grid->side));
  for (RowIndex u = 0; u < by_user.rows; ++u) {
    for (EntryIndex k = by_user.offsets[u]; k < by_user.offsets[u + 1]; ++k) {
      const RowIndex i = by_user.columns[k];
      grid->blocks[user_block[u] * grid->side + item_block[i]].push_back({u, i, by_user.value(k)});
    }
  }
  return grid;
}

}  // namespace concerto::reference
