// The base library: random numbers, sums, pools, checksums, errors.
#include <atomic>
#include <cmath>
#include <numeric>
#include <set>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/base/tree_sum.hpp"

namespace concerto {
namespace {

TEST(Philox, AgreesWithThePublishedKnownAnswers) {
  // kat_vectors of Random123, philox4x32 with 10 rounds.
  EXPECT_THAT(philox({0, 0, 0, 0}, 0), testing::ElementsAre(0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U));
  EXPECT_THAT(philox({~0U, ~0U, ~0U, ~0U}, ~std::uint64_t{0}),
              testing::ElementsAre(0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU));
  EXPECT_THAT(philox({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, 0x299f31d0a4093822ULL),
              testing::ElementsAre(0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U));
}

TEST(Random, DrawsUniformlyBelowABound) {
  Random random(7);
  std::vector<int> counts(10);
  for (int i = 0; i < 100000; ++i) ++counts[random.below(10)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

TEST(Random, NormalValuesHaveTheStatedMoments) {
  double sum = 0.0;
  double squares = 0.0;
  const int count = 200000;
  for (int i = 0; i < count; ++i) {
    const double x = normal_at(3, 1, static_cast<std::uint32_t>(i / 100), static_cast<std::uint32_t>(i % 100));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / count, 0.0, 0.01);
  EXPECT_NEAR(squares / count, 1.0, 0.02);
}

TEST(Random, ValuesDependOnEveryPartOfTheirKey) {
  const float value = normal_at(1, 0, 5, 9);
  EXPECT_EQ(value, normal_at(1, 0, 5, 9));
  EXPECT_NE(value, normal_at(2, 0, 5, 9));
  EXPECT_NE(value, normal_at(1, 1, 5, 9));
  EXPECT_NE(value, normal_at(1, 0, 6, 9));
  EXPECT_NE(value, normal_at(1, 0, 5, 8));
}

TEST(Random, PermutationHoldsEachNumberOnce) {
  const auto order = random_permutation(1009, 1, 0);
  EXPECT_EQ(std::set<std::uint32_t>(order.begin(), order.end()).size(), 1009U);
  EXPECT_EQ(order, random_permutation(1009, 1, 0));
  EXPECT_NE(order, random_permutation(1009, 1, 1));
}

TEST(TreeSum, KeepsThePartialSumsOfAPrefixWhenLeavesAreAppended) {
  const std::vector<double> leaves{1e16, 1.0, -1e16, 1.0, 3.0};
  EXPECT_EQ(tree_sum(leaves), (((1e16 + 1.0) + (-1e16 + 1.0)) + 3.0));
  EXPECT_EQ(tree_sum({}), 0.0);
}

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (const unsigned threads : {1U, 2U, 3U, 8U}) {
    ThreadPool pool(threads);
    std::vector<std::atomic<int>> seen(1001);
    pool.parallel_for(seen.size(), 7, [&](std::size_t begin, std::size_t end, unsigned worker) {
      EXPECT_LT(worker, threads);
      for (std::size_t i = begin; i < end; ++i) ++seen[i];
    });
    for (const auto& count : seen) EXPECT_EQ(count, 1);
  }
}

TEST(ThreadPool, RethrowsTheFailureOfABodyAndStaysUsable) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(100, 1,
                                 [](std::size_t begin, std::size_t, unsigned) {
                                   if (begin == 13) throw std::runtime_error("thirteen");
                                 }),
               std::runtime_error);
  std::atomic<int> calls{0};
  pool.run_on_all([&](unsigned) { ++calls; });
  EXPECT_EQ(calls, 3);
}

TEST(Checksum, StreamsToTheSameValue) {
  std::vector<std::byte> bytes(10000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31);
  ChecksumStream stream;
  stream.update(std::span(bytes).first(3));
  stream.update(std::span(bytes).subspan(3));
  EXPECT_EQ(stream.digest(), checksum(bytes));
  bytes[5000] ^= std::byte{1};
  EXPECT_NE(stream.digest(), checksum(bytes));
  stream.restart();
  stream.update(bytes);
  EXPECT_EQ(stream.digest(), checksum(bytes));
  EXPECT_EQ(checksum_text(0xab), "00000000000000ab");
}

TEST(Error, SaysWhereWhatAndWhyInOneLine) {
  const Error error(ErrorCode::kBadInput, "not a number: 'x'", "ratings.txt:3: field 2", "strtod");
  EXPECT_STREQ(error.what(), "ratings.txt:3: field 2: not a number: 'x' (strtod)");
  EXPECT_EQ(exit_status(error.code()), 2);
  EXPECT_EQ(exit_status(ErrorCode::kIo), 1);
}

}  // namespace
}  // namespace concerto
