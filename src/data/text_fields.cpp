// Splitting by each delimiter, and quoting.
#include "text_fields.hpp"

#include <fmt/format.h>

namespace concerto::data {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return text.substr(0, 0);
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

void split_spaces(std::string_view line, std::vector<std::string_view>& fields) {
  std::size_t begin = line.find_first_not_of(" \t");
  while (begin != std::string_view::npos) {
    const std::size_t end = line.find_first_of(" \t", begin);
    fields.push_back(line.substr(begin, end == std::string_view::npos ? end : end - begin));
    begin = end == std::string_view::npos ? end : line.find_first_not_of(" \t", end);
  }
}

// The length of a quoted field at the beginning of `rest`, or 0 if none is properly closed before a comma or the end.
std::size_t quoted_length(std::string_view rest) {
  const std::size_t open = rest.find_first_not_of(" \t");
  if (open == std::string_view::npos || rest[open] != '"') return 0;
  std::size_t close = rest.find('"', open + 1);
  while (close != std::string_view::npos && close + 1 < rest.size() && rest[close + 1] == '"') {
    close = rest.find('"', close + 2);
  }
  if (close == std::string_view::npos) return 0;
  const std::size_t next = rest.find_first_not_of(" \t", close + 1);
  if (next == std::string_view::npos) return rest.size();
  return rest[next] == ',' ? next : 0;
}

void split_commas(std::string_view line, std::vector<std::string_view>& fields) {
  for (std::size_t begin = 0;;) {
    const std::string_view rest = line.substr(begin);
    const std::size_t closed = quoted_length(rest);
    const std::size_t length = closed != 0 ? closed : std::min(rest.find(','), rest.size());
    std::string_view field = trimmed(rest.substr(0, length));
    if (closed != 0) field = field.substr(1, field.size() - 2);
    fields.push_back(field);
    if (length == rest.size()) return;
    begin += length + 1;
  }
}

void split_by(std::string_view line, std::string_view delimiter, std::vector<std::string_view>& fields) {
  for (std::size_t begin = 0;;) {
    const std::size_t end = line.find(delimiter, begin);
    fields.push_back(trimmed(line.substr(begin, end == std::string_view::npos ? end : end - begin)));
    if (end == std::string_view::npos) return;
    begin = end + delimiter.size();
  }
}

}  // namespace

void split_fields(std::string_view line, Delimiter delimiter, std::vector<std::string_view>& fields) {
  fields.clear();
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (trimmed(line).empty()) return;
  switch (delimiter) {
    case Delimiter::kSpace:
      return split_spaces(line, fields);
    case Delimiter::kComma:
      return split_commas(line, fields);
    case Delimiter::kTab:
      return split_by(line, "\t", fields);
    case Delimiter::kDoubleColon:
      return split_by(line, "::", fields);
  }
}

std::string quote(std::string_view text) {
  constexpr std::size_t kMost = 40;
  std::string out = "\"";
  for (const char character : text.substr(0, kMost)) {
    const auto code = static_cast<unsigned char>(character);
    if (code >= 0x20 && code < 0x7f) {
      out += character;
    } else {
      out += fmt::format("\\x{:02x}", code);
    }
  }
  out += text.size() > kMost ? "...\"" : "\"";
  return out;
}

std::string counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string place(const std::string& file, std::uint64_t line, std::uint64_t field) {
  return field == 0 ? fmt::format("{}:{}", file, line) : fmt::format("{}:{}: field {}", file, line, field);
}

}  // namespace concerto::data
