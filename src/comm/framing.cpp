// Frames (see framing.hpp).
#include "framing.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

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

}  // namespace

FrameHeader encode_header(std::uint16_t type, std::uint32_t epoch, std::span<const std::byte> head,
                          std::span<const std::byte> body) {
  const std::size_t payload = head.size() + body.size();
  CONCERTO_CHECK(payload <= kMaxPayload, "a payload beyond the limit");
  FrameHeader header{};
  put(header.data(), kMagic);
  put(header.data() + 4, type);
  put(header.data() + 6, std::uint16_t{0});
  put(header.data() + 8, epoch);
  put(header.data() + 12, static_cast<std::uint32_t>(payload));
  ChecksumStream checksum;
  checksum.update(std::span(header).first(kChecked));
  checksum.update(head);
  checksum.update(body);
  put(header.data() + kChecked, checksum.digest());
  return header;
}

std::vector<std::byte> encode_frame(const Message& message) {
  const FrameHeader header = encode_header(message.type, message.epoch, message.payload, {});
  std::vector<std::byte> frame(header.size() + message.payload.size());
  std::ranges::copy(header, frame.begin());
  std::ranges::copy(message.payload, frame.begin() + kFrameHeaderBytes);
  return frame;
}

Result<void> FrameParser::begin_payload() {
  const auto corrupt = [](std::string what) { return Failure{FailureKind::kCorrupt, std::move(what)}; };
  if (get<std::uint32_t>(header_.data()) != kMagic) return corrupt("bytes that are no frame of this version");
  if (get<std::uint16_t>(header_.data() + 6) != 0) return corrupt("a frame with unknown flags");
  const auto length = get<std::uint32_t>(header_.data() + 12);
  if (length > most_) return corrupt(fmt::format("a frame that announces {} bytes", length));
  message_ = {get<std::uint16_t>(header_.data() + 4), get<std::uint32_t>(header_.data() + 8), {}};
  message_.payload.reserve(std::min<std::size_t>(length, std::size_t{1} << 20));
  missing_ = length;
  in_payload_ = true;
  checksum_.restart();
  checksum_.update(std::span(header_).first(kChecked));
  return {};
}

Result<void> FrameParser::feed(std::span<const std::byte> bytes, const std::function<void(Message)>& on_message) {
  while (!bytes.empty() || (in_payload_ && missing_ == 0)) {
    if (!in_payload_) {
      const std::size_t taken = std::min(bytes.size(), kFrameHeaderBytes - header_.size());
      header_.insert(header_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
      bytes = bytes.subspan(taken);
      if (header_.size() < kFrameHeaderBytes) return {};
      if (Result<void> begun = begin_payload(); !begun) return begun;
    }
    const auto piece = bytes.first(std::min(bytes.size(), missing_));
    checksum_.update(piece);
    message_.payload.insert(message_.payload.end(), piece.begin(), piece.end());
    bytes = bytes.subspan(piece.size());
    missing_ -= piece.size();
    if (missing_ > 0) return {};
    if (checksum_.digest() != get<std::uint64_t>(header_.data() + kChecked)) {
      return Failure{FailureKind::kCorrupt, "a frame whose checksum does not match"};
    }
    in_payload_ = false;
    header_.clear();
    on_message(std::move(message_));
  }
  return {};
}

}  // namespace concerto
