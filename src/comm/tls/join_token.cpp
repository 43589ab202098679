// The token that lets a launcher join a job: drawing, writing, reading.
#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>
#include <openssl/rand.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/join.hpp"

#include "keys.hpp"

namespace concerto {
namespace {

constexpr std::string_view kScheme = "concerto-join://";
constexpr std::size_t kDigits = 64;  // of 256 bits

/// Takes what stands before `mark`, and the mark; all that is left where it does not occur.
std::string_view take_until(std::string_view& text, char mark) {
  const std::size_t found = text.find(mark);
  const std::string_view part = text.substr(0, found);
  text.remove_prefix(found == std::string_view::npos ? text.size() : found + 1);
  return part;
}

bool is_256_bits(std::string_view text) {
  return text.size() == kDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

std::string draw_join_secret() {
  std::array<unsigned char, kDigits / 2> bytes{};
  if (RAND_priv_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) tls::fail("drawing a secret");
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

std::string format_join_token(const JoinToken& token) {
  return fmt::format("{}{}/{}?expires={}&authority={}&secret={}", kScheme, token.address, token.job, token.expires_s,
                     token.fingerprint, token.secret);
}

JoinToken parse_join_token(std::string_view text, const std::string& where) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::kBadInput, fmt::format("no join token: {}", why), where);
  };
  const std::size_t end = text.find_last_not_of(" \r\n");
  std::string_view rest = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
  if (!rest.starts_with(kScheme)) throw bad(fmt::format("it does not begin with {}", kScheme));
  rest.remove_prefix(kScheme.size());
  const auto take_field = [&](std::string_view name) {
    const std::string_view field = take_until(rest, '&');
    if (!field.starts_with(name) || field.size() <= name.size() || field[name.size()] != '=') {
      throw bad(fmt::format("'{}' is missing or not in its place", name));
    }
    return field.substr(name.size() + 1);
  };
  JoinToken token;
  token.address = take_until(rest, '/');
  if (!is_store_address("embedded://" + token.address)) throw bad("the address is no HOST:PORT");
  token.job = take_until(rest, '?');
  if (!is_job_name(token.job)) throw bad("the job's name is none");
  const std::string_view expires = take_field("expires");
  token.fingerprint = take_field("authority");
  token.secret = take_field("secret");
  const auto [stop, error] = std::from_chars(expires.data(), expires.data() + expires.size(), token.expires_s);
  if (error != std::errc{} || stop != expires.data() + expires.size()) {
    throw bad("the expiry is no number of seconds since 1970");
  }
  if (!is_256_bits(token.fingerprint)) {
    throw bad(fmt::format("the authority's fingerprint is not {} lower-case hexadecimal digits", kDigits));
  }
  if (!is_256_bits(token.secret)) {
    throw bad(fmt::format("the secret is not {} lower-case hexadecimal digits; was it cut off?", kDigits));
  }
  if (!rest.empty()) throw bad("something follows the secret");
  return token;
}

}  // namespace concerto
