// The formulas of bench/kernels/cuda/costs.hpp at Netflix's shape, against figures worked out by hand, and the
// roofline.
#include "costs.hpp"

#include <gtest/gtest.h>

#include "timing.hpp"

namespace concerto::bench {
namespace {

constexpr Shape kUsers{480189, 17770, 99072112, 64};

TEST(Costs, AlsGathersARowAnEntry) {
  const Work work = als_work(kUsers, InnerSolver::kCg, 3);
  EXPECT_DOUBLE_EQ(work.gather_bytes, 99072112.0 * 128.0);
  EXPECT_DOUBLE_EQ(work.table_bytes, 17770.0 * 128.0);
  EXPECT_DOUBLE_EQ(work.tensor_flops, 99072112.0 * 64.0 * 65.0);
  EXPECT_DOUBLE_EQ(work.stream_bytes, 99072112.0 * 8.0 + 480189.0 * (8.0 + 64.0 * 10.0));
  EXPECT_DOUBLE_EQ(work.vector_flops, 2.0 * 99072112.0 * 64.0 + 480189.0 * 4.0 * 2.0 * 4096.0);
}

TEST(Costs, CholeskyCountsACubeARow) {
  const Work cg = als_work(kUsers, InnerSolver::kCg, 3);
  const Work exact = als_work(kUsers, InnerSolver::kCholesky, 3);
  EXPECT_DOUBLE_EQ(exact.vector_flops, 2.0 * 99072112.0 * 64.0 + 480189.0 * (262144.0 / 3.0 + 8192.0));
  EXPECT_DOUBLE_EQ(cg.stream_bytes - exact.stream_bytes, 480189.0 * 64.0 * 4.0);
}

TEST(Costs, OneSliceOfAllIsTheGramOfCholesky) {
  EXPECT_DOUBLE_EQ(subspace_work(kUsers, 64).tensor_flops, als_work(kUsers, InnerSolver::kCholesky, 3).tensor_flops);
  EXPECT_DOUBLE_EQ(subspace_work(kUsers, 128).tensor_flops, subspace_work(kUsers, 64).tensor_flops);
  EXPECT_DOUBLE_EQ(subspace_work(kUsers, 32).tensor_flops, 2.0 * 99072112.0 * 32.0 * 33.0);
}

TEST(Costs, RowsTimesAGramMatrixAreWhatMsdIsHeldBy) {
  const Work work = gram_product_work(571355, 8192);
  EXPECT_DOUBLE_EQ(work.vector_flops, 2.0 * 571355.0 * 8192.0 * 8192.0);
  EXPECT_DOUBLE_EQ(work.stream_bytes, 4.0 * 8192.0 * (8192.0 + 571355.0));
}

TEST(Costs, TheRest) {
  EXPECT_DOUBLE_EQ(sgd_work(kUsers).gather_bytes, 99072112.0 * 2.0 * 128.0);
  EXPECT_DOUBLE_EQ(sgd_work(kUsers).vector_flops, 99072112.0 * 640.0);
  EXPECT_DOUBLE_EQ(top_k_work(kUsers, 100).tensor_flops, 2.0 * 480189.0 * 17770.0 * 64.0);
  EXPECT_DOUBLE_EQ(entry_loss_work(kUsers).gather_bytes, 99072112.0 * 256.0);
  EXPECT_DOUBLE_EQ(gram_work(17770, 64).tensor_flops, 17770.0 * 64.0 * 65.0);
  EXPECT_DOUBLE_EQ(triple_bytes(99072112), 1188865344.0);
  EXPECT_DOUBLE_EQ(orientations_bytes(480189, 17770, 99072112), 16.0 * 99072112.0 + 8.0 * 497961.0);
  EXPECT_DOUBLE_EQ(factors_bytes(480189, 17770, 64), 497959.0 * 64.0 * 6.0);
  EXPECT_DOUBLE_EQ(build_work(0, 0, 10).stream_bytes, 760.0);
}

TEST(Costs, NothingOfNothing) {
  for (const Work& work : {als_work({}, InnerSolver::kCg, 3), subspace_work({0, 0, 0, 16}, 8), sgd_work({}),
                           top_k_work({}, 10), entry_loss_work({})}) {
    EXPECT_EQ(roofline(work, {}).seconds, 0.0);
  }
}

TEST(Roofline, IsTheLargestPart) {
  const Ceilings ceilings{4e12, 5e12, 6e12, 2e12, 3e12, 8e14, 6e13, std::size_t{50} << 20};
  const Roofline limit = roofline(als_work(kUsers, InnerSolver::kCg, 3), ceilings);
  EXPECT_EQ(limit.bound_by, "gather");
  EXPECT_DOUBLE_EQ(limit.seconds, 99072112.0 * 128.0 / 5e12);
  EXPECT_EQ(roofline(top_k_work(kUsers, 100), ceilings).bound_by, "tensor");
}

TEST(Roofline, ATableBeyondL2IsGatheredFromMemory) {
  const Ceilings ceilings{4e12, 5e12, 6e12, 2e12, 3e12, 8e14, 6e13, std::size_t{50} << 20};
  const Shape items{17770, 480189, 99072112, 64};
  EXPECT_DOUBLE_EQ(roofline(als_work(items, InnerSolver::kCg, 3), ceilings).parts[1], 99072112.0 * 128.0 / 2e12);
  const Shape wide{17770, 480189, 99072112, 128};
  EXPECT_DOUBLE_EQ(roofline(als_work(wide, InnerSolver::kCg, 3), ceilings).parts[1], 99072112.0 * 256.0 / 3e12);
}

TEST(TimingSummary, MedianAndSpread) {
  const Timing odd = summarize({3.0, 1.0, 2.0});
  EXPECT_EQ(odd.median_ms, 2.0);
  EXPECT_EQ(odd.least_ms, 1.0);
  EXPECT_EQ(odd.most_ms, 3.0);
  EXPECT_EQ(summarize({4.0, 1.0}).median_ms, 2.5);
  EXPECT_EQ(summarize({}).repetitions, 0U);
}

}  // namespace
}  // namespace concerto::bench
