// Owners of OpenSSL's objects, and its errors in words.
#pragma once

#include <memory>
#include <string>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

namespace concerto {

template <auto release>
struct Releaser {
  template <class T>
  void operator()(T* object) const noexcept {
    release(object);
  }
};
inline void free_bio(BIO* bio) noexcept {
  BIO_free_all(bio);
}

using KeyOwner = std::unique_ptr<EVP_PKEY, Releaser<EVP_PKEY_free>>;
using CertificateOwner = std::unique_ptr<X509, Releaser<X509_free>>;
using RequestOwner = std::unique_ptr<X509_REQ, Releaser<X509_REQ_free>>;
using ExtensionOwner = std::unique_ptr<X509_EXTENSION, Releaser<X509_EXTENSION_free>>;
using NumberOwner = std::unique_ptr<BIGNUM, Releaser<BN_free>>;
using BioOwner = std::unique_ptr<BIO, Releaser<free_bio>>;
/// Of a list alone, not of what is in it.
inline void free_list(STACK_OF(X509) * list) noexcept {
  sk_X509_free(list);
}
using CertificatesOwner = std::unique_ptr<STACK_OF(X509), Releaser<free_list>>;
using NamesOwner = std::unique_ptr<GENERAL_NAMES, Releaser<GENERAL_NAMES_free>>;

/// What was written to a memory BIO.
[[nodiscard]] inline std::string text_of(BIO& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(&bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

/// The last error of this thread, which is then forgotten.
[[nodiscard]] inline std::string openssl_reason() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown reason";
}

}  // namespace concerto
