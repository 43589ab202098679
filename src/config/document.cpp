// Reads TOML with toml++ and flattens it. Limits on size and line length bound the depth of nesting, which toml++ walks
// recursively.
#include "document.hpp"

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"

#include "text.hpp"

namespace concerto::config {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 20;
constexpr std::size_t kMostLineBytes = 8192;
constexpr std::size_t kMostShown = 80;  // of a text in a message

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

Scalar scalar_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::boolean:
      return node.as_boolean()->get();
    case toml::node_type::integer:
      return node.as_integer()->get();
    case toml::node_type::floating_point:
      return node.as_floating_point()->get();
    case toml::node_type::string:
      return node.as_string()->get();
    case toml::node_type::array:
      return Foreign{"a list"};
    case toml::node_type::table:
      return Foreign{"a table"};
    default:
      return Foreign{"a date or time"};
  }
}

Value value_of(const toml::node& node) {
  if (node.is_table()) return TableMark{};
  if (const toml::array* array = node.as_array()) {
    List list;
    for (const toml::node& element : *array) list.push_back(scalar_of(element));
    return list;
  }
  return std::visit([](auto&& scalar) -> Value { return std::forward<decltype(scalar)>(scalar); }, scalar_of(node));
}

/// Tables within tables are followed no deeper than this: no key lies so deep, and their outermost unknown is what
/// messages name.
constexpr int kDeepest = 4;

void flatten(const toml::table& table, const std::string& prefix, int depth, std::vector<Entry>& entries) {
  for (const auto& [key, node] : table) {
    const std::string part = key_text(key.str());
    const std::string name = prefix.empty() ? part : fmt::format("{}.{}", prefix, part);
    entries.push_back({.name = name, .value = value_of(node), .where = {}, .line = key.source().begin.line});
    const toml::table* inner = node.as_table();
    if (inner != nullptr && depth < kDeepest) flatten(*inner, name, depth + 1, entries);
  }
}

void check_size(std::string_view text, std::string_view name) {
  if (text.size() > kMostBytes) {
    throw Error(ErrorCode::kBadInput, fmt::format("{} bytes are too many for a configuration", text.size()),
                std::string(name));
  }
  std::size_t line = 1;
  for (std::size_t begin = 0; begin < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (end - begin > kMostLineBytes) {
      throw Error(ErrorCode::kBadInput, fmt::format("a line of more than {} bytes", kMostLineBytes),
                  fmt::format("{}:{}", name, line));
    }
    begin = end + 1;
  }
}

TableNode tree_of(const toml::table& table, std::string_view name, int depth) {
  TableNode tree{.members = {}, .where = fmt::format("{}:{}", name, table.source().begin.line)};
  for (const auto& [key, node] : table) {
    const std::uint32_t line = key.source().begin.line;
    TableNode::Member member{.name = key_text(key.str()),
                             .value = value_of(node),
                             .tables = {},
                             .where = fmt::format("{}:{}", name, line),
                             .line = line};
    if (depth < kDeepest) {
      if (const toml::table* inner = node.as_table()) member.tables.push_back(tree_of(*inner, name, depth + 1));
      if (const toml::array* array = node.as_array(); array != nullptr && array->is_homogeneous<toml::table>()) {
        for (const toml::node& element : *array) {
          member.tables.push_back(tree_of(*element.as_table(), name, depth + 1));
        }
      }
    }
    tree.members.push_back(std::move(member));
  }
  std::stable_sort(tree.members.begin(), tree.members.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
  return tree;
}

/// Error{kBadInput} with file, line and column.
toml::table parse_document(std::string_view text, std::string_view name) {
  check_size(text, name);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    const toml::source_position& at = error.source().begin;
    throw Error(ErrorCode::kBadInput, one_line(error.description()), fmt::format("{}:{}:{}", name, at.line, at.column));
  }
}

/// The value of an override as TOML reads it, or nothing where it is not TOML.
std::optional<toml::table> parse_value(std::string_view value) {
  try {
    toml::table table = toml::parse(fmt::format("value = {}", value));
    if (table.size() != 1) return std::nullopt;
    return table;
  } catch (const toml::parse_error&) {
    return std::nullopt;
  }
}

List comma_list(std::string_view text) {
  List list;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    list.emplace_back(std::string(trimmed(text.substr(begin, end - begin))));
    begin = end + 1;
  }
  return list;
}

}  // namespace

std::string type_name(const Value& value) {
  struct Namer {
    std::string operator()(bool) const { return "true or false"; }
    std::string operator()(std::int64_t) const { return "a whole number"; }
    std::string operator()(double) const { return "a number"; }
    std::string operator()(const std::string&) const { return "text"; }
    std::string operator()(const Foreign& foreign) const { return foreign.type; }
    std::string operator()(const List&) const { return "a list"; }
    std::string operator()(const TableMark&) const { return "a table"; }
  };
  return std::visit(Namer{}, value);
}

std::string shown(const Value& value) {
  struct Shower {
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::int64_t number) const { return fmt::format("{}", number); }
    std::string operator()(double number) const {
      std::string text = fmt::format("{}", number);
      return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
    }
    std::string operator()(const std::string& text) const {
      return string_literal(text.size() > kMostShown ? text.substr(0, kMostShown) + "..." : text);
    }
    std::string operator()(const Foreign&) const { return {}; }
    std::string operator()(const List&) const { return {}; }
    std::string operator()(const TableMark&) const { return {}; }
  };
  return std::visit(Shower{}, value);
}

std::vector<Entry> read_document(std::string_view text, std::string_view name) {
  std::vector<Entry> entries;
  flatten(parse_document(text, name), {}, 1, entries);
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.line < b.line; });
  for (Entry& entry : entries) entry.where = fmt::format("{}:{}", name, entry.line);
  return entries;
}

TableNode read_tables(std::string_view text, std::string_view name) {
  return tree_of(parse_document(text, name), name, 1);
}

std::string read_document_file(const std::filesystem::path& file, std::string_view what) {
  const std::string name = file.string();
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) {
    throw Error(ErrorCode::kBadInput, fmt::format("there is no such {} file", what), name);
  }
  if (std::filesystem::is_directory(status)) throw Error(ErrorCode::kBadInput, "is a directory, not a file", name);
  const std::uintmax_t bytes = std::filesystem::file_size(file, error);
  if (!error && bytes > kMostBytes) {
    throw Error(ErrorCode::kBadInput, fmt::format("{} bytes are too many for a {}", bytes, what), name);
  }
  return read_file(file);
}

std::string override_place(std::string_view text) {
  return fmt::format("--set {}", one_line(text));
}

std::string override_name(const std::string& text) {
  const std::string_view name = trimmed(std::string_view(text).substr(0, text.find('=')));
  if (text.find('=') == std::string::npos || name.empty()) {
    throw Error(ErrorCode::kBadInput, "an override is written table.key=value", override_place(text));
  }
  return one_line(name);
}

bool is_reset(const std::string& text) {
  return trimmed(std::string_view(text).substr(text.find('=') + 1)).empty();
}

std::vector<Entry> read_override(const std::string& text, BareWords bare_words) {
  const std::string where = override_place(text);
  check_size(text, where);
  Entry entry{.name = override_name(text), .value = {}, .where = where, .line = 0};
  const std::string_view written = trimmed(std::string_view(text).substr(text.find('=') + 1));
  const bool is_bare = written.find_first_of("\"'[{") != 0;
  if (is_bare && bare_words == BareWords::kText) {
    entry.value = std::string(written);
    return {entry};
  }
  if (is_bare && bare_words == BareWords::kList) {
    entry.value = comma_list(written);
    return {entry};
  }
  const std::optional<toml::table> table = parse_value(written);
  if (!table && !is_bare) throw Error(ErrorCode::kBadInput, "the value is not valid TOML", where);
  if (!table || (is_bare && std::holds_alternative<Foreign>(value_of(*table->get("value"))))) {
    entry.value = std::string(written);
    return {entry};
  }
  const toml::node& node = *table->get("value");
  entry.value = value_of(node);
  std::vector<Entry> entries{entry};
  if (const toml::table* inner = node.as_table()) flatten(*inner, entry.name, 2, entries);
  for (Entry& one : entries) one.where = where;
  return entries;
}

}  // namespace concerto::config
