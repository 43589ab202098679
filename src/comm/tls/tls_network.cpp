// A Network on Boost.Asio and OpenSSL: one thread runs everything that waits.
//
// A Connection does the work and lives as long as something is under way on it; the Channel that users hold is a handle
// whose end closes the connection. Whatever touches a socket runs on the network's thread.
#include <atomic>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/networks.hpp"

#include "framing.hpp"
#include "openssl_owners.hpp"

namespace concerto {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using Code = boost::system::error_code;

/// How long a closing side waits for the other to say goodbye too.
constexpr std::chrono::milliseconds kGoodbye{1'000};

std::string text_of(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
}

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

/// Why a handshake failed, in words, and of what kind that is.
Failure handshake_failure(SSL* session, const Code& error, const std::string& address) {
  const long verdict = SSL_get_verify_result(session);
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

class TlsChannel;

/// What every socket stands on: it outlives the network while a channel's handle does.
struct Core {
  asio::io_context io{1};
  asio::ssl::context tls{asio::ssl::context::tls};
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(const std::shared_ptr<Core>& core, const NetworkLimits& limits)
      : core_(core),
        stream_(core->io, core->tls),
        timer_(core->io),
        limits_(limits),
        read_buffer_(std::size_t{1} << 16) {}

  tcp::socket& socket() { return stream_.next_layer(); }
  [[nodiscard]] const Identity& peer() const noexcept { return peer_; }
  [[nodiscard]] const std::string& address() const noexcept { return address_; }

  /// Calls `done` with nothing, or why there is no session; at most after the handshake's limit.
  void handshake(asio::ssl::stream_base::handshake_type type, const std::string& job, std::chrono::milliseconds limit,
                 std::function<void(std::optional<Failure>)> done);
  /// From now on messages come to `events`.
  void start(std::weak_ptr<TlsChannel> channel, ChannelEvents events);
  Result<void> send(const Message& message);
  void close();
  /// Ends now; `failure` is what on_closed is told.
  void end(const Failure& failure);
  [[nodiscard]] ChannelCounters counters() const;

 private:
  /// What an error of the socket means: a side that is closing expects the end.
  [[nodiscard]] Failure ending(const Code& error) const;
  void read();
  void write();
  void goodbye();

  std::shared_ptr<Core> core_;  // first: the others stand on it
  asio::ssl::stream<tcp::socket> stream_;
  asio::steady_timer timer_;
  NetworkLimits limits_;
  Identity peer_;
  std::string address_;
  std::vector<std::byte> read_buffer_;
  FrameParser parser_;
  std::weak_ptr<TlsChannel> channel_;
  ChannelEvents events_;
  bool is_writing_ = false;
  bool has_ended_ = false;

  mutable std::mutex mutex_;  // of what follows
  std::deque<std::vector<std::byte>> queue_;
  ChannelCounters counters_;
  bool is_closing_ = false;
};

class TlsChannel final : public Channel {
 public:
  explicit TlsChannel(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
  ~TlsChannel() override { connection_->close(); }
  TlsChannel(const TlsChannel&) = delete;
  TlsChannel& operator=(const TlsChannel&) = delete;
  [[nodiscard]] const Identity& peer() const noexcept override { return connection_->peer(); }
  [[nodiscard]] std::string peer_address() const override { return connection_->address(); }
  [[nodiscard]] Result<void> send(Message message) override { return connection_->send(message); }
  void close() noexcept override { connection_->close(); }
  [[nodiscard]] ChannelCounters counters() const noexcept override { return connection_->counters(); }

 private:
  std::shared_ptr<Connection> connection_;
};

void Connection::handshake(asio::ssl::stream_base::handshake_type type, const std::string& job,
                           std::chrono::milliseconds limit, std::function<void(std::optional<Failure>)> done) {
  Code ignored;
  address_ = text_of(socket().remote_endpoint(ignored));
  socket().set_option(tcp::no_delay(true), ignored);
  socket().set_option(asio::socket_base::keep_alive(true), ignored);
  const auto self = shared_from_this();
  const auto is_late = std::make_shared<bool>(false);
  timer_.expires_after(limit);
  timer_.async_wait([self, is_late](const Code& error) {
    if (error) return;
    *is_late = true;
    Code closing;
    self->socket().close(closing);
  });
  stream_.async_handshake(type, [self, job, is_late, done = std::move(done)](const Code& error) {
    self->timer_.cancel();
    if (*is_late) {
      done(Failure{FailureKind::kTimeout, fmt::format("{} did not complete its handshake in time", self->address_)});
      return;
    }
    if (error) {
      done(handshake_failure(self->stream_.native_handle(), error, self->address_));
      return;
    }
    const CertificateOwner certificate(SSL_get1_peer_certificate(self->stream_.native_handle()));
    const auto peer = identity_of(certificate.get());
    if (!peer || peer->job != job) {
      done(Failure{FailureKind::kRefused,
                   fmt::format("{} shows a certificate of no process of job {}", self->address_, job)});
      return;
    }
    self->peer_ = *peer;
    done(std::nullopt);
  });
}

void Connection::start(std::weak_ptr<TlsChannel> channel, ChannelEvents events) {
  channel_ = std::move(channel);
  events_ = std::move(events);
  read();
}

Failure Connection::ending(const Code& error) const {
  const std::scoped_lock lock(mutex_);
  if (is_closing_) return {FailureKind::kAborted, "closed from this side"};
  return {FailureKind::kLost,
          fmt::format("the connection to {} at {} ended: {}", to_string(peer_), address_, error.message())};
}

void Connection::read() {
  stream_.async_read_some(
      asio::buffer(read_buffer_), [self = shared_from_this()](const Code& error, std::size_t bytes) {
        if (self->has_ended_) return;
        if (error) {
          self->end(self->ending(error));
          return;
        }
        {
          const std::scoped_lock lock(self->mutex_);
          self->counters_.bytes_received += bytes;
        }
        const auto parsed = self->parser_.feed(std::span(self->read_buffer_).first(bytes), [&](Message message) {
          const auto channel = self->channel_.lock();
          if (!channel || self->has_ended_) return;
          {
            const std::scoped_lock lock(self->mutex_);
            ++self->counters_.messages_received;
          }
          if (self->events_.on_message) self->events_.on_message(*channel, std::move(message));
        });
        if (!parsed) {
          self->end({FailureKind::kCorrupt, fmt::format("{} at {} sent {}; it is cut off", to_string(self->peer_),
                                                        self->address_, parsed.failure().message)});
          return;
        }
        if (!self->has_ended_) self->read();
      });
}

Result<void> Connection::send(const Message& message) {
  if (message.payload.size() > kMaxPayload) {
    return Failure{FailureKind::kConflict, fmt::format("a message of {} bytes is too long", message.payload.size())};
  }
  std::vector<std::byte> frame = encode_frame(message);
  {
    const std::scoped_lock lock(mutex_);
    if (is_closing_) return Failure{FailureKind::kLost, fmt::format("the connection to {} has ended", address_)};
    if (counters_.queued_bytes > 0 && counters_.queued_bytes + frame.size() > limits_.queue_bytes) {
      return Failure{FailureKind::kConflict, fmt::format("the queue to {} is full", address_)};
    }
    counters_.queued_bytes += frame.size();
    queue_.push_back(std::move(frame));
  }
  asio::post(core_->io, [self = shared_from_this()] { self->write(); });
  return {};
}

void Connection::write() {
  if (is_writing_ || has_ended_) return;
  std::shared_ptr<std::vector<std::byte>> frame;
  bool is_closing = false;
  {
    const std::scoped_lock lock(mutex_);
    is_closing = is_closing_;
    if (!queue_.empty()) {
      frame = std::make_shared<std::vector<std::byte>>(std::move(queue_.front()));
      queue_.pop_front();
    }
  }
  if (!frame) {
    if (is_closing) goodbye();
    return;
  }
  is_writing_ = true;
  asio::async_write(stream_, asio::buffer(*frame), [self = shared_from_this(), frame](const Code& error, std::size_t) {
    self->is_writing_ = false;
    if (self->has_ended_) return;
    if (error) {
      self->end(self->ending(error));
      return;
    }
    {
      const std::scoped_lock lock(self->mutex_);
      self->counters_.queued_bytes -= frame->size();
      self->counters_.bytes_sent += frame->size();
      ++self->counters_.messages_sent;
    }
    self->write();
  });
}

void Connection::close() {
  {
    const std::scoped_lock lock(mutex_);
    if (is_closing_) return;
    is_closing_ = true;
  }
  asio::post(core_->io, [self = shared_from_this()] { self->write(); });
}

/// Everything is written: says so to the other side, and ends.
void Connection::goodbye() {
  const auto self = shared_from_this();
  timer_.expires_after(kGoodbye);
  timer_.async_wait([self](const Code& error) {
    if (!error) self->end({FailureKind::kAborted, "closed from this side"});
  });
  is_writing_ = true;
  stream_.async_shutdown([self](const Code&) { self->end({FailureKind::kAborted, "closed from this side"}); });
}

void Connection::end(const Failure& failure) {
  if (has_ended_) return;
  has_ended_ = true;
  timer_.cancel();
  Code ignored;
  socket().shutdown(tcp::socket::shutdown_both, ignored);
  socket().close(ignored);
  {
    const std::scoped_lock lock(mutex_);
    is_closing_ = true;
    queue_.clear();
    counters_.queued_bytes = 0;
  }
  const ChannelEvents events = std::exchange(events_, {});
  const auto channel = channel_.lock();
  if (channel && events.on_closed) events.on_closed(*channel, failure);
}

ChannelCounters Connection::counters() const {
  const std::scoped_lock lock(mutex_);
  return counters_;
}

class TlsNetwork;

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
  TlsNetwork(const Credentials& credentials, const NetworkLimits& limits);
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

  NetworkLimits limits_;
  std::shared_ptr<Core> core_ = std::make_shared<Core>();
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(core_->io);
  std::string job_;
  // On the network's thread alone.
  std::vector<std::weak_ptr<Connection>> connections_;
  std::vector<std::weak_ptr<Accepting>> accepting_;
  std::thread thread_;
};

TlsNetwork::TlsNetwork(const Credentials& credentials, const NetworkLimits& limits) : limits_(limits) {
  try {
    core_->tls.use_certificate(asio::buffer(credentials.certificate), asio::ssl::context::pem);
    core_->tls.use_private_key(asio::buffer(credentials.private_key), asio::ssl::context::pem);
    core_->tls.add_certificate_authority(asio::buffer(credentials.authority));
    core_->tls.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  } catch (const boost::system::system_error& error) {
    throw Error(ErrorCode::kBadInput, "credentials that OpenSSL refuses", "credentials", error.what());
  }
  SSL_CTX* context = core_->tls.native_handle();
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  const std::optional<Identity> self = identity_of(SSL_CTX_get0_certificate(context));
  if (!self) throw Error(ErrorCode::kBadInput, "the certificate names no process of a job", "credentials");
  job_ = self->job;
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
                        [accepting, connection](const std::optional<Failure>& failure) {
                          if (failure || !accepting->on_accept) {
                            connection->end(failure.value_or(Failure{FailureKind::kAborted, "no longer listening"}));
                            return;
                          }
                          const auto channel = std::make_shared<TlsChannel>(connection);
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

std::unique_ptr<Network> make_tls_network(const Credentials& credentials, const NetworkLimits& limits) {
  return std::make_unique<TlsNetwork>(credentials, limits);
}

}  // namespace concerto
