// Ctrl-C and SIGTERM as a stop request.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <ostream>
#include <stop_token>
#include <thread>

namespace concerto {

/// What each signal in a series asks for. Pure.
class StopWishes {
 public:
  enum class Answer { kStop, kNothingNew, kEndNow };
  /// A scheduler may signal a launcher and its ranks at once, and the launcher passes its signal on to the ranks: what
  /// comes within this time of the first is the same wish.
  static constexpr std::chrono::milliseconds kOneWish{200};
  [[nodiscard]] Answer take(std::chrono::steady_clock::time_point now) noexcept {
    if (!first_) {
      first_ = now;
      return Answer::kStop;
    }
    return now - *first_ < kOneWish ? Answer::kNothingNew : Answer::kEndNow;
  }

 private:
  std::optional<std::chrono::steady_clock::time_point> first_;
};

/// While it lives, the first SIGINT or SIGTERM requests a stop and says on `err` what that leaves; one that is another
/// wish (see above) ends the process at once with status 130. Construct it before threads of one's own. Afterwards both
/// signals end the process again, as by default.
class StopSignals {
 public:
  explicit StopSignals(std::ostream& err);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  /// What a stop leaves from now on; at first "nothing is kept". `left` must outlive this object.
  void leaves(const char* left) { left_ = left; }
  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  void watch();

  std::ostream& err_;
  std::atomic<const char*> left_ = "nothing is kept";
  std::stop_source source_;
  int signal_descriptor_ = -1;
  int end_descriptor_ = -1;
  std::thread watcher_;
};

}  // namespace concerto
