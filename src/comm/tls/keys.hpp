// Keys on P-256, certificates and requests for them, as texts and back.
#pragma once

#include <string>

#include "openssl_owners.hpp"

namespace concerto::tls {

/// Error{kIo} saying what OpenSSL could not do, and why.
[[noreturn]] void fail(const char* doing);

[[nodiscard]] KeyOwner make_key();
[[nodiscard]] bool is_on_p256(const EVP_PKEY& key);
[[nodiscard]] std::string pem_of(X509& certificate);
[[nodiscard]] std::string pem_of(EVP_PKEY& key);
/// Null for what is no PEM certificate.
[[nodiscard]] CertificateOwner certificate_of(const std::string& pem);
/// SHA-256 of the certificate in lower-case hexadecimal digits.
[[nodiscard]] std::string fingerprint_of(const X509& certificate);
/// A request (PKCS #10, DER) to certify the key, signed with it.
[[nodiscard]] std::string make_request(EVP_PKEY& key);

}  // namespace concerto::tls
