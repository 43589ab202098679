// The end of a process whose invariant is broken.
#include "concerto/base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace concerto {

void check_failed(const char* condition, const char* file, int line, const char* message) noexcept {
  std::fprintf(stderr, "concerto: bug: %s:%d: %s (%s is false)\n", file, line, message, condition);
  std::abort();
}

}  // namespace concerto
