// Base64 (RFC 4648, section 4, with padding): how etcd's JSON gateway carries bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace concerto::etcd {

[[nodiscard]] std::string base64_encode(std::string_view bytes);
/// Nothing for anything that base64_encode does not write.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace concerto::etcd
