// Ctrl-C and SIGTERM as a stop request.
#pragma once

#include <atomic>
#include <ostream>
#include <stop_token>
#include <thread>

namespace concerto {

/// While it lives, the first SIGINT or SIGTERM requests a stop and says on `err` what that leaves; the second ends the
/// process at once with status 130. Construct it before threads of one's own. Afterwards both signals
/// end the process again, as by default.
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
