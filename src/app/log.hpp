// Log lines for people who watch a run: on standard error, never among results.
#pragma once

#include <memory>
#include <ostream>
#include <string>

namespace concerto {

class Log {
 public:
  /// Lines go to `stream`, which must outlive the log.
  explicit Log(std::ostream& stream);
  ~Log();
  Log(Log&&) noexcept;
  Log& operator=(Log&&) = delete;
  void info(const std::string& line);
  void warn(const std::string& line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Where a command says things.
struct Console {
  std::ostream& out;  ///< results
  std::ostream& err;  ///< the progress bar and errors
  Log& log;
  bool shows_bar = false;  ///< `err` is a terminal
};

}  // namespace concerto
