// Gram matrices of the cpu backend: values, symmetry, padding, and bytes that do not depend on threads, for ranks of
// one tile and of several; and the prediction of working memory.
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/compute/backends.hpp"

namespace concerto {
namespace {

FactorTable table_of(RowIndex rows, std::uint32_t rank) {
  FactorTable table({rows, rank, false});
  initialize(table, Side::kItems, 11, std::sqrt(static_cast<double>(rank)));
  return table;
}

std::unique_ptr<Buffer> buffer_of(Backend& backend, const FactorTable& table) {
  auto buffer = backend.create_table(table.shape());
  backend.write_rows(*buffer, {0, table.rows()}, table);
  return buffer;
}

/// sum over all pairs of rows of (x . y)^2, in double.
double pair_sum(const FactorTable& a, const FactorTable& b) {
  double total = 0.0;
  for (RowIndex r = 0; r < a.rows(); ++r) {
    for (RowIndex s = 0; s < b.rows(); ++s) {
      double score = 0.0;
      for (std::size_t c = 0; c < a.rank(); ++c) score += double{a.row(r)[c]} * double{b.row(s)[c]};
      total += score * score;
    }
  }
  return total;
}

TEST(AlsGram, InnerProductIsTheSumOverAllPairs) {
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  for (const std::uint32_t rank : {1U, 16U, 67U, 300U, 530U}) {
    const FactorTable a = table_of(150, rank);
    const FactorTable b = table_of(90, rank);
    const auto gram_a = backend->gram(*buffer_of(*backend, a));
    const auto gram_b = backend->gram(*buffer_of(*backend, b));
    const double expected = pair_sum(a, b);
    EXPECT_NEAR(backend->inner_product(*gram_a, *gram_b), expected, 1e-5 * expected) << "rank " << rank;
  }
}

TEST(AlsGram, AnyThreadCountGivesTheSameSum) {
  for (const std::uint32_t rank : {24U, 300U}) {
    const FactorTable table = table_of(1000, rank);
    std::vector<double> sums;
    for (const unsigned threads : {1U, 2U, 7U}) {
      ThreadPool pool(threads);
      const auto backend = make_cpu_backend(pool);
      const auto gram = backend->gram(*buffer_of(*backend, table));
      sums.push_back(backend->inner_product(*gram, *gram));
    }
    EXPECT_GT(sums[0], 0.0);
    EXPECT_EQ(sums[0], sums[1]);
    EXPECT_EQ(sums[0], sums[2]);
  }
}

TEST(AlsGram, ATableOfZerosHasAZeroGram) {
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  const auto gram = backend->gram(*backend->create_table({5, 10, false}));
  EXPECT_EQ(backend->inner_product(*gram, *gram), 0.0);
}

TEST(CpuWorkingBytes, CoversTheGramsAndGrowsWithThreads) {
  MemoryShape shape;
  shape.users = 100000;
  shape.items = 20000;
  shape.entries = 1000000;
  shape.rank = 8192;
  shape.is_implicit = true;
  shape.solver = MemoryShape::Solver::kSubspace;
  shape.threads = 1;
  const std::uint64_t one = cpu_working_bytes(shape);
  shape.threads = 8;
  EXPECT_GE(one, std::uint64_t{2} * 8192 * 8192 * 4);
  EXPECT_GT(cpu_working_bytes(shape), one);
  shape.is_implicit = false;
  EXPECT_LT(cpu_working_bytes(shape), std::uint64_t{512} << 20);
}

}  // namespace
}  // namespace concerto
