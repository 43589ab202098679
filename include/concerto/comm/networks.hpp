// Making networks: connections of one process to others of its job.
#pragma once

#include <functional>
#include <memory>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/identity.hpp"

namespace concerto {

/// What a process that has no certificate, and asks for one, meets: the events of its channel, whose peer is nobody.
/// Such a channel takes little and is cut off after the time of a handshake. On the network's thread.
using StrangerHandler = std::function<ChannelEvents(std::shared_ptr<Channel>)>;

/// TLS 1.3 over TCP, certificates checked on both sides against the job's authority and no other; who a peer is stands
/// in its certificate, and a peer of another job is refused. One thread. Error{kBadInput} for credentials that are
/// none. Strangers are refused unless there is a handler for them, which outlives the network (join.hpp).
[[nodiscard]] std::unique_ptr<Network> make_tls_network(const Credentials& credentials,
                                                        const NetworkLimits& limits = {},
                                                        StrangerHandler on_stranger = {});

/// The same over TCP alone: nothing is encrypted, each side says who it is and is believed. For fabrics that are
/// trusted, and only where the configuration says so.
[[nodiscard]] std::unique_ptr<Network> make_plain_network(const Identity& self, const NetworkLimits& limits = {});

}  // namespace concerto
