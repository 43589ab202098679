// Listening, accepting and connecting, whatever the bytes go through.
#include "stream_network.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "threads.hpp"

namespace concerto::tls {
namespace {

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

}  // namespace

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

class StreamListener final : public Listener {
 public:
  explicit StreamListener(std::shared_ptr<Accepting> accepting) : accepting_(std::move(accepting)) {}
  ~StreamListener() override {
    if (accepting_->is_over) return;  // the network has ended
    asio::post(accepting_->core->io, [accepting = accepting_] { accepting->end(); });
  }
  StreamListener(const StreamListener&) = delete;
  StreamListener& operator=(const StreamListener&) = delete;
  [[nodiscard]] std::string address() const override { return accepting_->address; }

 private:
  std::shared_ptr<Accepting> accepting_;
};

/// A connection that is being made: settled once.
struct StreamNetwork::Attempt : std::enable_shared_from_this<Attempt> {
  Attempt(asio::io_context& io, std::string its_address, Identity its_peer, ChannelEvents its_events,
          Connected its_done)
      : address(std::move(its_address)),
        expected(std::move(its_peer)),
        events(std::move(its_events)),
        done(std::move(its_done)),
        resolver(io),
        timer(io) {}

  [[nodiscard]] bool is_over() const { return !done; }
  void settle(Result<std::shared_ptr<Channel>> result) {
    if (is_over()) return;
    timer.cancel();
    resolver.cancel();
    if (!result && connection) connection->end(result.failure());
    std::exchange(done, nullptr)(std::move(result));
  }
  [[nodiscard]] bool is_it(const Identity& peer) const {
    return peer.job == expected.job && peer.role == expected.role && peer.index == expected.index &&
           (expected.incarnation == 0 || peer.incarnation == expected.incarnation);
  }
  void start_timer(std::chrono::milliseconds limit) {
    timer.expires_after(limit);
    timer.async_wait([self = shared_from_this(), limit](const Code& error) {
      if (error) return;
      self->settle(Failure{FailureKind::kTimeout,
                           fmt::format("no connection to {} within {} ms", self->address, limit.count())});
    });
  }
  /// The session is there, or not.
  void greeted(std::optional<Failure> refused) {
    if (is_over()) return;
    if (!refused && !is_it(connection->peer())) {
      refused = Failure{FailureKind::kRefused,
                        fmt::format("{} is {}, not {}", address, to_string(connection->peer()), to_string(expected))};
    }
    if (refused) return settle(*refused);
    const auto channel = std::make_shared<StreamChannel>(connection);
    connection->start(channel, std::move(events));
    settle(std::shared_ptr<Channel>(channel));
  }

  const std::string address;
  const Identity expected;
  ChannelEvents events;
  Connected done;
  tcp::resolver resolver;
  asio::steady_timer timer;
  std::shared_ptr<Connection> connection;
};

StreamNetwork::StreamNetwork(const std::string& job, WireMaker make_wire, const NetworkLimits& limits,
                             StrangerHandler on_stranger)
    : job_(job), make_wire_(std::move(make_wire)), limits_(limits), on_stranger_(std::move(on_stranger)) {
  thread_ = start_thread([this] { core_->io.run(); });
}

/// What is under way ends by itself once its sockets are closed, and then the thread does: no handler is left that
/// would keep a connection. Those that are being closed get the time that they have for it.
StreamNetwork::~StreamNetwork() {
  asio::post(core_->io, [this] {
    for (const auto& weak : accepting_) {
      if (const auto accepting = weak.lock()) accepting->end();
    }
    for (const auto& weak : attempts_) {
      if (const auto attempt = weak.lock()) attempt->settle(Failure{FailureKind::kAborted, "the network has ended"});
    }
    for (const auto& weak : connections_) {
      const auto connection = weak.lock();
      if (connection && !connection->is_closing()) connection->end({FailureKind::kAborted, "the network has ended"});
    }
    work_.reset();
  });
  thread_.join();
}

std::shared_ptr<Connection> StreamNetwork::new_connection() {
  std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
  auto connection = std::make_shared<Connection>(core_, make_wire_(core_->io), limits_);
  connections_.push_back(connection);
  return connection;
}

std::unique_ptr<Listener> StreamNetwork::listen(const std::string& address,
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
  return std::make_unique<StreamListener>(accepting);
}

void StreamNetwork::accept_next(const std::shared_ptr<Accepting>& accepting) {
  if (!accepting->acceptor.is_open()) return;
  const auto connection = new_connection();
  accepting->acceptor.async_accept(connection->socket(), [this, accepting, connection](const Code& error) {
    if (!accepting->acceptor.is_open()) return;
    if (!error) adopt(accepting, connection);
    accept_next(accepting);
  });
}

void StreamNetwork::adopt(const std::shared_ptr<Accepting>& accepting, const std::shared_ptr<Connection>& connection) {
  connection->handshake(true, job_, limits_.handshake,
                        [this, accepting, connection](const std::optional<Failure>& failure) {
                          if (failure || !accepting->on_accept) {
                            connection->end(failure.value_or(Failure{FailureKind::kAborted, "no longer listening"}));
                            return;
                          }
                          const auto channel = std::make_shared<StreamChannel>(connection);
                          if (connection->is_stranger()) {
                            connection->start_stranger(channel, on_stranger_(channel), limits_.handshake);
                            return;
                          }
                          connection->start(channel, accepting->on_accept(channel));
                        });
}

void StreamNetwork::start_connect(const std::string& address, const Identity& expected, ChannelEvents events,
                                  std::chrono::milliseconds limit, Connected done) {
  const HostPort place = parse_address(address);
  const auto attempt = std::make_shared<Attempt>(core_->io, address, expected, std::move(events), std::move(done));
  asio::post(core_->io, [this, attempt, place, limit] {
    std::erase_if(attempts_, [](const auto& weak) { return weak.expired(); });
    attempts_.push_back(attempt);
    attempt->start_timer(limit);
    attempt->resolver.async_resolve(
        place.host, place.port, [this, attempt, limit](const Code& error, const auto& endpoints) {
          if (attempt->is_over()) return;
          if (error) {
            return attempt->settle(
                Failure{FailureKind::kUnreachable, fmt::format("{}: {}", attempt->address, error.message())});
          }
          attempt->connection = new_connection();
          asio::async_connect(
              attempt->connection->socket(), endpoints,
              [this, attempt, limit](const Code& failed, const tcp::endpoint&) {
                if (attempt->is_over()) return;
                if (failed) {
                  return attempt->settle(
                      Failure{FailureKind::kUnreachable, fmt::format("{}: {}", attempt->address, failed.message())});
                }
                attempt->connection->handshake(
                    false, job_, std::min(limit, limits_.handshake),
                    [attempt](std::optional<Failure> refused) { attempt->greeted(std::move(refused)); });
              });
        });
  });
}

}  // namespace concerto::tls
