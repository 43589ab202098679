// CONCERTO_CHECK: an invariant of the program. A false one is a bug and ends the process, in release builds too.
#pragma once

namespace concerto {

[[noreturn]] void check_failed(const char* condition, const char* file, int line, const char* message) noexcept;

}  // namespace concerto

/// Ends the process with file, line and message on standard error when `condition` is false. Never for bad input.
#define CONCERTO_CHECK(condition, message)                                 \
  do {                                                                     \
    if (!(condition)) [[unlikely]] {                                       \
      ::concerto::check_failed(#condition, __FILE__, __LINE__, (message)); \
    }                                                                      \
  } while (false)
