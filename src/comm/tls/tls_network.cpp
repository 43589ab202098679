// A Network on Boost.Asio and OpenSSL: one thread runs everything that waits, and what touches a socket runs on it.
#include <atomic>
#include <future>
#include <thread>
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/networks.hpp"

#include "connection.hpp"
#include "joining_network.hpp"
#include "keys.hpp"

namespace concerto {
namespace {

using namespace tls;  // NOLINT: connections by their names

struct HostPort {
  std::string host;
  std::string port;
};
/// "HOST:PORT", "[V6]:PORT"; Error{kBadInput} for anything else.
HostPort parse_address(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  HostPort parts;
  if (colon != std::string::npos) parts = {address.substr(0, colon), address.substr(colon + 1)};
  if (parts.host.size() > 2 && parts.host.front() == '[' && parts.host.back() == ']') {
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  }
  const bool has_port = !parts.port.empty() && parts.port.size() <= 5 &&
                        parts.port.find_first_not_of("0123456789") == std::string::npos &&
                        std::stoul(parts.port) <= 65535;
  if (parts.host.empty() || !has_port) throw Error(ErrorCode::kBadInput, "is no HOST:PORT", address);
  return parts;
}

/// What a listener and the accepts that are under way share.
struct Accepting {
  Accepting(std::shared_ptr<Core> its_core, std::function<ChannelEvents(std::shared_ptr<Channel>)> accept)
      : core(std::move(its_core)), acceptor(core->io), on_accept(std::move(accept)) {}
  /// On the network's thread.
  void end() {
    Code ignored;
    acceptor.close(ignored);
    on_accept = nullptr;
    is_over = true;
  }
  std::shared_ptr<Core> core;
  tcp::acceptor acceptor;
  std::atomic<bool> is_over{false};
  std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept;
  std::string address;
};

class TlsListener final : public Listener {
 public:
  explicit TlsListener(std::shared_ptr<Accepting> accepting) : accepting_(std::move(accepting)) {}
  ~TlsListener() override {
    if (accepting_->is_over) return;  // the network has ended
    asio::post(accepting_->core->io, [accepting = accepting_] { accepting->end(); });
  }
  TlsListener(const TlsListener&) = delete;
  TlsListener& operator=(const TlsListener&) = delete;
  [[nodiscard]] std::string address() const override { return accepting_->address; }

 private:
  std::shared_ptr<Accepting> accepting_;
};

class TlsNetwork final : public Network {
 public:
  TlsNetwork(const Credentials& credentials, const NetworkLimits& limits, StrangerHandler on_stranger);
  /// Of a process that has no certificate yet, and trusts who shows one of the authority with this fingerprint.
  TlsNetwork(const std::string& job, const std::string& fingerprint, const NetworkLimits& limits);
  ~TlsNetwork() override;
  TlsNetwork(const TlsNetwork&) = delete;
  TlsNetwork& operator=(const TlsNetwork&) = delete;

  [[nodiscard]] std::unique_ptr<Listener> listen(
      const std::string& address, std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept) override;
  [[nodiscard]] Result<std::shared_ptr<Channel>> connect(const std::string& address, const Identity& expected,
                                                         ChannelEvents events,
                                                         std::chrono::milliseconds limit) override;

 private:
  void accept_next(const std::shared_ptr<Accepting>& accepting);
  void adopt(const std::shared_ptr<Accepting>& accepting, const std::shared_ptr<Connection>& connection);
  std::shared_ptr<Connection> new_connection();

  void require_modern();

  NetworkLimits limits_;
  StrangerHandler on_stranger_;
  std::shared_ptr<Core> core_ = std::make_shared<Core>();
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(core_->io);
  std::string job_;
  // On the network's thread alone.
  std::vector<std::weak_ptr<Connection>> connections_;
  std::vector<std::weak_ptr<Accepting>> accepting_;
  std::thread thread_;
};

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

void TlsNetwork::require_modern() {
  SSL_CTX* context = core_->tls.native_handle();
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
}

TlsNetwork::TlsNetwork(const Credentials& credentials, const NetworkLimits& limits, StrangerHandler on_stranger)
    : limits_(limits), on_stranger_(std::move(on_stranger)) {
  try {
    // The authority goes along, for those who know no more of it than its fingerprint.
    core_->tls.use_certificate_chain(asio::buffer(credentials.certificate + credentials.authority));
    core_->tls.use_private_key(asio::buffer(credentials.private_key), asio::ssl::context::pem);
    core_->tls.add_certificate_authority(asio::buffer(credentials.authority));
    core_->tls.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  } catch (const boost::system::system_error& error) {
    throw Error(ErrorCode::kBadInput, "credentials that OpenSSL refuses", "credentials", error.what());
  }
  require_modern();
  SSL_CTX* context = core_->tls.native_handle();
  const std::optional<Identity> self = identity_of(SSL_CTX_get0_certificate(context));
  if (!self) throw Error(ErrorCode::kBadInput, "the certificate names no process of a job", "credentials");
  job_ = self->job;
  if (on_stranger_) SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  thread_ = std::thread([this] { core_->io.run(); });
}

TlsNetwork::TlsNetwork(const std::string& job, const std::string& fingerprint, const NetworkLimits& limits)
    : limits_(limits), job_(job) {
  require_modern();
  core_->pinned = fingerprint;
  core_->tls.set_verify_mode(asio::ssl::verify_peer);
  SSL_CTX* context = core_->tls.native_handle();
  SSL_CTX_set_cert_verify_callback(context, verify_pinned, &core_->pinned);
  SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(kJoinProtocol.data()),
                          static_cast<unsigned>(kJoinProtocol.size()));
  thread_ = std::thread([this] { core_->io.run(); });
}

/// What is under way ends by itself once its sockets are closed, and then the thread does: no handler is left that
/// would keep a connection.
TlsNetwork::~TlsNetwork() {
  asio::post(core_->io, [this] {
    for (const auto& weak : accepting_) {
      if (const auto accepting = weak.lock()) accepting->end();
    }
    for (const auto& weak : connections_) {
      if (const auto connection = weak.lock()) connection->end({FailureKind::kAborted, "the network has ended"});
    }
    work_.reset();
  });
  thread_.join();
}

std::shared_ptr<Connection> TlsNetwork::new_connection() {
  std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
  auto connection = std::make_shared<Connection>(core_, limits_);
  connections_.push_back(connection);
  return connection;
}

std::unique_ptr<Listener> TlsNetwork::listen(const std::string& address,
                                             std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept) {
  const HostPort place = parse_address(address);
  auto accepting = std::make_shared<Accepting>(core_, std::move(on_accept));
  try {
    tcp::resolver resolver(core_->io);
    const tcp::endpoint endpoint = resolver.resolve(place.host, place.port, tcp::resolver::passive)->endpoint();
    accepting->acceptor.open(endpoint.protocol());
    accepting->acceptor.set_option(tcp::acceptor::reuse_address(true));
    accepting->acceptor.bind(endpoint);
    accepting->acceptor.listen();
    accepting->address = text_of(accepting->acceptor.local_endpoint());
  } catch (const boost::system::system_error& error) {
    throw Error(ErrorCode::kIo, fmt::format("cannot be listened at: {}", error.code().message()), address);
  }
  asio::post(core_->io, [this, accepting] {
    std::erase_if(accepting_, [](const auto& weak) { return weak.expired(); });
    accepting_.push_back(accepting);
    accept_next(accepting);
  });
  return std::make_unique<TlsListener>(accepting);
}

void TlsNetwork::accept_next(const std::shared_ptr<Accepting>& accepting) {
  if (!accepting->acceptor.is_open()) return;
  const auto connection = new_connection();
  accepting->acceptor.async_accept(connection->socket(), [this, accepting, connection](const Code& error) {
    if (!accepting->acceptor.is_open()) return;
    if (!error) adopt(accepting, connection);
    accept_next(accepting);
  });
}

void TlsNetwork::adopt(const std::shared_ptr<Accepting>& accepting, const std::shared_ptr<Connection>& connection) {
  connection->handshake(asio::ssl::stream_base::server, job_, limits_.handshake,
                        [this, accepting, connection](const std::optional<Failure>& failure) {
                          if (failure || !accepting->on_accept) {
                            connection->end(failure.value_or(Failure{FailureKind::kAborted, "no longer listening"}));
                            return;
                          }
                          const auto channel = std::make_shared<TlsChannel>(connection);
                          if (connection->is_stranger()) {
                            connection->start_stranger(channel, on_stranger_(channel), limits_.handshake);
                            return;
                          }
                          connection->start(channel, accepting->on_accept(channel));
                        });
}

Result<std::shared_ptr<Channel>> TlsNetwork::connect(const std::string& address, const Identity& expected,
                                                     ChannelEvents events, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const HostPort place = parse_address(address);
  struct Attempt {
    std::promise<Result<std::shared_ptr<Channel>>> promise;
    std::atomic<bool> is_over{false};
    std::optional<tcp::resolver> resolver;
    std::shared_ptr<Connection> connection;
    void settle(Result<std::shared_ptr<Channel>> result) {
      if (!is_over.exchange(true)) promise.set_value(std::move(result));
    }
  };
  const auto attempt = std::make_shared<Attempt>();
  auto future = attempt->promise.get_future();
  const auto is_it = [expected](const Identity& peer) {
    return peer.job == expected.job && peer.role == expected.role && peer.index == expected.index &&
           (expected.incarnation == 0 || peer.incarnation == expected.incarnation);
  };
  asio::post(core_->io, [this, attempt, place, address, expected, is_it, events = std::move(events), deadline] {
    attempt->resolver.emplace(core_->io);
    attempt->resolver->async_resolve(place.host, place.port, [=, this](const Code& error, const auto& endpoints) {
      if (error) {
        attempt->settle(Failure{FailureKind::kUnreachable, fmt::format("{}: {}", address, error.message())});
        return;
      }
      attempt->connection = new_connection();
      asio::async_connect(
          attempt->connection->socket(), endpoints, [=, this](const Code& failed, const tcp::endpoint&) {
            if (failed) {
              attempt->settle(Failure{FailureKind::kUnreachable, fmt::format("{}: {}", address, failed.message())});
              return;
            }
            const auto left = std::max(
                std::chrono::milliseconds(1),
                std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()));
            const auto connection = attempt->connection;
            connection->handshake(
                asio::ssl::stream_base::client, job_, std::min(left, limits_.handshake),
                [=](std::optional<Failure> refused) {
                  if (!refused && !is_it(connection->peer())) {
                    refused = Failure{
                        FailureKind::kRefused,
                        fmt::format("{} is {}, not {}", address, to_string(connection->peer()), to_string(expected))};
                  }
                  if (refused) {
                    connection->end(*refused);
                    attempt->settle(*refused);
                    return;
                  }
                  if (attempt->is_over) {
                    connection->end({FailureKind::kAborted, "nobody waits for it any more"});
                    return;
                  }
                  const auto channel = std::make_shared<TlsChannel>(connection);
                  connection->start(channel, events);
                  attempt->settle(std::shared_ptr<Channel>(channel));
                });
          });
    });
  });
  if (future.wait_until(deadline) == std::future_status::timeout && !attempt->is_over.exchange(true)) {
    asio::post(core_->io, [attempt] {
      if (attempt->resolver) attempt->resolver->cancel();
      if (attempt->connection) attempt->connection->end({FailureKind::kAborted, "the time is over"});
    });
    return Failure{FailureKind::kTimeout, fmt::format("no connection to {} within {} ms", address, limit.count())};
  }
  return future.get();
}

}  // namespace

std::unique_ptr<Network> make_tls_network(const Credentials& credentials, const NetworkLimits& limits,
                                          StrangerHandler on_stranger) {
  return std::make_unique<TlsNetwork>(credentials, limits, std::move(on_stranger));
}

std::unique_ptr<Network> tls::make_joining_network(const std::string& job, const std::string& fingerprint,
                                                   const NetworkLimits& limits) {
  return std::make_unique<TlsNetwork>(job, fingerprint, limits);
}

}  // namespace concerto
