// Gram matrices, seen through inner products: <Y^T Y, P^T P> is the sum of (y.p)^2 over all pairs of rows.
#include "backends_under_test.hpp"
#include "problems.hpp"

namespace concerto::test {
namespace {

double sum_of_squared_scores(const FactorTable& a, const FactorTable& b) {
  double sum = 0.0;
  for (RowIndex r = 0; r < a.rows(); ++r) {
    for (RowIndex s = 0; s < b.rows(); ++s) {
      double score = 0.0;
      for (std::size_t c = 0; c < a.rank(); ++c) score += double{a.row(r)[c]} * b.row(s)[c];
      sum += score * score;
    }
  }
  return sum;
}

class GramMatrix : public ::testing::TestWithParam<BackendCase> {};

TEST_P(GramMatrix, InnerProductIsTheSumOverAllPairs) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 128U, 129U, 256U, 257U, 640U}) {
    SCOPED_TRACE(rank);
    const FactorTable a = random_table({131, rank, false}, 1);
    const FactorTable b = random_table({67, rank, false}, 2);
    const Outcome outcome = run_on(GetParam(), [&](Backend& backend) {
      const auto gram_a = backend.gram(*upload(backend, a));
      const auto gram_b = backend.gram(*upload(backend, b));
      return Outcome{{}, {backend.inner_product(*gram_a, *gram_b)}};
    });
    const double expected = sum_of_squared_scores(as_gathered(GetParam(), a), as_gathered(GetParam(), b));
    EXPECT_NEAR(outcome.numbers[0], expected, 1e-5 * expected);
  }
}

/// A probe of two unit vectors reads single elements: <G, (e_i + e_j)(e_i + e_j)^T> = g_ii + 2 g_ij + g_jj.
TEST_P(GramMatrix, EveryElementIsExactOnWholeNumbers) {
  for (const std::uint32_t rank : {1U, 7U, 67U}) {
    const FactorTable table = integer_table({1031, rank, true}, rank);
    run_on(GetParam(), [&](Backend& backend) {
      const auto gram = backend.gram(*upload(backend, table));
      const std::uint32_t sparser = GetParam().is_slow ? 5 : 1;  // elements looked at, of each row and of each column
      for (std::uint32_t i = 0; i < rank; i += 3 * sparser) {
        for (std::uint32_t j = 0; j <= i; j += 2 * sparser) {
          FactorTable probe({1, rank, false});
          probe.row(0)[i] = 1.0F;
          probe.row(0)[j] += 1.0F;
          const double seen = backend.inner_product(*gram, *backend.gram(*upload(backend, probe)));
          EXPECT_EQ(seen, sum_of_squared_scores(table, probe)) << "rank " << rank << ", element " << i << ", " << j;
        }
      }
      return Outcome{};
    });
  }
}

TEST_P(GramMatrix, OfOneRowAndOfZeros) {
  const FactorTable one = integer_table({1, 17, false}, 3);
  run_on(GetParam(), [&](Backend& backend) {
    const auto gram = backend.gram(*upload(backend, one));
    const auto zeros = backend.gram(*backend.create_table({5, 17, false}));
    EXPECT_EQ(backend.inner_product(*gram, *gram), sum_of_squared_scores(one, one));
    EXPECT_EQ(backend.inner_product(*gram, *zeros), 0.0);
    return Outcome{};
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, GramMatrix, ::testing::ValuesIn(all_backends()), case_name);

}  // namespace
}  // namespace concerto::test
