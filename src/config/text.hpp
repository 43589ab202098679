// Text made safe to print: as a string literal, and as part of a message that must stay one line.
#pragma once

#include <string>
#include <string_view>

namespace concerto::config {

/// Text as a JSON string: quoted, control characters and quotes escaped, invalid UTF-8 replaced. It is a TOML string
/// too.
[[nodiscard]] std::string string_literal(std::string_view text);

/// Text without control characters: each is a question mark.
[[nodiscard]] std::string one_line(std::string_view text);

/// A key as it stands in a TOML file: bare where it may be, else quoted.
[[nodiscard]] std::string key_text(std::string_view key);

}  // namespace concerto::config
