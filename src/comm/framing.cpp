// Frames (see framing.hpp).
#include "framing.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kMagic = 0x3152'4f43;  // "COR1", the 1 being the version
constexpr std::size_t kChecked = 16;           // bytes of the header that the checksum covers

template <class Number>
void put(std::byte* at, Number value) {
  std::memcpy(at, &value, sizeof value);
}
template <class Number>
Number get(const std::byte* at) {
  Number value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

std::uint64_t checksum_of(std::span<const std::byte> header, std::span<const std::byte> payload) {
  ChecksumStream checksum;
  checksum.update(header.first(kChecked));
  checksum.update(payload);
  return checksum.digest();
}

}  // namespace

std::vector<std::byte> encode_frame(const Message& message) {
  CONCERTO_CHECK(message.payload.size() <= kMaxPayload, "a payload beyond the limit");
  std::vector<std::byte> frame(kFrameHeaderBytes + message.payload.size());
  put(frame.data(), kMagic);
  put(frame.data() + 4, message.type);
  put(frame.data() + 6, std::uint16_t{0});
  put(frame.data() + 8, message.epoch);
  put(frame.data() + 12, static_cast<std::uint32_t>(message.payload.size()));
  std::ranges::copy(message.payload, frame.begin() + kFrameHeaderBytes);
  put(frame.data() + kChecked, checksum_of(frame, message.payload));
  return frame;
}

Result<void> FrameParser::feed(std::span<const std::byte> bytes, const std::function<void(Message)>& on_message) {
  const auto corrupt = [](std::string what) { return Failure{FailureKind::kCorrupt, std::move(what)}; };
  while (!bytes.empty() || (in_payload_ && missing_ == 0)) {
    if (!in_payload_) {
      const std::size_t taken = std::min(bytes.size(), kFrameHeaderBytes - header_.size());
      header_.insert(header_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
      bytes = bytes.subspan(taken);
      if (header_.size() < kFrameHeaderBytes) return {};
      if (get<std::uint32_t>(header_.data()) != kMagic) return corrupt("bytes that are no frame of this version");
      if (get<std::uint16_t>(header_.data() + 6) != 0) return corrupt("a frame with unknown flags");
      const auto length = get<std::uint32_t>(header_.data() + 12);
      if (length > most_) return corrupt(fmt::format("a frame that announces {} bytes", length));
      message_ = {get<std::uint16_t>(header_.data() + 4), get<std::uint32_t>(header_.data() + 8), {}};
      message_.payload.reserve(std::min<std::size_t>(length, std::size_t{1} << 20));
      missing_ = length;
      in_payload_ = true;
    }
    const std::size_t taken = std::min(bytes.size(), missing_);
    message_.payload.insert(message_.payload.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    bytes = bytes.subspan(taken);
    missing_ -= taken;
    if (missing_ > 0) return {};
    if (checksum_of(header_, message_.payload) != get<std::uint64_t>(header_.data() + kChecked)) {
      return corrupt("a frame whose checksum does not match");
    }
    in_payload_ = false;
    header_.clear();
    on_message(std::move(message_));
  }
  return {};
}

}  // namespace concerto
