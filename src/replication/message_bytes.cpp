// Messages of replicators as bytes. The parser reads what a peer sends: it believes nothing.
#include <array>
#include <type_traits>

#include "concerto/replication/message.hpp"

namespace concerto {
namespace {

/// A rank each.
constexpr std::uint32_t kMostEntries = 1U << 16;
constexpr auto kLastKind = static_cast<std::uint8_t>(ReplicaMessageKind::kState);

/// In the order of their bits.
template <class Message>
auto flags_of(Message& m) {
  using Flag = std::conditional_t<std::is_const_v<Message>, const bool, bool>;
  return std::array<Flag*, 8>{&m.answers_put, &m.answers_delta,  &m.answers_fence, &m.is_owner,
                              &m.asks,        &m.carries_digest, &m.is_forced,     nullptr};
}

class Writer {
 public:
  template <class Number>
  void put(Number number) {
    for (std::size_t i = 0; i < sizeof(Number); ++i) {
      bytes_.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(number) >> (8 * i) & 0xff));
    }
  }
  void put(const FrontierEntry& entry) {
    put(entry.incarnation);
    put(entry.sequence);
    put(entry.clock);
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class Number>
  void get(Number& number) {
    number = 0;
    if (!has(sizeof(Number))) return;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i) value |= std::to_integer<std::uint64_t>(bytes_[i]) << (8 * i);
    number = static_cast<Number>(value);
    bytes_ = bytes_.subspan(sizeof(Number));
  }
  void get(FrontierEntry& entry) {
    get(entry.incarnation);
    get(entry.sequence);
    get(entry.clock);
  }
  [[nodiscard]] bool is_sound() const noexcept { return is_sound_; }
  [[nodiscard]] std::span<const std::byte> rest() const noexcept { return bytes_; }

 private:
  bool has(std::size_t count) {
    is_sound_ = is_sound_ && bytes_.size() >= count;
    return is_sound_;
  }
  std::span<const std::byte> bytes_;
  bool is_sound_ = true;
};

}  // namespace

std::vector<std::byte> encode(const ReplicaMessage& message, std::span<const FrontierEntry> frontier,
                              std::uint64_t digest) {
  Writer out;
  out.put(static_cast<std::uint8_t>(message.kind));
  std::uint8_t bits = 0;
  const auto flags = flags_of(message);
  for (std::size_t i = 0; i < flags.size(); ++i) {
    if (flags[i] != nullptr && *flags[i]) bits = static_cast<std::uint8_t>(bits | 1U << i);
  }
  out.put(bits);
  out.put(message.block);
  out.put(message.term);
  out.put(message.version.term);
  out.put(message.version.serial);
  out.put(message.clock);
  out.put(message.writer);
  out.put(message.stable);
  out.put(digest);
  out.put(static_cast<std::uint32_t>(frontier.size()));
  for (const FrontierEntry& entry : frontier) out.put(entry);
  return out.take();
}

std::optional<ParsedReplicaMessage> parse_replica_message(std::span<const std::byte> bytes) {
  ParsedReplicaMessage parsed;
  ReplicaMessage& message = parsed.message;
  Reader in(bytes);
  std::uint8_t kind = 0;
  std::uint8_t bits = 0;
  std::uint32_t entries = 0;
  in.get(kind);
  in.get(bits);
  in.get(message.block);
  in.get(message.term);
  in.get(message.version.term);
  in.get(message.version.serial);
  in.get(message.clock);
  in.get(message.writer);
  in.get(message.stable);
  in.get(parsed.digest);
  in.get(entries);
  if (!in.is_sound() || kind > kLastKind || entries > kMostEntries) return std::nullopt;
  message.kind = static_cast<ReplicaMessageKind>(kind);
  const auto flags = flags_of(message);
  for (std::size_t i = 0; i < flags.size(); ++i) {
    const bool is_set = (bits >> i & 1U) != 0;
    if (flags[i] != nullptr) {
      *flags[i] = is_set;
    } else if (is_set) {
      return std::nullopt;
    }
  }
  if (!message.carries_digest && parsed.digest != 0) return std::nullopt;
  for (std::uint32_t e = 0; e < entries && in.is_sound(); ++e) in.get(parsed.frontier.emplace_back());
  if (!in.is_sound()) return std::nullopt;
  parsed.body = in.rest();
  return parsed;
}

}  // namespace concerto
