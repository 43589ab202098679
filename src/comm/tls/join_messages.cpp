// Lists of texts, each with its length (32 bits, little-endian) in front.
#include "join_messages.hpp"

#include <algorithm>
#include <charconv>
#include <span>

namespace concerto::tls {
namespace {

constexpr std::uint16_t kRequest = 0x4a00;
constexpr std::uint16_t kGrant = 0x4a01;
constexpr std::uint16_t kRefusal = 0x4a02;
constexpr std::uint16_t kOtherPlan = 0x4a03;
constexpr std::size_t kLength = 4;
constexpr std::size_t kNumbers = 4;  // secret, node, nodes, ranks a node: before the certificate requests
constexpr std::size_t kMostRefusal = 1'000;

void pack(std::vector<std::byte>& bytes, std::string_view text) {
  for (std::size_t i = 0; i < kLength; ++i) bytes.push_back(static_cast<std::byte>(text.size() >> (8 * i)));
  const auto content = std::as_bytes(std::span(text));
  bytes.insert(bytes.end(), content.begin(), content.end());
}

/// Nothing where the bytes are not whole texts.
std::optional<std::vector<std::string>> unpack(std::span<const std::byte> bytes) {
  std::vector<std::string> texts;
  while (!bytes.empty()) {
    if (bytes.size() < kLength) return std::nullopt;
    std::size_t size = 0;
    for (std::size_t i = 0; i < kLength; ++i) size |= std::to_integer<std::size_t>(bytes[i]) << (8 * i);
    bytes = bytes.subspan(kLength);
    if (bytes.size() < size) return std::nullopt;
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), size);
    bytes = bytes.subspan(size);
  }
  return texts;
}

std::optional<std::uint32_t> number(const std::string& text) {
  std::uint32_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Message encode(const JoinRequest& request) {
  Message message{kRequest, 0, {}};
  pack(message.payload, request.secret);
  for (const std::uint32_t value : {request.node, request.shape.nodes, request.shape.ranks_per_node}) {
    pack(message.payload, std::to_string(value));
  }
  for (const std::string& one : request.requests) pack(message.payload, one);
  return message;
}

Message encode(const JoinGrant& grant) {
  Message message{kGrant, 0, {}};
  pack(message.payload, grant.authority);
  for (const std::string& one : grant.certificates) pack(message.payload, one);
  return message;
}

Message encode(const Failure& refusal) {
  Message message{refusal.kind == FailureKind::kConflict ? kOtherPlan : kRefusal, 0, {}};
  pack(message.payload, refusal.message);
  return message;
}

std::optional<JoinRequest> parse_join_request(const Message& message) {
  const auto texts = message.type == kRequest ? unpack(message.payload) : std::nullopt;
  if (!texts || texts->size() <= kNumbers) return std::nullopt;
  const auto node = number(texts->at(1));
  const auto nodes = number(texts->at(2));
  const auto ranks = number(texts->at(3));
  if (!node || !nodes || !ranks) return std::nullopt;
  return JoinRequest{texts->front(), *node, {*nodes, *ranks}, {texts->begin() + kNumbers, texts->end()}};
}

Result<JoinGrant> parse_join_answer(const Message& message) {
  const auto texts = unpack(message.payload);
  if (texts && message.type == kGrant && texts->size() > 1) {
    return JoinGrant{texts->front(), {texts->begin() + 1, texts->end()}};
  }
  const bool is_refusal = message.type == kRefusal || message.type == kOtherPlan;
  if (!texts || !is_refusal || texts->size() != 1 || texts->front().size() > kMostRefusal) {
    return Failure{FailureKind::kCorrupt, "the answer to a request to join is none"};
  }
  std::string words = texts->front();
  std::ranges::replace_if(
      words, [](char letter) { return letter < ' ' || letter > '~'; }, '?');
  return Failure{message.type == kOtherPlan ? FailureKind::kConflict : FailureKind::kRefused, std::move(words)};
}

}  // namespace concerto::tls
