// The one table of configuration keys: name, kind, limits, place in Config, help. Parsing, defaults, JSON, the
// documentation and the hints for misspelt keys all come from it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "concerto/config/config.hpp"

namespace concerto::config {

/// Any text: a path.
struct TextKey {
  std::string& (*at)(Config&);
};
/// One of a few words.
struct WordKey {
  std::string& (*at)(Config&);
  std::span<const std::string_view> words;
};
/// A metric's name; metrics.hpp knows which there are.
struct MetricKey {
  std::string& (*at)(Config&);
};
struct MetricListKey {
  std::vector<std::string>& (*at)(Config&);
};
struct FlagKey {
  bool& (*at)(Config&);
};
/// A whole number in [lowest, highest].
struct CountKey {
  std::uint32_t& (*at)(Config&);
  std::uint32_t lowest;
  std::uint32_t highest;
};
struct LongCountKey {
  std::uint64_t& (*at)(Config&);
  std::uint64_t highest;
};
/// The numbers a key takes, always finite; `text` says it in messages.
struct Range {
  double lowest;
  double highest;
  bool lowest_open = false;
  bool highest_open = false;
  std::string_view text;
};
struct RealKey {
  double& (*at)(Config&);
  Range range;
};
struct OptionalRealKey {
  std::optional<double>& (*at)(Config&);
  Range range;
};
/// A file's path or a share of the entries.
struct FileOrShareKey {
  std::string& (*file)(Config&);
  double& (*share)(Config&);
  Range range;
};

using KeyKind = std::variant<TextKey, WordKey, MetricKey, MetricListKey, FlagKey, CountKey, LongCountKey, RealKey,
                             OptionalRealKey, FileOrShareKey>;

struct KeyRule {
  std::string_view name;
  KeyKind kind;
  std::string_view help;
};

[[nodiscard]] std::span<const KeyRule> key_rules();
/// The rule of a key, or null.
[[nodiscard]] const KeyRule* find_rule(std::string_view name);
/// The names of all keys.
[[nodiscard]] std::span<const std::string_view> key_names();
/// The tables that hold keys: "data", "data.split", "model", ...
[[nodiscard]] std::span<const std::string_view> table_names();
/// Tables and keys of the design that a later version serves.
[[nodiscard]] bool is_planned(std::string_view name);

}  // namespace concerto::config
