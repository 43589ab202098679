// Counts every allocation of a test program, for tests that there are none.
#pragma once

#include <cstddef>

namespace concerto::test {

/// By operator new, in all threads, since the start.
[[nodiscard]] std::size_t allocations() noexcept;

}  // namespace concerto::test
