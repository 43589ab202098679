// Answers of etcd's gateway from arbitrary bytes: each parser gives an answer or nothing, whatever the text.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base64.hpp"
#include "gateway.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace concerto::etcd;  // NOLINT
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)parse_range(text);
  (void)parse_revision(text);
  (void)parse_erased(text);
  (void)parse_transaction(text);
  (void)parse_grant(text);
  (void)parse_keep_alive(text);
  (void)parse_token(text);
  (void)parse_error(text);
  (void)parse_watch(text);
  if (const auto bytes = base64_decode(text); bytes && base64_encode(*bytes) != text) std::abort();
  if (base64_decode(base64_encode(text)) != text) std::abort();
  return 0;
}
