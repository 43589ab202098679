// What strangers may send a first launcher, and what stands in a token: what is understood is exactly what writing it
// gives again. The first byte chooses which.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "concerto/base/error.hpp"
#include "concerto/comm/join.hpp"

#include "join_messages.hpp"

namespace {

using concerto::Message;

void must(bool holds) {
  if (!holds) std::abort();
}

void check_token(const std::string& text) {
  try {
    const concerto::JoinToken token = concerto::parse_join_token(text, "here");
    must(concerto::parse_join_token(concerto::format_join_token(token), "here") == token);
  } catch (const concerto::Error& error) {
    must(error.code() == concerto::ErrorCode::kBadInput);
  }
}

void check_request(const Message& message) {
  const auto request = concerto::tls::parse_join_request(message);
  if (!request) return;
  const auto again = concerto::tls::parse_join_request(concerto::tls::encode(*request));
  must(again && again->secret == request->secret && again->node == request->node &&
       again->requests == request->requests);
}

void check_answer(const Message& message) {
  const auto answer = concerto::tls::parse_join_answer(message);
  if (!answer) {
    for (const char letter : answer.failure().message) must(letter >= ' ' && letter <= '~');
    return;
  }
  must(concerto::tls::encode(answer.value()).payload == message.payload);
}

/// Of a stranger's choice, to an authority.
void check_signing(const std::string& bytes) {
  static const concerto::JobAuthority kAuthority("job");
  (void)kAuthority.sign(bytes, {"job", concerto::Role::kRank, 1, 1}).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto bytes = std::as_bytes(std::span(text));
  constexpr std::uint16_t kFirstType = 0x4a00;
  const Message message{static_cast<std::uint16_t>(kFirstType + (data[0] >> 4)), 0, {bytes.begin(), bytes.end()}};
  switch (data[0] % 4) {
    case 0:
      check_token(text);
      break;
    case 1:
      check_request(message);
      break;
    case 2:
      check_answer(message);
      break;
    default:
      check_signing(text);
  }
  return 0;
}
