// Contexts, handshakes, and who a certificate names.
#include "tls_wire.hpp"

#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "keys.hpp"

namespace concerto::tls {
namespace {

/// Why a handshake failed, in words, and of what kind that is.
Failure handshake_failure(SSL* session, const Code& error, const std::string& address) {
  const long verdict = SSL_get_verify_result(session);
  if (verdict == X509_V_ERR_APPLICATION_VERIFICATION) {
    return {FailureKind::kMismatch,
            fmt::format("{} is not of the job of the join token: its authority has another fingerprint", address)};
  }
  if (verdict != X509_V_OK) {
    return {FailureKind::kRefused,
            fmt::format("the certificate of {} is refused: {}", address, X509_verify_cert_error_string(verdict))};
  }
  if (error.category() == asio::error::get_ssl_category()) {
    const char* reason = ERR_reason_error_string(static_cast<unsigned long>(error.value()));
    return {FailureKind::kRefused,
            fmt::format("no TLS session with {}: {}", address, reason != nullptr ? reason : "?")};
  }
  return {FailureKind::kLost,
          fmt::format("{} ended the connection before it was a session: {}", address, error.message())};
}

/// Whether the two sides have agreed on the protocol for joining.
bool asks_to_join(SSL* session) {
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(session, &chosen, &size);
  return kJoinProtocol.substr(1) == std::string_view(reinterpret_cast<const char*>(chosen), size);
}

/// Runs while a server looks at the first message of a client: one that asks to join need not show a certificate.
int choose_protocol(SSL* session, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned offered_size, void* /*unused*/) {
  const auto* wanted = reinterpret_cast<const unsigned char*>(kJoinProtocol.data());
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, chosen_size, wanted, static_cast<unsigned>(kJoinProtocol.size()), offered,
                            offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *chosen = found;
  SSL_set_verify(session, SSL_VERIFY_NONE, nullptr);
  return SSL_TLSEXT_ERR_OK;
}

/// Trusts the authority with the pinned fingerprint, which servers send along, and no other.
int verify_pinned(X509_STORE_CTX* verification, void* pinned) {
  const std::string& fingerprint = *static_cast<std::string*>(pinned);
  const STACK_OF(X509)* const shown = X509_STORE_CTX_get0_untrusted(verification);
  for (int i = 0; shown != nullptr && i < sk_X509_num(shown); ++i) {
    X509* const one = sk_X509_value(shown, i);
    if (fingerprint_of(*one) != fingerprint) continue;
    const CertificatesOwner trusted(sk_X509_new_null());
    if (!trusted || sk_X509_push(trusted.get(), one) == 0) return 0;
    X509_STORE_CTX_set0_trusted_stack(verification, trusted.get());
    return X509_verify_cert(verification);
  }
  X509_STORE_CTX_set_error(verification, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

/// What sessions of a process share.
struct Context {
  asio::ssl::context tls{asio::ssl::context::tls};
  std::string pinned;  ///< fingerprint of the only authority that is trusted, where no certificate is held
};

/// TLS 1.3 and nothing that is remembered of a session: no tickets, hence no early data that could be replayed.
void require_modern(asio::ssl::context& tls) {
  SSL_CTX* context = tls.native_handle();
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_max_early_data(context, 0);
}

class TlsWire final : public Wire {
 public:
  TlsWire(asio::io_context& io, std::shared_ptr<Context> context)
      : context_(std::move(context)), stream_(io, context_->tls) {}

  [[nodiscard]] tcp::socket& socket() override { return stream_.next_layer(); }

  void handshake(bool is_server, const std::string& address, Greeted done) override {
    const auto side = is_server ? asio::ssl::stream_base::server : asio::ssl::stream_base::client;
    stream_.async_handshake(side, [this, is_server, address, done = std::move(done)](const Code& error) {
      SSL* const session = stream_.native_handle();
      if (error) {
        done(handshake_failure(session, error, address));
        return;
      }
      if (is_server && asks_to_join(session)) {
        done(std::optional<Identity>());
        return;
      }
      const CertificateOwner certificate(SSL_get1_peer_certificate(session));
      const auto peer = identity_of(certificate.get());
      if (peer) {
        done(peer);
      } else {
        done(Failure{FailureKind::kRefused, fmt::format("{} shows a certificate of no process of a job", address)});
      }
    });
  }
  void read_some(asio::mutable_buffer into, Done done) override { stream_.async_read_some(into, std::move(done)); }
  void write(std::vector<asio::const_buffer> buffers, Done done) override {
    asio::async_write(stream_, std::move(buffers), std::move(done));
  }
  void goodbye(std::function<void()> done) override {
    stream_.async_shutdown([done = std::move(done)](const Code&) { done(); });
  }

 private:
  std::shared_ptr<Context> context_;  // first: the stream stands on it
  asio::ssl::stream<tcp::socket> stream_;
};

WireMaker makes(std::shared_ptr<Context> context) {
  return [context = std::move(context)](asio::io_context& io) { return std::make_unique<TlsWire>(io, context); };
}

}  // namespace

/// Who a certificate says it is; nothing without exactly one URI that is an identity.
std::optional<Identity> identity_of(const X509* certificate) {
  if (certificate == nullptr) return std::nullopt;
  const NamesOwner names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!names || sk_GENERAL_NAME_num(names.get()) != 1) return std::nullopt;
  const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_URI) return std::nullopt;
  const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
  return parse_identity(
      {reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)), static_cast<std::size_t>(ASN1_STRING_length(uri))});
}

WireMaker tls_wires(const Credentials& credentials, bool takes_strangers) {
  const auto made = std::make_shared<Context>();
  try {
    // The authority goes along, for those who know no more of it than its fingerprint.
    made->tls.use_certificate_chain(asio::buffer(credentials.certificate + credentials.authority));
    made->tls.use_private_key(asio::buffer(credentials.private_key), asio::ssl::context::pem);
    made->tls.add_certificate_authority(asio::buffer(credentials.authority));
    made->tls.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  } catch (const boost::system::system_error& error) {
    throw Error(ErrorCode::kBadInput, "credentials that OpenSSL refuses", "credentials", error.what());
  }
  require_modern(made->tls);
  if (takes_strangers) SSL_CTX_set_alpn_select_cb(made->tls.native_handle(), choose_protocol, nullptr);
  return makes(made);
}

WireMaker joining_wires(const std::string& fingerprint) {
  const auto made = std::make_shared<Context>();
  require_modern(made->tls);
  made->pinned = fingerprint;
  made->tls.set_verify_mode(asio::ssl::verify_peer);
  SSL_CTX* context = made->tls.native_handle();
  SSL_CTX_set_cert_verify_callback(context, verify_pinned, &made->pinned);
  SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(kJoinProtocol.data()),
                          static_cast<unsigned>(kJoinProtocol.size()));
  return makes(made);
}

}  // namespace concerto::tls
