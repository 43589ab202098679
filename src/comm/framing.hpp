// Messages as frames on a stream of bytes, and back. Pure.
//
// A frame: magic and version (4 bytes), type (2), two bytes of zero, epoch (4), length of the payload (4), checksum (8:
// XXH3 of the sixteen bytes before it and of the payload), payload. Little-endian. The checksum finds damage, not
// malice: for that, what is under it is encrypted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "concerto/base/checksum.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/channel.hpp"

namespace concerto {

inline constexpr std::size_t kFrameHeaderBytes = 24;

using FrameHeader = std::array<std::byte, kFrameHeaderBytes>;

/// What stands before the payload, which is `head` and then `body`, at most kMaxPayload bytes together.
[[nodiscard]] FrameHeader encode_header(std::uint16_t type, std::uint32_t epoch, std::span<const std::byte> head,
                                        std::span<const std::byte> body);

/// A whole frame. The payload is at most kMaxPayload bytes.
[[nodiscard]] std::vector<std::byte> encode_frame(const Message& message);

/// Takes bytes in any pieces.
class FrameParser {
 public:
  /// A frame that announces more than `most` bytes of payload is refused.
  explicit FrameParser(std::size_t most = kMaxPayload) : most_(most) {}
  /// Calls `on_message` for each message that is complete with these bytes, in order. kCorrupt for bytes that no
  /// encode_frame wrote, saying what is wrong with them: nothing more can be read from the stream then. No memory is
  /// taken for a payload before its header has been checked.
  [[nodiscard]] Result<void> feed(std::span<const std::byte> bytes, const std::function<void(Message)>& on_message);

 private:
  std::size_t most_;
  /// A header is complete. kCorrupt: it cannot be one.
  [[nodiscard]] Result<void> begin_payload();

  std::vector<std::byte> header_;
  Message message_;
  ChecksumStream checksum_;  ///< of what has come: while it is still in the cache
  std::size_t missing_ = 0;  ///< of the payload
  bool in_payload_ = false;
};

}  // namespace concerto
