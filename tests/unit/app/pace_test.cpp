// Paced steps, by clocks of the test's own.
#include "../src/app/pace.hpp"

#include <chrono>
#include <stdexcept>

#include <gtest/gtest.h>

namespace concerto {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

struct PaceTest : ::testing::Test {
  nanoseconds now{0};
  nanoseconds cpu{0};
  nanoseconds oversleep{0};
  EmulationConfig emulation{.pace = 2.5, .slow_ranks = 1, .slow_factor = 3.0, .slow_share = 1.0, .seed = 7};

  Pace pace(Rank rank) {
    return Pace(emulation, rank, 4,
                {[this] { return now; }, [this] { return cpu; }, [this](nanoseconds time) { now = time + oversleep; }});
  }
  /// Work that takes so long, and how long the step lasts.
  nanoseconds step(Pace& pace, nanoseconds wall, nanoseconds its_cpu) {
    const nanoseconds begin = now;
    pace.step(1, Side::kItems, [&] {
      now += wall;
      cpu += its_cpu;
    });
    return now - begin;
  }
};

TEST_F(PaceTest, AStepLastsAMultipleOfItsCpuTime) {
  Pace fast = pace(0);
  EXPECT_EQ(step(fast, milliseconds(12), milliseconds(10)), milliseconds(25));
  EXPECT_DOUBLE_EQ(fast.held_seconds(), 0.013);
  EXPECT_EQ(fast.error(), 0.0);
}

TEST_F(PaceTest, ASlowRanksStepsLastLongerInTheShareOfHalfSweepsThatIsDrawn) {
  Pace slow = pace(3);
  EXPECT_EQ(step(slow, milliseconds(10), milliseconds(10)), milliseconds(75));
  EXPECT_EQ(slowness(emulation, 2, 4, 1, Side::kItems), 1.0);

  emulation.slow_ranks = 4;
  emulation.slow_share = 0.1;
  int drawn = 0;
  int differing = 0;
  for (std::uint32_t sweep = 1; sweep <= 1000; ++sweep) {
    const double one = slowness(emulation, 0, 4, sweep, Side::kUsers);
    EXPECT_EQ(one, slowness(emulation, 0, 4, sweep, Side::kUsers));
    drawn += one == 3.0 ? 1 : 0;
    differing += one != slowness(emulation, 1, 4, sweep, Side::kUsers) ? 1 : 0;
  }
  EXPECT_NEAR(drawn, 100, 40);
  EXPECT_GT(differing, 80);  // ranks are slow at different times
}

TEST_F(PaceTest, WhatAStepIsLateByTheNextIsShorterBy) {
  Pace fast = pace(0);
  EXPECT_EQ(step(fast, milliseconds(30), milliseconds(10)), milliseconds(30));  // 5 too many
  EXPECT_DOUBLE_EQ(fast.error(), 0.005 / 0.025);
  EXPECT_EQ(step(fast, milliseconds(10), milliseconds(10)), milliseconds(20));
  EXPECT_EQ(step(fast, milliseconds(10), milliseconds(10)), milliseconds(25));
  EXPECT_DOUBLE_EQ(fast.error(), 0.005 / 0.075);
  oversleep = milliseconds(1);
  EXPECT_EQ(step(fast, milliseconds(10), milliseconds(10)), milliseconds(26));
  EXPECT_EQ(step(fast, milliseconds(10), milliseconds(10)), milliseconds(25));
}

TEST_F(PaceTest, WithoutAPaceAStepLastsAsLongAsItTakes) {
  emulation = {};
  Pace none = pace(3);
  EXPECT_EQ(step(none, milliseconds(12), milliseconds(10)), milliseconds(12));
  EXPECT_EQ(none.held_seconds(), 0.0);
}

TEST_F(PaceTest, AFailureOfTheWorkPasses) {
  Pace fast = pace(0);
  EXPECT_THROW(fast.step(1, Side::kItems, [] { throw std::runtime_error("no"); }), std::runtime_error);
}

}  // namespace
}  // namespace concerto
