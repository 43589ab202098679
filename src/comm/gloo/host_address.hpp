// Where this machine can be reached: names and interfaces as numbers.
#pragma once

#include <string>

namespace concerto {

/// The number ("10.0.0.2", "::1") at which this machine can listen: of `network_interface` where it is given, else of
/// the host `name`, which is this machine's own where that is empty too. Error{kBadInput} for an interface without an
/// address, a name that nobody knows, an address of another machine. Blocks as long as the resolver does.
[[nodiscard]] std::string listening_address(const std::string& network_interface, const std::string& name);

}  // namespace concerto
