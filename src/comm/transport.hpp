// What carries the messages of schedules between ranks: the part of a communicator that inproc and gloo do not share.
//
// Messages are matched, not stored: a sent one goes when the other side has a place for it, into that place. What is
// posted to one peer on one stream is matched in order with what that peer posts on the same stream. A transport checks
// nothing: sizes agree because headers did (operation_header.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto {

/// Sequences of messages between two ranks that do not wait for each other.
enum class Stream : std::uint8_t {
  kSenderHeader,    ///< from who sends to who receives
  kReceiverHeader,  ///< the other way
  kTransferData,
  kFirstGroup,  ///< from here on two for each group lane: headers, data
};

/// Operations among all ranks go by so many lanes in turn: while the bytes of one are on their way the headers and the
/// first messages of the next ones are exchanged, so that a link with delay or a long queue does not run empty between
/// two operations.
inline constexpr std::uint8_t kGroupLanes = 4;

[[nodiscard]] constexpr Stream group_header(std::uint8_t lane) noexcept {
  return static_cast<Stream>(static_cast<std::uint8_t>(Stream::kFirstGroup) + 2 * lane);
}
/// Messages of payload, rather than headers.
[[nodiscard]] constexpr bool carries_data(Stream stream) noexcept {
  const auto number = static_cast<std::uint8_t>(stream);
  const auto first = static_cast<std::uint8_t>(Stream::kFirstGroup);
  return stream == Stream::kTransferData || (number >= first && (number - first) % 2 == 1);
}
[[nodiscard]] constexpr Stream group_data(std::uint8_t lane) noexcept {
  return static_cast<Stream>(static_cast<std::uint8_t>(group_header(lane)) + 1);
}

enum class LinkStatus : std::uint8_t {
  kDone,
  kInterrupted,
  kLost,  ///< the connection has ended
};

/// One lane's messages with one peer. For one thread at a time, but for interrupt().
class Link {
 public:
  /// Afterwards no memory that was posted is touched any more.
  virtual ~Link() = default;
  /// Never block. kLost, or kDone: posted.
  [[nodiscard]] virtual LinkStatus post_send(Stream stream, std::span<const std::byte> bytes) = 0;
  [[nodiscard]] virtual LinkStatus post_receive(Stream stream, std::span<std::byte> bytes) = 0;
  /// Until one more of what was posted is complete than has been waited for; what was complete before the connection
  /// ended still counts. A sent message is complete when its memory is no longer needed.
  [[nodiscard]] virtual LinkStatus wait_send() = 0;
  [[nodiscard]] virtual LinkStatus wait_receive() = 0;
  /// Ends a wait of any other thread, or else the next one, with kInterrupted. From any thread.
  virtual void interrupt() noexcept = 0;
  /// After kLost: why, in the transport's words.
  [[nodiscard]] virtual std::string loss() const = 0;
};

/// The connections of one rank with all others.
class Transport {
 public:
  virtual ~Transport() = default;
  [[nodiscard]] virtual std::unique_ptr<Link> link(Rank peer) = 0;
  /// The ranks whose connections have ended. From any thread.
  [[nodiscard]] virtual std::vector<Rank> lost_peers() = 0;
  /// Ends all connections; links must be gone. What was sent still arrives. Once.
  virtual void close() noexcept = 0;
};

/// For a group of one rank: nothing to connect, nothing to carry.
[[nodiscard]] std::unique_ptr<Transport> no_transport();

}  // namespace concerto
