// The one exception type of Concerto: what ends a run.
//
// An Error says in one line what is wrong, where (a file and line, a configuration key, an option), and, if another
// error caused it, which. It is thrown by libraries and caught in `main` and at thread entry only. Bugs are not Errors:
// they crash through CONCERTO_CHECK (check.hpp).
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace concerto {

/// What kind of thing went wrong; `exit_status` maps it to the status of the process.
enum class ErrorCode {
  kBadInput,     ///< The user's command, configuration or data is wrong: exit status 2.
  kUnsupported,  ///< A valid wish that this build or backend does not serve: exit status 2.
  kOutOfMemory,  ///< Predicted or met: exit status 2 if predicted before work started.
  kCorrupt,      ///< A file is truncated or altered: exit status 2.
  kIo,           ///< The operating system refused a read or a write: exit status 1.
  kCancelled,    ///< The user asked to stop and nothing could be kept: exit status 130.
};

class Error : public std::runtime_error {
 public:
  /// `where` names the place ("ratings.txt:17: field 2", "solver.epochs"); it may be empty.
  Error(ErrorCode code, std::string message, std::string where = {}, std::string cause = {});

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const std::string& where() const noexcept { return where_; }
  [[nodiscard]] const std::string& cause() const noexcept { return cause_; }

 private:
  ErrorCode code_;
  std::string message_;
  std::string where_;
  std::string cause_;
};

/// The exit status of a process that ends with this error: 2, 1 or 130 as listed at ErrorCode.
[[nodiscard]] int exit_status(ErrorCode code) noexcept;

/// An Error of code kIo from `errno`: "PATH: cannot ACTION: No such file or directory".
[[nodiscard]] Error io_error(std::string_view action, std::string_view path);

}  // namespace concerto
