// Sessions of TLS 1.3 on Asio and OpenSSL.
#pragma once

#include <string>
#include <string_view>

#include "openssl_owners.hpp"
#include "wire.hpp"

namespace concerto::tls {

/// By ALPN a process says that it comes without a certificate, to ask for one: the protocol as it stands in the
/// handshake, its length in front.
inline constexpr std::string_view kJoinProtocol =
    "\x0d"
    "concerto-join";

/// Shows `credentials` and asks for a certificate of the same authority; strangers who say that they come to join are
/// let in where `takes_strangers`. Error{kBadInput} for credentials that are none.
[[nodiscard]] WireMaker tls_wires(const Credentials& credentials, bool takes_strangers);
/// Of a process that has no certificate yet, and trusts who shows one of the authority with this fingerprint.
[[nodiscard]] WireMaker joining_wires(const std::string& fingerprint);

/// Who a certificate says it is; nothing without exactly one URI that is an identity.
[[nodiscard]] std::optional<Identity> identity_of(const X509* certificate);

}  // namespace concerto::tls
