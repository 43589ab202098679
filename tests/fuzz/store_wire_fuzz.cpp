// The embedded store's protocol from arbitrary bytes: whatever a peer sends is refused, or is exactly what encoding
// what was understood gives; and what was understood never brings the service down. The bytes are messages one after
// another: a byte for the type, two for the length, the payload.
#include <cstdint>
#include <cstdlib>

#include "store_service.hpp"
#include "wire.hpp"

namespace concerto {

// Rights are decided by a library that the service does not need here: everything odd is allowed.
std::string to_string(const Identity& /*identity*/) {
  return "peer";
}
bool may_write(const Identity& /*who*/, std::string_view key) {
  return key.size() % 2 == 1;
}

}  // namespace concerto

namespace {

using namespace concerto::embedded;  // NOLINT

void must(bool holds) {
  if (!holds) std::abort();
}

/// The next message; nothing at the end.
std::optional<concerto::Message> next_message(const std::uint8_t*& data, std::size_t& size) {
  if (size < 3) return std::nullopt;
  concerto::Message message;
  message.type = static_cast<std::uint16_t>((data[0] < 128 ? kFirstRequest : kFirstAnswer - 128) + data[0]);
  const std::size_t length = std::min<std::size_t>(size - 3, data[1] | data[2] << 8);
  const auto* payload = reinterpret_cast<const std::byte*>(data + 3);
  message.payload.assign(payload, payload + length);
  data += 3 + length;
  size -= 3 + length;
  return message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  MachineLimits limits;
  limits.history_events = 4;
  StoreService service("job", "store", limits);
  StoreTime now{0};
  for (const ClientId client : {1U, 2U}) {
    service.connect(client, {"job", client == 1 ? concerto::Role::kLauncher : concerto::Role::kRank, 3, 1});
    must(service.handle(client, {0, Hello{}}, now).size() == 1);
  }
  ClientId client = 1;
  while (const auto message = next_message(data, size)) {
    const auto answer = parse_answer(*message);
    if (answer) must(encode(*answer).payload == message->payload && encode(*answer).type == message->type);
    const auto request = parse_request(*message);
    if (!request) continue;
    must(!answer && encode(*request).payload == message->payload && encode(*request).type == message->type);
    for (const Outgoing& out : service.handle(client, *request, now)) {
      must(out.to == 1 || out.to == 2);
      must(parse_answer(encode(out.answer)) == out.answer);
    }
    client = 3 - client;
    now += StoreTime{static_cast<std::int64_t>(request->id % 512)};
  }
  return 0;
}
