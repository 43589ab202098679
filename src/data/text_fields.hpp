// Lines taken apart into fields, and the words of messages about them. The complete and slow way: it defines what the
// fast parser must agree with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/error.hpp"

namespace concerto::data {

/// What stands between fields. kSpace is any run of spaces and tabs.
enum class Delimiter : std::uint8_t { kTab, kComma, kDoubleColon, kSpace };

/// The fields of a line without its newline; a carriage return at its end, spaces around fields and, between commas,
/// double quotes around fields are taken off. A line of nothing but white space has no fields.
void split_fields(std::string_view line, Delimiter delimiter, std::vector<std::string_view>& fields);

/// `text` between quotes for a message: printable, at most 40 characters.
[[nodiscard]] std::string quote(std::string_view text);

/// "1 field", "2 fields".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view noun);

/// "FILE:LINE: field N"; `field` 0 leaves the field out.
[[nodiscard]] std::string place(const std::string& file, std::uint64_t line, std::uint64_t field);

}  // namespace concerto::data
