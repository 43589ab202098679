// Ctrl-C and SIGTERM as a stop request.
#pragma once

#include <ostream>
#include <stop_token>
#include <thread>

namespace concerto {

/// While it lives, the first SIGINT or SIGTERM requests a stop and says so on `err`; the second ends the process at
/// once with status 130. Construct it before threads of one's own. Afterwards both signals
/// end the process again, as by default.
class StopSignals {
 public:
  explicit StopSignals(std::ostream& err);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  void watch();

  std::ostream& err_;
  std::stop_source source_;
  int signal_descriptor_ = -1;
  int end_descriptor_ = -1;
  std::thread watcher_;
};

}  // namespace concerto
