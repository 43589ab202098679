// A Config as JSON: the keys of the table in keys.cpp, nested by their names.
#include <fmt/format.h>

#include "concerto/config/config.hpp"

#include "keys.hpp"
#include "text.hpp"
#include "values.hpp"

namespace concerto {
namespace {

std::string_view table_of(std::string_view name) {
  return name.substr(0, name.rfind('.'));
}

/// The members of one table: its keys, then its inner tables, in the order of the rules.
std::string table_json(std::string_view table, const Config& config) {
  std::string members;
  const auto append = [&](std::string_view name, const std::string& value) {
    members += fmt::format("{}{}: {}", members.empty() ? "" : ", ", config::string_literal(name), value);
  };
  for (const config::KeyRule& rule : config::key_rules()) {
    if (table_of(rule.name) == table) append(rule.name.substr(table.size() + 1), config::json_text(rule, config));
  }
  for (const std::string_view inner : config::table_names()) {
    if (inner == table || !inner.starts_with(table) || inner[table.size()] != '.') continue;
    const bool is_absent = inner == "data.split" && !config.data.split;
    append(inner.substr(table.size() + 1), is_absent ? "null" : table_json(inner, config));
  }
  return fmt::format("{{{}}}", members);
}

}  // namespace

std::string config_to_json(const Config& config) {
  const Config resolved = resolve_defaults(config);
  std::string tables;
  for (const std::string_view table : config::table_names()) {
    if (table.find('.') != std::string_view::npos) continue;
    tables +=
        fmt::format("{}{}: {}", tables.empty() ? "" : ", ", config::string_literal(table), table_json(table, resolved));
  }
  return fmt::format("{{{}}}", tables);
}

}  // namespace concerto
