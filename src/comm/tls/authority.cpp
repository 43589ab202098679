// The job's certificate authority on OpenSSL.
#include <array>
#include <chrono>
#include <ctime>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/trust.hpp"

#include "keys.hpp"

namespace concerto {
namespace {

using namespace tls;  // NOLINT: keys by their names

constexpr long kSlackSeconds = 3600;
constexpr long kValidSeconds = 7 * 24 * 3600;

void add_extension(X509& certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, &certificate, nullptr, nullptr, 0);
  const ExtensionOwner extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  if (!extension || X509_add_ext(&certificate, extension.get(), -1) != 1) fail("adding an extension to a certificate");
}

/// A certificate of `key` without extensions, not signed yet.
CertificateOwner make_certificate(EVP_PKEY& key, const std::string& name) {
  CertificateOwner certificate(X509_new());
  if (!certificate) fail("making a certificate");
  std::array<unsigned char, 16> serial{};
  if (RAND_bytes(serial.data(), serial.size()) != 1) fail("drawing a serial number");
  serial[0] &= 0x7f;
  const NumberOwner number(BN_bin2bn(serial.data(), serial.size(), nullptr));
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  const bool is_made = number && X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
                       BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr &&
                       X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kSlackSeconds) != nullptr &&
                       X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kValidSeconds) != nullptr &&
                       X509_set_pubkey(certificate.get(), &key) == 1 &&
                       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                  reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1;
  if (!is_made) fail("filling in a certificate");
  return certificate;
}

}  // namespace

struct JobAuthority::State {
  std::string job;
  KeyOwner key;
  CertificateOwner certificate;
  std::string pem;
};

JobAuthority::JobAuthority(const std::string& job) : state_(std::make_unique<State>()) {
  if (!is_job_name(job)) {
    throw Error(ErrorCode::kBadInput, fmt::format("\"{}\" can be no job's name: 1 to 64 letters, digits, - and _", job),
                "job");
  }
  state_->job = job;
  state_->key = make_key();
  state_->certificate = make_certificate(*state_->key, fmt::format("authority of {}", job.substr(0, 40)));
  X509& certificate = *state_->certificate;
  if (X509_set_issuer_name(&certificate, X509_get_subject_name(&certificate)) != 1) fail("naming an issuer");
  add_extension(certificate, &certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(certificate, &certificate, NID_key_usage, "critical,keyCertSign");
  add_extension(certificate, &certificate, NID_subject_key_identifier, "hash");
  if (X509_sign(&certificate, state_->key.get(), EVP_sha256()) == 0) fail("signing the authority's certificate");
  state_->pem = pem_of(certificate);
}
JobAuthority::~JobAuthority() = default;
JobAuthority::JobAuthority(JobAuthority&&) noexcept = default;

std::string JobAuthority::certify(EVP_PKEY& key, const Identity& identity) const {
  if (identity.job != state_->job) {
    throw Error(ErrorCode::kBadInput, fmt::format("{} is of another job", to_uri(identity)),
                fmt::format("authority of {}", state_->job));
  }
  const CertificateOwner certificate = make_certificate(key, to_string(identity));
  X509* issuer = state_->certificate.get();
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer)) != 1) fail("naming an issuer");
  add_extension(*certificate, issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(*certificate, issuer, NID_key_usage, "critical,digitalSignature");
  add_extension(*certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  add_extension(*certificate, issuer, NID_subject_alt_name, "URI:" + to_uri(identity));
  if (X509_sign(certificate.get(), state_->key.get(), EVP_sha256()) == 0) fail("signing a certificate");
  return pem_of(*certificate);
}

Credentials JobAuthority::issue(const Identity& identity) const {
  const KeyOwner key = make_key();
  return {certify(*key, identity), pem_of(*key), state_->pem};
}

Result<std::string> JobAuthority::sign(std::string_view request, const Identity& identity) const {
  const auto* der = reinterpret_cast<const unsigned char*>(request.data());
  const auto* const end = der + request.size();
  const RequestOwner parsed(d2i_X509_REQ(nullptr, &der, static_cast<long>(request.size())));
  EVP_PKEY* const key = parsed ? X509_REQ_get0_pubkey(parsed.get()) : nullptr;
  const bool is_sound = key != nullptr && der == end;
  // Looked at before it is used: verifying with a key of a stranger's choice can be made to take long.
  const bool is_of_the_kind = is_sound && is_on_p256(*key);
  const bool is_signed = is_of_the_kind && X509_REQ_verify(parsed.get(), key) == 1;
  ERR_clear_error();
  if (!is_sound) return Failure{FailureKind::kCorrupt, "what was sent is no certificate request"};
  if (!is_of_the_kind) return Failure{FailureKind::kRefused, "the key to certify is not one on P-256"};
  if (!is_signed) return Failure{FailureKind::kCorrupt, "the certificate request is not signed with its own key"};
  return certify(*key, identity);
}

const std::string& JobAuthority::certificate() const noexcept {
  return state_->pem;
}

std::string JobAuthority::fingerprint() const {
  return fingerprint_of(*state_->certificate);
}

}  // namespace concerto
