// A session with one process over TCP: handshake, frames both ways, and its end. Everything but sending, closing and
// counters happens on the network's thread.
//
// A Connection lives as long as something is under way on it; the Channel that users hold is a handle whose end closes
// the connection.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>

#include "concerto/comm/channel.hpp"

#include "framing.hpp"
#include "openssl_owners.hpp"

namespace concerto::tls {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using Code = boost::system::error_code;

/// The most bytes of a message from a process without a certificate.
inline constexpr std::size_t kMostOfAStranger = std::size_t{2} << 20;

/// By ALPN a process says that it comes without a certificate, to ask for one: the protocol as it stands in the
/// handshake, its length in front.
inline constexpr std::string_view kJoinProtocol =
    "\x0d"
    "concerto-join";

[[nodiscard]] std::string text_of(const tcp::endpoint& endpoint);
/// Who a certificate says it is; nothing without exactly one URI that is an identity.
[[nodiscard]] std::optional<Identity> identity_of(const X509* certificate);

class TlsChannel;

/// What every socket stands on: it outlives the network while a channel's handle does.
struct Core {
  asio::io_context io{1};
  asio::ssl::context tls{asio::ssl::context::tls};
  std::string pinned;  ///< fingerprint of the only authority that is trusted, where no certificate is held
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
  /// Of a process that has shown no certificate, and may only ask for one: little, and soon.
  [[nodiscard]] bool is_stranger() const noexcept { return is_stranger_; }
  void start_stranger(std::weak_ptr<TlsChannel> channel, ChannelEvents events, std::chrono::milliseconds limit);
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
  bool is_stranger_ = false;
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

}  // namespace concerto::tls
