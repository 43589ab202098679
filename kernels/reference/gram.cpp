// Gram matrices: Y^T Y per chunk of rows, chunks along the tree of tree_sum.hpp.
#include "concerto/base/tree_sum.hpp"

#include "reference_backend.hpp"

namespace concerto::reference {
namespace {

std::vector<double> gram_of_rows(const FactorTable& table, RowRange rows) {
  const std::size_t rank = table.rank();
  std::vector<double> sum(rank * rank, 0.0);
  for (RowIndex r = rows.begin; r < rows.end; ++r) {
    const auto y = table.row(r);
    for (std::size_t a = 0; a < rank; ++a) {
      for (std::size_t b = 0; b < rank; ++b) sum[a * rank + b] += double{y[a]} * y[b];
    }
  }
  return sum;
}

/// The sum over the chunks [begin, begin + count), along the tree.
std::vector<double> gram_of_chunks(const FactorTable& table, std::size_t begin, std::size_t count) {
  if (count == 1) return gram_of_rows(table, chunk_range(table.rows(), static_cast<RowIndex>(begin)));
  const std::size_t left = tree_split(count);
  std::vector<double> sum = gram_of_chunks(table, begin, left);
  const std::vector<double> right = gram_of_chunks(table, begin + left, count - left);
  for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += right[k];
  return sum;
}

}  // namespace

std::unique_ptr<Buffer> ReferenceBackend::gram(const Buffer& table) {
  const FactorTable& values = as<Table>(table).values;
  if (values.rows() == 0) {
    return std::make_unique<Gram>(values.rank(), std::vector<double>(std::size_t{values.rank()} * values.rank(), 0.0));
  }
  return std::make_unique<Gram>(values.rank(), gram_of_chunks(values, 0, chunk_count(values.rows())));
}

double ReferenceBackend::inner_product(const Buffer& gram_a, const Buffer& gram_b) {
  const Gram& a = as<Gram>(gram_a);
  const Gram& b = as<Gram>(gram_b);
  CONCERTO_CHECK(a.rank == b.rank, "Gram matrices of different ranks");
  double sum = 0.0;
  for (std::size_t k = 0; k < a.values.size(); ++k) sum += a.values[k] * b.values[k];
  return sum;
}

}  // namespace concerto::reference
