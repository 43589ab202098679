// The consistency index: its arithmetic, the draw of rows, and the bounded number of samples.
#include "consistency.hpp"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concerto {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Floats = std::vector<float>;

TEST(ConsistencyIndex, IsTheWeightedSum) {
  const std::vector<double> weights{0.3, 0.3, 0.4};
  EXPECT_DOUBLE_EQ(consistency_index(weights, std::vector<double>{1.0, 0.9, 0.5}), 0.77);
  EXPECT_DOUBLE_EQ(consistency_index(weights, std::vector<double>{1.0, 1.0, 1.0}), 1.0);
  EXPECT_DOUBLE_EQ(consistency_index(weights, std::vector<double>{0.0, 0.0, 0.0}), 0.0);
}

TEST(Agreement, IsOneMinusTheRelativeDistance) {
  EXPECT_DOUBLE_EQ(agreement(Floats{3, 4}, Floats{3, 4}), 1.0);
  EXPECT_DOUBLE_EQ(agreement(Floats{3, 3.5}, Floats{3, 4}), 0.9);
  EXPECT_DOUBLE_EQ(agreement(Floats{3, 0}, Floats{3, 4}), 0.2) << "1 - 4 / 5";
  EXPECT_DOUBLE_EQ(agreement(Floats{-3, -4}, Floats{3, 4}), 0.0) << "a distance of twice the norm";
  EXPECT_DOUBLE_EQ(agreement(Floats{0, 0}, Floats{0, 0}), 1.0);
  EXPECT_DOUBLE_EQ(agreement(Floats{1, 0}, Floats{0, 0}), 0.0);
  EXPECT_DOUBLE_EQ(agreement(Floats{}, Floats{}), 1.0);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  EXPECT_DOUBLE_EQ(agreement(Floats{kNan, 1}, Floats{1, 1}), 0.0);
  EXPECT_DOUBLE_EQ(agreement(Floats{kNan}, Floats{kNan}), 0.0);
  EXPECT_DOUBLE_EQ(agreement(Floats{1}, Floats{kInfinite}), 0.0);
}

TEST(DrawRows, AreDifferentAscendingAndTheSameEverywhere) {
  const auto rows = draw_rows(100'000, 1024, 7, 1);
  ASSERT_THAT(rows, SizeIs(1024));
  for (std::size_t i = 1; i < rows.size(); ++i) EXPECT_LT(rows[i - 1], rows[i]);
  EXPECT_LT(rows.back(), 100'000U);
  EXPECT_GT(rows.back(), 90'000U);
  EXPECT_LT(rows.front(), 10'000U);
  EXPECT_EQ(draw_rows(100'000, 1024, 7, 1), rows);
  EXPECT_NE(draw_rows(100'000, 1024, 8, 1), rows);
  EXPECT_NE(draw_rows(100'000, 1024, 7, 2), rows);
  EXPECT_THAT(draw_rows(3, 1024, 7, 1), ElementsAre(0, 1, 2));
  EXPECT_THAT(draw_rows(0, 1024, 7, 1), IsEmpty());
}

std::vector<std::uint64_t> numbers(ConsistencySamples& samples) {
  std::vector<std::uint64_t> all;
  for (const ConsistencySample& sample : samples.take()) all.push_back(sample.number);
  return all;
}

TEST(ConsistencySamples, TheIntervalDoublesWhenThereAreTooMany) {
  ConsistencySamples leader(4);
  ConsistencySamples follower(4);
  for (std::uint64_t elapsed = 0; elapsed <= 27; ++elapsed) {
    const auto number = leader.due(elapsed);
    if (!number) continue;
    ASSERT_NE(leader.add(*number), nullptr) << "what is due is kept";
    ASSERT_TRUE(follower.may_follow(*number));
    ASSERT_NE(follower.add(*number), nullptr);
    EXPECT_FALSE(follower.may_follow(*number)) << "twice";
  }
  EXPECT_THAT(numbers(leader), ElementsAre(8, 16, 24));
  EXPECT_THAT(numbers(follower), ElementsAre(8, 16, 24));
}

TEST(ConsistencySamples, ALateLookTakesOneSample) {
  ConsistencySamples samples(100);
  EXPECT_EQ(samples.due(0), std::nullopt) << "at the start all is equal";
  EXPECT_EQ(samples.due(17), 17U);
  ASSERT_NE(samples.add(17), nullptr);
  EXPECT_EQ(samples.due(17), std::nullopt);
  EXPECT_EQ(samples.due(18), 18U);
}

TEST(ConsistencySamples, WhoMissedSomeKeepsTheOthersOfThoseThatAreKept) {
  ConsistencySamples leader(4);
  ConsistencySamples follower(4);
  for (std::uint64_t elapsed = 1; elapsed <= 40; ++elapsed) {
    const auto number = leader.due(elapsed);
    if (!number) continue;
    (void)leader.add(*number);
    if (*number != 2 && *number != 16) (void)follower.add(*number);
  }
  EXPECT_THAT(numbers(leader), ElementsAre(16, 32));
  EXPECT_THAT(numbers(follower), testing::Contains(32));
}

TEST(ConsistencySamples, AreBoundedInNumberAndBytes) {
  EXPECT_EQ(most_samples(0), 256U);
  EXPECT_EQ(most_samples(1024), 256U);
  EXPECT_EQ(most_samples(std::size_t{1} << 20), 64U);
  EXPECT_EQ(most_samples(std::size_t{1} << 30), 4U);
  ConsistencySamples samples(most_samples(std::size_t{1} << 20));
  for (std::uint64_t i = 1; i < 1000; ++i) {
    if (samples.may_follow(i)) (void)samples.add(i);
  }
  EXPECT_LE(samples.take().size(), 64U);
}

}  // namespace
}  // namespace concerto
