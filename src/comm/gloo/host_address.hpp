// Names of hosts as numbers.
#pragma once

#include <string>

namespace concerto {

/// The number of `name` ("10.0.0.2", "::1"); of this machine's own name where it is empty. Error{kBadInput} for a name
/// that nobody knows. Blocks as long as the resolver does.
[[nodiscard]] std::string host_address(const std::string& name);

}  // namespace concerto
