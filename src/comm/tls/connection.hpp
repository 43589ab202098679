// A session with one process over TCP: handshake, frames both ways, and its end. Everything but sending, closing and
// counters happens on the network's thread.
//
// A Connection lives as long as something is under way on it; the Channel that users hold is a handle whose end closes
// the connection.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "concerto/comm/channel.hpp"

#include "framing.hpp"
#include "wire.hpp"

namespace concerto::tls {

/// The most bytes of a message from a process without a certificate.
inline constexpr std::size_t kMostOfAStranger = std::size_t{2} << 20;

class StreamChannel;

/// What every socket stands on: it outlives the network while a channel's handle does.
struct Core {
  asio::io_context io{1};
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(const std::shared_ptr<Core>& core, std::shared_ptr<Wire> wire, const NetworkLimits& limits)
      : core_(core), wire_(std::move(wire)), timer_(core->io), limits_(limits), read_buffer_(std::size_t{1} << 16) {}

  tcp::socket& socket() { return wire_->socket(); }
  [[nodiscard]] const Identity& peer() const noexcept { return peer_; }
  [[nodiscard]] const std::string& address() const noexcept { return address_; }

  /// Calls `done` with nothing, or why there is no session; at most after `limit`.
  void handshake(bool is_server, const std::string& job, std::chrono::milliseconds limit,
                 std::function<void(std::optional<Failure>)> done);
  /// From now on messages come to `events`.
  void start(std::weak_ptr<StreamChannel> channel, ChannelEvents events);
  /// Of a process that has shown no certificate, and may only ask for one: little, and soon.
  [[nodiscard]] bool is_stranger() const noexcept { return is_stranger_; }
  void start_stranger(std::weak_ptr<StreamChannel> channel, ChannelEvents events, std::chrono::milliseconds limit);
  Result<void> send(Outgoing message);
  void close();
  void cut(const Failure& why);
  /// Ends now; `failure` is what on_closed is told.
  void end(const Failure& failure);
  /// Is sending the last of what it has to, after close().
  [[nodiscard]] bool is_closing() const;
  [[nodiscard]] ChannelCounters counters() const;

 private:
  struct Frame {
    FrameHeader header;
    Outgoing message;
    [[nodiscard]] std::size_t bytes() const noexcept { return header.size() + message.payload_bytes(); }
  };
  /// What an error of the socket means: a side that is closing expects the end.
  [[nodiscard]] Failure ending(const Code& error) const;
  void read();
  void write();
  /// Takes from the queue what goes in one write; false: there is nothing.
  [[nodiscard]] bool take_batch();
  void written();
  void goodbye();
  void schedule_write();

  std::shared_ptr<Core> core_;  // first: the others stand on it
  std::shared_ptr<Wire> wire_;
  asio::steady_timer timer_;
  NetworkLimits limits_;
  Identity peer_;
  bool is_stranger_ = false;
  std::string address_;
  std::vector<std::byte> read_buffer_;
  FrameParser parser_;
  std::weak_ptr<StreamChannel> channel_;
  ChannelEvents events_;
  std::vector<Frame> batch_;  ///< being written
  bool is_writing_ = false;
  bool has_ended_ = false;

  mutable std::mutex mutex_;  // of what follows
  std::deque<Frame> queue_;
  ChannelCounters counters_;
  bool is_scheduled_ = false;  ///< write() will run, or is at it
  bool is_room_wanted_ = false;
  bool is_closing_ = false;
};

class StreamChannel final : public Channel {
 public:
  explicit StreamChannel(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
  ~StreamChannel() override { connection_->close(); }
  StreamChannel(const StreamChannel&) = delete;
  StreamChannel& operator=(const StreamChannel&) = delete;
  [[nodiscard]] const Identity& peer() const noexcept override { return connection_->peer(); }
  [[nodiscard]] std::string peer_address() const override { return connection_->address(); }
  [[nodiscard]] Result<void> send(Outgoing message) override { return connection_->send(std::move(message)); }
  void close() noexcept override { connection_->close(); }
  void cut(const Failure& why) noexcept override { connection_->cut(why); }
  [[nodiscard]] ChannelCounters counters() const noexcept override { return connection_->counters(); }

 private:
  std::shared_ptr<Connection> connection_;
};

}  // namespace concerto::tls
