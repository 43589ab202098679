// What a launcher that joins and the desk say to each other, as payloads of messages. Pure. The parsers take exactly
// what the encoders write; the desk reads requests of strangers.
#pragma once

#include <optional>

#include "concerto/comm/join.hpp"

namespace concerto::tls {

[[nodiscard]] Message encode(const JoinRequest& request);
[[nodiscard]] Message encode(const JoinGrant& grant);
[[nodiscard]] Message encode(const Failure& refusal);

/// Nothing for anything else.
[[nodiscard]] std::optional<JoinRequest> parse_join_request(const Message& message);
/// A grant, or the failure that the desk told; kCorrupt for anything else.
[[nodiscard]] Result<JoinGrant> parse_join_answer(const Message& message);

}  // namespace concerto::tls
