// One list of fields for each struct serves writing and reading, so that the two cannot disagree.
#include "wire.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "concerto/base/check.hpp"

namespace concerto::embedded {
namespace {

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}
  void number(std::uint64_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) out_.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
  void text(const std::string& value, std::size_t least, std::size_t most) {
    CONCERTO_CHECK(value.size() >= least && value.size() <= most, "a field of a store's message is out of its limits");
    number(value.size(), 4);
    const auto bytes = std::as_bytes(std::span(value));
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }

 private:
  std::vector<std::byte>& out_;
};

/// Reads until the first thing that is wrong; from then on everything is 0 and ok() false.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool is_at_end() const { return in_.empty(); }
  [[nodiscard]] std::size_t left() const { return in_.size(); }
  void fail() { ok_ = false; }

  std::uint64_t number(std::size_t bytes) {
    if (!take(bytes)) return 0;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::to_integer<std::uint64_t>(taken_[i]) << (8 * i);
    return value;
  }
  std::string text(std::size_t least, std::size_t most) {
    const auto size = static_cast<std::size_t>(number(4));
    if (size < least || size > most) fail();
    if (!take(size)) return {};
    std::string value(size, '\0');
    if (size > 0) std::memcpy(value.data(), taken_.data(), size);
    return value;
  }

 private:
  bool take(std::size_t bytes) {
    if (!ok_ || in_.size() < bytes) {
      ok_ = false;
      return false;
    }
    taken_ = in_.first(bytes);
    in_ = in_.subspan(bytes);
    return true;
  }
  std::span<const std::byte> in_;
  std::span<const std::byte> taken_;
  bool ok_ = true;
};

// A field, written (the value is const) or read.

template <class Number>
void number(Writer& to, const Number& value) {
  to.number(static_cast<std::uint64_t>(value), sizeof(Number));
}
template <class Number>
void number(Reader& from, Number& value) {
  value = static_cast<Number>(from.number(sizeof(Number)));
}
void flag(Writer& to, const bool& value) {
  to.number(value ? 1 : 0, 1);
}
void flag(Reader& from, bool& value) {
  const auto read = from.number(1);
  if (read > 1) from.fail();
  value = read == 1;
}
void text(Writer& to, const std::string& value, std::size_t least, std::size_t most) {
  to.text(value, least, most);
}
void text(Reader& from, std::string& value, std::size_t least, std::size_t most) {
  value = from.text(least, most);
}

template <class Stream, class Text>
void key(Stream& stream, Text& value) {
  text(stream, value, 1, kMaxStoreKey);
}
template <class Stream, class Text>
void prefix(Stream& stream, Text& value) {
  text(stream, value, 0, kMaxStoreKey);
}
template <class Stream, class Text>
void value_of(Stream& stream, Text& value) {
  text(stream, value, 0, kMaxStoreValue);
}
template <class Stream, class Text>
void token(Stream& stream, Text& value) {
  text(stream, value, 1, kMaxToken);
}

template <class Stream, class Entry>
void entry_fields(Stream& stream, Entry& entry) {
  key(stream, entry.key);
  value_of(stream, entry.value);
  number(stream, entry.created);
  number(stream, entry.modified);
  number(stream, entry.lease);
}
/// Of an entry without any text but a key of one byte.
constexpr std::size_t kLeastEntry = 4 + 1 + 4 + 3 * 8;
/// Of a change that is a deletion.
constexpr std::size_t kLeastEvent = 1 + 4 + 1 + 8;

void optional_entry(Writer& to, const std::optional<StoreEntry>& entry) {
  flag(to, entry.has_value());
  if (entry) entry_fields(to, *entry);
}
void optional_entry(Reader& from, std::optional<StoreEntry>& entry) {
  bool is_there = false;
  flag(from, is_there);
  if (is_there) entry_fields(from, entry.emplace());
}

template <class Stream, class Event>
void event_fields(Stream& stream, Event& event) {
  flag(stream, event.is_deletion);
  if (event.is_deletion) {
    key(stream, event.entry.key);
    number(stream, event.entry.modified);
  } else {
    entry_fields(stream, event.entry);
  }
}

template <class Item, class Fields>
void items(Writer& to, const std::vector<Item>& list, std::size_t, const Fields& fields) {
  to.number(list.size(), 4);
  for (const Item& item : list) fields(to, item);
}
template <class Item, class Fields>
void items(Reader& from, std::vector<Item>& list, std::size_t least_bytes, const Fields& fields) {
  const auto count = static_cast<std::size_t>(from.number(4));
  // Before memory is taken for them: a number that the rest of the message cannot hold is a lie.
  if (!from.ok() || count > from.left() / least_bytes) {
    from.fail();
    return;
  }
  list.resize(count);
  for (Item& item : list) fields(from, item);
}

// The fields of each struct. `Body` is const when written.
template <class Body, class Struct>
concept Is = std::is_same_v<std::remove_const_t<Body>, Struct>;

template <class Stream, class Body>
void fields(Stream& stream, Body& body) {
  if constexpr (Is<Body, Hello>) {
    number(stream, body.version);
  } else if constexpr (Is<Body, Put>) {
    key(stream, body.key), value_of(stream, body.value), number(stream, body.lease);
  } else if constexpr (Is<Body, Get> || Is<Body, Erase>) {
    key(stream, body.key);
  } else if constexpr (Is<Body, List>) {
    prefix(stream, body.prefix);
  } else if constexpr (Is<Body, Swap>) {
    key(stream, body.key), number(stream, body.expected), value_of(stream, body.value), number(stream, body.lease);
  } else if constexpr (Is<Body, Grant>) {
    number(stream, body.time_to_live_ms);
  } else if constexpr (Is<Body, KeepAlive> || Is<Body, Revoke> || Is<Body, Granted>) {
    number(stream, body.lease);
  } else if constexpr (Is<Body, Poll>) {
    prefix(stream, body.prefix), number(stream, body.after);
  } else if constexpr (Is<Body, Lock>) {
    key(stream, body.name), token(stream, body.token), number(stream, body.lease);
  } else if constexpr (Is<Body, Unlock>) {
    key(stream, body.name), token(stream, body.token);
  } else if constexpr (Is<Body, Cancel>) {
    number(stream, body.request);
  } else if constexpr (Is<Body, Failed>) {
    number(stream, body.kind), text(stream, body.message, 0, kMaxFailureMessage);
  } else if constexpr (Is<Body, Welcome>) {
    number(stream, body.version), token(stream, body.store);
  } else if constexpr (Is<Body, Written>) {
    number(stream, body.revision);
  } else if constexpr (Is<Body, Found>) {
    optional_entry(stream, body.entry);
  } else if constexpr (Is<Body, Listed>) {
    number(stream, body.revision);
    items(stream, body.entries, kLeastEntry, [](auto& s, auto& entry) { entry_fields(s, entry); });
  } else if constexpr (Is<Body, Swapped>) {
    flag(stream, body.swapped), number(stream, body.revision), optional_entry(stream, body.present);
  } else if constexpr (Is<Body, Erased>) {
    flag(stream, body.erased);
  } else if constexpr (Is<Body, Kept>) {
    number(stream, body.remaining_ms);
  } else if constexpr (Is<Body, Changed>) {
    flag(stream, body.is_reset), number(stream, body.through);
    items(stream, body.events, kLeastEvent, [](auto& s, auto& event) { event_fields(s, event); });
  } else if constexpr (Is<Body, Locked>) {
    number(stream, body.fencing);
  } else {
    static_assert(Is<Body, Ping> || Is<Body, Done>, "a struct without its fields");
  }
}

template <class Body>
Message encode_any(std::uint16_t first_type, std::uint64_t id, const Body& body) {
  Message message;
  message.type = static_cast<std::uint16_t>(first_type + body.index());
  Writer writer(message.payload);
  writer.number(id, 8);
  std::visit([&](const auto& one) { fields(writer, one); }, body);
  return message;
}

/// Makes the alternative of that index and reads its fields.
template <class Variant, std::size_t... Index>
bool read_alternative(Reader& reader, std::size_t wanted, Variant& body, std::index_sequence<Index...>) {
  return ((wanted == Index && (fields(reader, body.template emplace<Index>()), true)) || ...);
}

template <class Whole>
std::optional<Whole> parse_any(std::uint16_t first_type, const Message& message) {
  using Variant = decltype(Whole::body);
  if (message.type < first_type) return std::nullopt;
  Whole whole;
  Reader reader(message.payload);
  whole.id = reader.number(8);
  const std::size_t index = message.type - first_type;
  if (!read_alternative(reader, index, whole.body, std::make_index_sequence<std::variant_size_v<Variant>>()))
    return std::nullopt;
  if (!reader.ok() || !reader.is_at_end()) return std::nullopt;
  return whole;
}

}  // namespace

Message encode(const Request& request) {
  return encode_any(kFirstRequest, request.id, request.body);
}
Message encode(const Answer& answer) {
  return encode_any(kFirstAnswer, answer.id, answer.body);
}

std::optional<Request> parse_request(const Message& message) {
  return parse_any<Request>(kFirstRequest, message);
}

std::optional<Answer> parse_answer(const Message& message) {
  auto answer = parse_any<Answer>(kFirstAnswer, message);
  if (answer) {
    const auto* failed = std::get_if<Failed>(&answer->body);
    if (failed != nullptr && failed->kind > FailureKind::kAborted) return std::nullopt;
  }
  return answer;
}

}  // namespace concerto::embedded
