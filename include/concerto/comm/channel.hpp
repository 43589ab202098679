// Messages between two processes over one connection, ordered and at most once; nothing is promised across connections.
//
// A channel is made by connecting to a listener of a known process or by accepting at one. Both sides know whom they
// talk to (identity.hpp) before the first message. Callbacks come from the network's own thread, one at a time for a
// channel, and must not block; sending is thread-safe and never waits: a full queue refuses.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "concerto/base/result.hpp"
#include "concerto/comm/identity.hpp"

namespace concerto {

/// The most bytes of a payload: a peer that announces more is cut off.
inline constexpr std::size_t kMaxPayload = std::size_t{64} << 20;

struct Message {
  std::uint16_t type = 0;   ///< meaning is the users' of the channel
  std::uint32_t epoch = 0;  ///< of the membership
  std::vector<std::byte> payload;
};

/// A message to send, whose payload is `head` and then `body`: a few bytes that say what it is, and bytes that somebody
/// else has too and that are not copied.
struct Outgoing {
  std::uint16_t type = 0;
  std::uint32_t epoch = 0;
  std::vector<std::byte> head;
  std::span<const std::byte> body;
  std::shared_ptr<const void> owner;  ///< of the body: held until it is written, or the channel has ended

  Outgoing() = default;
  Outgoing(std::uint16_t its_type, std::uint32_t its_epoch, std::vector<std::byte> its_head)
      : type(its_type), epoch(its_epoch), head(std::move(its_head)) {}
  Outgoing(Message message)  // NOLINT: implicit by design
      : Outgoing(message.type, message.epoch, std::move(message.payload)) {}
  [[nodiscard]] std::size_t payload_bytes() const noexcept { return head.size() + body.size(); }
};

struct ChannelCounters {
  std::uint64_t messages_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t bytes_sent = 0;  ///< frames, as handed to the encryption
  std::uint64_t bytes_received = 0;
  std::uint64_t queued_bytes = 0;  ///< not yet written
};

class Channel {
 public:
  virtual ~Channel() = default;  ///< closes
  [[nodiscard]] virtual const Identity& peer() const noexcept = 0;
  /// "10.0.0.2:4711"
  [[nodiscard]] virtual std::string peer_address() const = 0;
  /// Queues. kLost when closed; kConflict when the queue is full: then nothing was queued, and on_room follows.
  [[nodiscard]] virtual Result<void> send(Outgoing message) = 0;
  /// Sends what is queued, at most for the network's `linger`, then ends. on_closed follows.
  virtual void close() noexcept = 0;
  /// Ends now; what is queued is lost. on_closed follows with `why`.
  virtual void cut(const Failure& why) noexcept = 0;
  [[nodiscard]] virtual ChannelCounters counters() const noexcept = 0;
};

/// What a channel tells its user.
struct ChannelEvents {
  std::function<void(Channel&, Message)> on_message;
  std::function<void(Channel&, const Failure&)> on_closed;  ///< the last call; kAborted: closed from this side
  std::function<void(Channel&)> on_room = nullptr;          ///< after a refused send: half of the queue is free again
};

class Listener {
 public:
  virtual ~Listener() = default;  ///< stops accepting; channels live on
  /// With the port that was really taken.
  [[nodiscard]] virtual std::string address() const = 0;
};

struct NetworkLimits {
  std::chrono::milliseconds handshake{5'000};
  std::chrono::milliseconds linger{5'000};          ///< how long a channel that is closed sends what it has queued
  std::chrono::milliseconds silence{60'000};        ///< a peer whose machine answers nothing for so long is lost
  std::size_t queue_bytes = std::size_t{64} << 20;  ///< of a channel, not yet written
};

/// Connections of one process. Its destructor ends them, those that are being closed after what they have queued, and
/// waits for callbacks to end.
class Network {
 public:
  using Connected = std::function<void(Result<std::shared_ptr<Channel>>)>;

  virtual ~Network() = default;
  /// "HOST:PORT"; port 0: any. `on_accept` returns the events of the new channel. Error{kIo} naming the address where
  /// it cannot be listened at.
  [[nodiscard]] virtual std::unique_ptr<Listener> listen(
      const std::string& address, std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept) = 0;
  /// Connects to a peer that has to show that it is `expected` (an incarnation of 0 stands for any). Calls `done` once,
  /// within `limit`, from the network's thread or from within this call. Error{kBadInput} for what is no address.
  virtual void start_connect(const std::string& address, const Identity& expected, ChannelEvents events,
                             std::chrono::milliseconds limit, Connected done) = 0;
  /// The same, blocking.
  [[nodiscard]] Result<std::shared_ptr<Channel>> connect(const std::string& address, const Identity& expected,
                                                         ChannelEvents events, std::chrono::milliseconds limit);
};

}  // namespace concerto
