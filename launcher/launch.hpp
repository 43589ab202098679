// The program concerto-launch from its command line to its exit status.
#pragma once

#include <string>
#include <vector>

namespace concerto {

/// Runs the launcher with the arguments behind its name. It forks: in the child it returns, too, and both end with what
/// it returns. Standard descriptors are the ranks' output; errors are one line on standard error.
[[nodiscard]] int run_launcher(const std::vector<std::string>& arguments);

}  // namespace concerto
