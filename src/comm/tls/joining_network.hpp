// The network of a process that has no certificate yet.
#pragma once

#include <memory>
#include <string>

#include "concerto/comm/channel.hpp"

namespace concerto::tls {

/// Connects to processes of `job` that show a certificate of the authority with this fingerprint, asking to join.
[[nodiscard]] std::unique_ptr<Network> make_joining_network(const std::string& job, const std::string& fingerprint,
                                                            const NetworkLimits& limits);

}  // namespace concerto::tls
