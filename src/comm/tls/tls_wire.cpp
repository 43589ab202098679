// Contexts, handshakes, and who a certificate names.
#include "tls_wire.hpp"

#include <algorithm>

#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "keys.hpp"

namespace concerto::tls {
namespace {

/// Why a handshake failed, in words, and of what kind that is. `reason`: OpenSSL's, or 0.
Failure handshake_failure(SSL* session, unsigned long reason, const Code& error, const std::string& address) {
  const long verdict = SSL_get_verify_result(session);
  if (verdict == X509_V_ERR_APPLICATION_VERIFICATION) {
    return {FailureKind::kMismatch,
            fmt::format("{} is not of the job of the join token: its authority has another fingerprint", address)};
  }
  if (verdict != X509_V_OK) {
    return {FailureKind::kRefused,
            fmt::format("the certificate of {} is refused: {}", address, X509_verify_cert_error_string(verdict))};
  }
  if (reason != 0) {
    const char* words = ERR_reason_error_string(reason);
    return {FailureKind::kRefused, fmt::format("no TLS session with {}: {}", address, words != nullptr ? words : "?")};
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

/// A session whose records go through a buffer in memory, so that one call of the system moves many of them: beside a
/// stream of Asio's, which makes a call for each, that is most of the speed.
class TlsWire final : public Wire, public std::enable_shared_from_this<TlsWire> {
 public:
  TlsWire(asio::io_context& io, std::shared_ptr<Context> context)
      : context_(std::move(context)), socket_(io), session_(SSL_new(context_->tls.native_handle())) {
    BIO* inner = nullptr;
    BIO* outer = nullptr;
    if (!session_ || BIO_new_bio_pair(&inner, kBufferBytes, &outer, kBufferBytes) != 1) fail("making a TLS session");
    outside_.reset(outer);
    SSL_set_bio(session_.get(), inner, inner);
    SSL_set_mode(session_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    record_.reserve(kRecordBytes);
  }

  [[nodiscard]] tcp::socket& socket() override { return socket_; }

  void handshake(bool is_server, const std::string& address, Greeted done) override {
    address_ = address;
    greeted_ = std::move(done);
    is_server ? SSL_set_accept_state(session_.get()) : SSL_set_connect_state(session_.get());
    shake_hands();
  }
  void read_some(asio::mutable_buffer into, Done done) override {
    into_ = into;
    read_ = std::move(done);
    decrypt(true);
  }
  void write(std::vector<asio::const_buffer> buffers, Done done) override {
    from_ = std::move(buffers);
    written_ = std::move(done);
    bytes_ = 0;
    next_ = 0;
    encrypt();
  }
  void goodbye() override {
    ERR_clear_error();
    (void)SSL_shutdown(session_.get());
    answer();
  }

 private:
  static constexpr std::size_t kRecordBytes = std::size_t{16} << 10;
  /// Of the session's side and of the socket's: a few records, and still in the cache.
  static constexpr std::size_t kBufferBytes = std::size_t{160} << 10;
  using Flushed = std::function<void(const Code&)>;

  [[nodiscard]] int state_of(int result) const { return SSL_get_error(session_.get(), result); }

  /// Sends what the session has put out by itself, beside what its user writes.
  void answer() {
    if (is_flushing_ || BIO_ctrl_pending(outside_.get()) == 0) return;
    flush([this](const Code&) {
      if (const auto waiting = std::exchange(after_answer_, nullptr)) waiting();
    });
  }
  /// Sends what the session has put out, also what it puts out meanwhile.
  void flush(Flushed done) {
    char* data = nullptr;
    const int size = BIO_nread0(outside_.get(), &data);
    is_flushing_ = size > 0;
    if (!is_flushing_) return done({});
    asio::async_write(
        socket_, asio::buffer(data, static_cast<std::size_t>(size)),
        [this, self = shared_from_this(), done = std::move(done)](const Code& error, std::size_t bytes) mutable {
          char* sent = nullptr;
          if (bytes > 0) (void)BIO_nread(outside_.get(), &sent, static_cast<int>(bytes));
          is_flushing_ = false;
          if (error) return done(error);
          flush(std::move(done));
        });
  }
  /// Takes what the socket has.
  void fill(Flushed done) {
    char* data = nullptr;
    const int size = BIO_nwrite0(outside_.get(), &data);
    if (size <= 0) return done(asio::error::no_buffer_space);
    socket_.async_read_some(
        asio::buffer(data, static_cast<std::size_t>(size)),
        [this, self = shared_from_this(), done = std::move(done)](const Code& error, std::size_t bytes) {
          char* taken = nullptr;
          if (bytes > 0) (void)BIO_nwrite(outside_.get(), &taken, static_cast<int>(bytes));
          done(bytes > 0 ? Code() : error);
        });
  }

  void shake_hands() {
    ERR_clear_error();
    const int result = SSL_do_handshake(session_.get());
    const int state = result == 1 ? SSL_ERROR_NONE : state_of(result);
    const unsigned long reason = state == SSL_ERROR_SSL ? ERR_peek_last_error() : 0;
    // Whatever came of it, there may be something to send: an alert too.
    flush([this, state, reason](const Code& error) {
      if (state == SSL_ERROR_NONE && !error) return greet();
      if (state == SSL_ERROR_WANT_WRITE && !error) return shake_hands();
      if (state != SSL_ERROR_WANT_READ || error) {
        return give(handshake_failure(session_.get(), reason, error ? error : asio::error::eof, address_));
      }
      fill([this](const Code& failed) {
        if (failed) return give(handshake_failure(session_.get(), 0, failed, address_));
        shake_hands();
      });
    });
  }
  void give(const Result<std::optional<Identity>>& result) { std::exchange(greeted_, nullptr)(result); }
  void greet() {
    SSL* const session = session_.get();
    if (SSL_is_server(session) == 1 && asks_to_join(session)) return give(std::optional<Identity>());
    const CertificateOwner certificate(SSL_get1_peer_certificate(session));
    if (const auto peer = identity_of(certificate.get())) return give(peer);
    give(Failure{FailureKind::kRefused, fmt::format("{} shows a certificate of no process of a job", address_)});
  }

  /// `is_first`: within read_some(), which must not call back.
  void decrypt(bool is_first) {
    ERR_clear_error();
    std::size_t total = 0;
    int state = SSL_ERROR_NONE;
    while (state == SSL_ERROR_NONE && total < into_.size()) {
      std::size_t bytes = 0;
      const int result =
          SSL_read_ex(session_.get(), static_cast<char*>(into_.data()) + total, into_.size() - total, &bytes);
      if (result == 1) {
        total += bytes;
      } else {
        state = state_of(result);
      }
    }
    answer();
    if (total == 0 && (state == SSL_ERROR_WANT_READ || state == SSL_ERROR_WANT_WRITE)) {
      return fill([this](const Code& error) {
        if (error) return std::exchange(read_, nullptr)(error, 0);
        decrypt(false);
      });
    }
    const Code error = total > 0                        ? Code()
                       : state == SSL_ERROR_ZERO_RETURN ? Code(asio::error::eof)
                                                        : Code(asio::error::connection_aborted);
    if (!is_first) return std::exchange(read_, nullptr)(error, total);
    asio::post(socket_.get_executor(), [done = std::exchange(read_, nullptr), error, total] { done(error, total); });
  }

  /// The next record's bytes: of the caller's where there is a whole one, else gathered from several buffers.
  [[nodiscard]] asio::const_buffer next_record() {
    while (next_ < from_.size() && from_[next_].size() == 0) ++next_;
    if (next_ == from_.size()) return {};
    if (from_[next_].size() >= kRecordBytes) {
      const asio::const_buffer whole(from_[next_].data(), kRecordBytes);
      from_[next_] += kRecordBytes;
      return whole;
    }
    record_.clear();
    for (; next_ < from_.size() && record_.size() < kRecordBytes;) {
      asio::const_buffer& source = from_[next_];
      const auto* const begin = static_cast<const std::byte*>(source.data());
      const std::size_t taken = std::min(source.size(), kRecordBytes - record_.size());
      record_.insert(record_.end(), begin, begin + taken);
      source += taken;
      if (source.size() == 0) ++next_;
    }
    return asio::buffer(record_);
  }
  void encrypt() {
    for (;;) {
      if (pending_.size() == 0) pending_ = next_record();
      if (pending_.size() == 0) break;
      ERR_clear_error();
      std::size_t bytes = 0;
      const int result = SSL_write_ex(session_.get(), pending_.data(), pending_.size(), &bytes);
      if (result == 1) {
        pending_ += bytes;
        bytes_ += bytes;
        continue;
      }
      if (state_of(result) == SSL_ERROR_WANT_WRITE) return flush_written(true);
      pending_ = {};
      const Done done = std::exchange(written_, nullptr);
      asio::post(socket_.get_executor(), [done] { done(asio::error::connection_aborted, 0); });
      return;
    }
    flush_written(false);
  }
  void flush_written(bool is_more) {
    if (is_flushing_) {
      after_answer_ = [this, is_more] { flush_written(is_more); };
      return;
    }
    flush([this, is_more](const Code& error) {
      if (error) return std::exchange(written_, nullptr)(error, bytes_);
      if (is_more) return encrypt();
      std::exchange(written_, nullptr)({}, bytes_);
    });
  }

  std::shared_ptr<Context> context_;  // first: the session stands on it
  tcp::socket socket_;
  std::unique_ptr<SSL, Releaser<SSL_free>> session_;
  std::unique_ptr<BIO, Releaser<free_bio>> outside_;
  std::string address_;
  Greeted greeted_;
  asio::mutable_buffer into_;
  Done read_;
  std::vector<asio::const_buffer> from_;
  std::size_t next_ = 0;
  asio::const_buffer pending_;  ///< the record that the session has not taken whole
  std::vector<std::byte> record_;
  std::size_t bytes_ = 0;
  Done written_;
  std::function<void()> after_answer_;
  bool is_flushing_ = false;
};

WireMaker makes(std::shared_ptr<Context> context) {
  return [context = std::move(context)](asio::io_context& io) { return std::make_shared<TlsWire>(io, context); };
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
