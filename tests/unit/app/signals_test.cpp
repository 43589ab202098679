// Signals as stop requests, and what the program says that a stop leaves.
#include "../src/app/signals.hpp"

#include <csignal>
#include <future>
#include <sstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace concerto {
namespace {

/// What is said at a signal, with `left` announced before it unless it is null.
std::string said_at(int number, const char* left) {
  std::ostringstream err;
  {
    StopSignals signals(err);
    if (left != nullptr) signals.leaves(left);
    std::promise<void> stopped;
    const std::stop_callback note(signals.token(), [&] { stopped.set_value(); });
    kill(getpid(), number);
    stopped.get_future().wait();
  }
  return err.str();
}

TEST(StopSignals, SayWhatIsKept) {
  EXPECT_EQ(said_at(SIGINT, nullptr), "\nconcerto: stopping; nothing is kept (again to end at once)\n");
  EXPECT_EQ(said_at(SIGTERM, "an epoch is kept"), "\nconcerto: stopping; an epoch is kept (again to end at once)\n");
}

TEST(StopWishes, OnesThatComeTogetherAreOne) {
  using Answer = StopWishes::Answer;
  using std::chrono::milliseconds;
  const std::chrono::steady_clock::time_point begin{std::chrono::hours(5)};
  StopWishes wishes;
  EXPECT_EQ(wishes.take(begin), Answer::kStop);
  EXPECT_EQ(wishes.take(begin), Answer::kNothingNew);
  EXPECT_EQ(wishes.take(begin + milliseconds(150)), Answer::kNothingNew);
  EXPECT_EQ(wishes.take(begin + milliseconds(199)), Answer::kNothingNew);
  EXPECT_EQ(wishes.take(begin + milliseconds(200)), Answer::kEndNow);  // counted from the first, not the last
  StopWishes patient;
  EXPECT_EQ(patient.take(begin), Answer::kStop);
  EXPECT_EQ(patient.take(begin + milliseconds(5000)), Answer::kEndNow);
}

}  // namespace
}  // namespace concerto
