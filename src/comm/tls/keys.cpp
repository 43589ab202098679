// On OpenSSL.
#include "keys.hpp"

#include <array>
#include <ctime>

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/trust.hpp"

namespace concerto::tls {

[[noreturn]] void fail(const char* doing) {
  throw Error(ErrorCode::kIo, openssl_reason(), fmt::format("OpenSSL, {}", doing));
}

KeyOwner make_key() {
  KeyOwner key(EVP_EC_gen("P-256"));
  if (!key) fail("making a key");
  return key;
}

bool is_on_p256(const EVP_PKEY& key) {
  std::array<char, 32> group{};
  std::size_t size = 0;
  return EVP_PKEY_is_a(&key, "EC") == 1 && EVP_PKEY_get_group_name(&key, group.data(), group.size(), &size) == 1 &&
         std::string_view(group.data(), size) == "prime256v1";
}

std::string pem_of(X509& certificate) {
  const BioOwner out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_X509(out.get(), &certificate) != 1) fail("writing a certificate");
  return text_of(*out);
}

std::string pem_of(EVP_PKEY& key) {
  const BioOwner out(BIO_new(BIO_s_secmem()));
  if (!out || PEM_write_bio_PrivateKey(out.get(), &key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    fail("writing a key");
  }
  return text_of(*out);
}

CertificateOwner certificate_of(const std::string& pem) {
  const BioOwner in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CertificateOwner certificate(in ? PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr) : nullptr);
  ERR_clear_error();
  return certificate;
}

std::string fingerprint_of(const X509& certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (X509_digest(&certificate, EVP_sha256(), digest.data(), &size) != 1) fail("digesting a certificate");
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string make_request(EVP_PKEY& key) {
  const RequestOwner request(X509_REQ_new());
  if (!request || X509_REQ_set_pubkey(request.get(), &key) != 1 ||
      X509_REQ_sign(request.get(), &key, EVP_sha256()) == 0) {
    fail("making a certificate request");
  }
  unsigned char* der = nullptr;
  const int size = i2d_X509_REQ(request.get(), &der);
  if (size <= 0) fail("writing a certificate request");
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return text;
}

}  // namespace concerto::tls

namespace concerto {
namespace {

WallTime time_of(const ASN1_TIME& time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(&time, &parts) != 1) tls::fail("reading a certificate's time");
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

}  // namespace

Validity validity_of(const std::string& pem, const std::string& where) {
  const CertificateOwner certificate = tls::certificate_of(pem);
  if (!certificate) throw Error(ErrorCode::kBadInput, "no certificate (PEM)", where);
  return {time_of(*X509_get0_notBefore(certificate.get())), time_of(*X509_get0_notAfter(certificate.get()))};
}

}  // namespace concerto
