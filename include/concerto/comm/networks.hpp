// Making networks: connections of one process to others of its job.
#pragma once

#include <memory>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/identity.hpp"

namespace concerto {

/// TLS 1.3 over TCP, certificates checked on both sides against the job's authority and no other; who a peer is stands
/// in its certificate, and a peer of another job is refused. One thread. Error{kBadInput} for credentials that are
/// none.
[[nodiscard]] std::unique_ptr<Network> make_tls_network(const Credentials& credentials,
                                                        const NetworkLimits& limits = {});

}  // namespace concerto
