// The arithmetic of measured promises: shares of lags, quantiles of durations, and when a version becomes visible.
#include "promises.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concerto {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(SharesAtMost, AddUpToOne) {
  EXPECT_THAT(shares_at_most(std::vector<std::uint64_t>{6, 0, 2}), ElementsAre(0.75, 0.75, 1.0));
  EXPECT_THAT(shares_at_most(std::vector<std::uint64_t>{1, 1, 1}), ElementsAre(1.0 / 3, 2.0 / 3, 1.0));
  EXPECT_THAT(shares_at_most(std::vector<std::uint64_t>{5}), ElementsAre(1.0));
  EXPECT_THAT(shares_at_most(std::vector<std::uint64_t>{0}), ElementsAre(0.0)) << "nothing was read";
  EXPECT_THAT(shares_at_most({}), IsEmpty());
}

/// What a quantile of one duration may be.
auto from_to_a_bucket_more(double ms) {
  return testing::AllOf(testing::Ge(ms), testing::Le(ms * 1.0443));
}

TEST(DurationHistogram, QuantilesAreNeverBelowAndAtMostABucketAbove) {
  for (const auto duration : {1us, 2us, 777us, 1'000us, 123'456us, 3'600'000'000us}) {
    DurationHistogram histogram;
    histogram.add(duration);
    const double ms = std::chrono::duration<double, std::milli>(duration).count();
    for (const double share : {0.01, 0.5, 1.0}) {
      EXPECT_THAT(*histogram.quantile_ms(share), from_to_a_bucket_more(ms)) << duration.count() << " us";
    }
  }
}

TEST(DurationHistogram, AQuantileIsTheLeastThatSoManyDoNotExceed) {
  DurationHistogram histogram;
  EXPECT_EQ(histogram.quantile_ms(0.5), std::nullopt);
  for (int i = 1; i <= 100; ++i) histogram.add(i * 1ms);
  EXPECT_EQ(histogram.samples(), 100U);
  EXPECT_THAT(*histogram.quantile_ms(0.5), from_to_a_bucket_more(50.0));
  EXPECT_THAT(*histogram.quantile_ms(0.99), from_to_a_bucket_more(99.0));
  DurationHistogram slow;
  for (int i = 0; i < 300; ++i) slow.add(1s);
  histogram.add(slow);
  EXPECT_EQ(histogram.samples(), 400U);
  EXPECT_THAT(*histogram.quantile_ms(0.25), from_to_a_bucket_more(100.0));
  EXPECT_THAT(*histogram.quantile_ms(0.26), from_to_a_bucket_more(1000.0));
}

TEST(DurationHistogram, WhatIsBeyondItsScaleIsAtItsEnds) {
  DurationHistogram histogram;
  histogram.add(-5ms);
  histogram.add(0ns);
  EXPECT_LE(*histogram.quantile_ms(1.0), 0.00105);
  histogram.add(24h * 365);
  EXPECT_GT(*histogram.quantile_ms(1.0), 12.0 * 86'400'000);
  EXPECT_EQ(histogram.samples(), 3U);
}

TEST(Visibility, EndsWithTheFirstWordOfThatVersionOrANewerOne) {
  Visibility seen(2, 3);
  seen.published(1, 2, {1, 4}, 10ms);
  seen.sent(1, 2);
  seen.acknowledged(1, 2, {1, 3}, 11ms);  // an older one
  seen.acknowledged(1, 1, {1, 4}, 12ms);  // another holder
  seen.acknowledged(0, 2, {1, 4}, 13ms);  // another block
  EXPECT_EQ(seen.durations().samples(), 0U);
  seen.acknowledged(1, 2, {1, 5}, 14ms);
  seen.acknowledged(1, 2, {1, 5}, 90ms);  // said again
  EXPECT_EQ(seen.durations().samples(), 1U);
  EXPECT_THAT(*seen.durations().quantile_ms(1.0), from_to_a_bucket_more(4.0));
}

TEST(Visibility, CountsTheWaitOfWhatIsPublishedBehindAPut) {
  Visibility seen(1, 2);
  seen.published(0, 1, {1, 1}, 0ms);
  seen.sent(0, 1);
  seen.published(0, 1, {1, 2}, 10ms);
  seen.published(0, 1, {1, 3}, 15ms);  // takes its place in the queue; the older one has waited longer
  seen.acknowledged(0, 1, {1, 1}, 20ms);
  seen.sent(0, 1);
  EXPECT_EQ(seen.durations().samples(), 1U);
  EXPECT_THAT(*seen.durations().quantile_ms(1.0), from_to_a_bucket_more(20.0));
  seen.acknowledged(0, 1, {1, 3}, 110ms);
  EXPECT_EQ(seen.durations().samples(), 2U);
  EXPECT_THAT(*seen.durations().quantile_ms(1.0), from_to_a_bucket_more(100.0));
}

TEST(Visibility, APutThatWasLostIsCountedFromTheFirst) {
  Visibility seen(1, 2);
  seen.published(0, 1, {1, 1}, 0ms);
  seen.sent(0, 1);
  seen.published(0, 1, {1, 2}, 40ms);
  seen.sent(0, 1);  // over another connection
  seen.acknowledged(0, 1, {1, 2}, 50ms);
  EXPECT_EQ(seen.durations().samples(), 1U);
  EXPECT_THAT(*seen.durations().quantile_ms(1.0), from_to_a_bucket_more(50.0));
}

TEST(Visibility, WhatAnotherOwnerPublishedIsNotThisOnes) {
  Visibility seen(1, 2);
  seen.published(0, 1, {1, 7}, 0ms);
  seen.sent(0, 1);
  seen.acknowledged(0, 1, {2, 1}, 5ms);
  seen.published(0, 1, {3, 1}, 6ms);
  seen.sent(0, 1);
  seen.acknowledged(0, 1, {3, 1}, 7ms);
  EXPECT_EQ(seen.durations().samples(), 1U);
  EXPECT_THAT(*seen.durations().quantile_ms(1.0), from_to_a_bucket_more(1.0));
}

TEST(Visibility, AMessageOfWhatDoesNotExistIsNothing) {
  Visibility seen(2, 2);
  seen.acknowledged(2, 1, {1, 1}, 1ms);
  seen.acknowledged(0, 2, {1, 1}, 1ms);
  seen.acknowledged(0xffff'ffff, 1, {1, 1}, 1ms);
  EXPECT_EQ(seen.durations().samples(), 0U);
}

}  // namespace
}  // namespace concerto
