// Sweep files: what may stand in each table, and what must hold among tables.
#include "concerto/config/sweep.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <span>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "document.hpp"
#include "keys.hpp"
#include "nearest.hpp"
#include "text.hpp"

namespace concerto {
namespace {

using config::TableNode;
using Member = TableNode::Member;

constexpr std::uint32_t kMostRepeats = 1000;
constexpr std::uint32_t kMostRanks = 4096;
constexpr std::size_t kLongestName = 64;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// What the runner decides for each run.
constexpr std::array<std::string_view, 4> kRunners{"output.model", "output.report", "output.versions",
                                                   "evaluate.every"};
/// And besides, with a network.
constexpr std::array<std::string_view, 3> kRunnersOfNetwork{"cluster.channel_port", "cluster.channel_reached_at",
                                                            "cluster.network_interface"};

[[noreturn]] void fail(const std::string& where, const std::string& message) {
  throw Error(ErrorCode::kBadInput, message, where);
}

/// The members of one table by name, each of a known name.
class Reader {
 public:
  /// `title`: what messages call the table, such as "[[case]]"; empty: the document itself.
  Reader(const TableNode& table, std::string_view title, std::span<const std::string_view> known)
      : table_(table), title_(title) {
    for (const Member& member : table.members) {
      if (std::find(known.begin(), known.end(), member.name) != known.end()) continue;
      fail(member.where, fmt::format("unknown key {}{}; did you mean {}?", member.name,
                                     title.empty() ? std::string() : fmt::format(" of {}", title),
                                     config::nearest_word(member.name, known)));
    }
  }

  [[nodiscard]] const Member* find(std::string_view name) const {
    const auto& all = table_.members;
    const auto found = std::find_if(all.begin(), all.end(), [&](const Member& one) { return one.name == name; });
    return found == all.end() ? nullptr : &*found;
  }
  /// Where a key stands, or its table.
  [[nodiscard]] const std::string& where(std::string_view name) const {
    const Member* member = find(name);
    return member == nullptr ? table_.where : member->where;
  }

  void text(std::string_view name, std::string& value) const {
    const Member* member = find(name);
    if (member == nullptr) return;
    const std::string* given = std::get_if<std::string>(&member->value);
    if (given == nullptr) wrong_type(*member, "text");
    if (given->find('\0') != std::string::npos) fail(member->where, fmt::format("{} has a NUL character in it", name));
    value = *given;
  }

  /// A name, which must be given.
  void required_name(std::string_view name, std::string& value) const {
    text(name, value);
    if (find(name) == nullptr) {
      fail(table_.where,
           fmt::format("{}{} is required", title_.empty() ? std::string() : std::string(title_) + " ", name));
    }
    const bool is_plain = std::all_of(value.begin(), value.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
    if (value.empty() || value.size() > kLongestName || !is_plain) {
      fail(where(name), fmt::format("{} must be 1 to {} letters, digits, '-' and '_', not {}", name, kLongestName,
                                    config::shown(value)));
    }
  }

  void count(std::string_view name, std::uint32_t lowest, std::uint32_t highest, std::uint32_t& value) const {
    const Member* member = find(name);
    if (member == nullptr) return;
    const std::int64_t* number = std::get_if<std::int64_t>(&member->value);
    if (number == nullptr) wrong_type(*member, "a whole number");
    if (*number < lowest || *number > highest) {
      fail(member->where, fmt::format("{} must be from {} to {}, not {}", name, lowest, highest, *number));
    }
    value = static_cast<std::uint32_t>(*number);
  }

  void real(const config::Range& range, std::string_view name, double& value) const {
    const Member* member = find(name);
    if (member == nullptr) return;
    double number = 0.0;
    if (const auto* whole = std::get_if<std::int64_t>(&member->value)) {
      number = static_cast<double>(*whole);
    } else if (const auto* given = std::get_if<double>(&member->value)) {
      number = *given;
    } else {
      wrong_type(*member, "a number");
    }
    const bool above = range.lowest_open ? number > range.lowest : number >= range.lowest;
    const bool below = range.highest_open ? number < range.highest : number <= range.highest;
    if (!(above && below)) {
      fail(member->where, fmt::format("{} must be {}, not {}", name, range.text, config::shown(member->value)));
    }
    value = number;
  }

  /// Texts "table.key=value" with keys that there are and that nobody else sets.
  void settings(std::vector<std::string>& value) const {
    const Member* member = find("settings");
    if (member == nullptr) return;
    const config::List* list = std::get_if<config::List>(&member->value);
    if (list == nullptr) wrong_type(*member, "a list of settings, such as [\"solver.epochs=12\"]");
    for (const config::Scalar& element : *list) {
      const std::string* setting = std::get_if<std::string>(&element);
      if (setting == nullptr) fail(member->where, "settings must be a list of texts; one of them is not text");
      check_setting(*setting, member->where);
      value.push_back(*setting);
    }
  }

  /// The tables of a list of tables; none where it is not given.
  [[nodiscard]] std::span<const TableNode> tables(std::string_view name) const {
    const Member* member = find(name);
    if (member == nullptr) return {};
    const config::List* list = std::get_if<config::List>(&member->value);
    if (list == nullptr || list->size() != member->tables.size()) wrong_type(*member, "a list of tables");
    return member->tables;
  }
  [[nodiscard]] const TableNode* table(std::string_view name) const {
    const Member* member = find(name);
    if (member == nullptr) return nullptr;
    if (!std::holds_alternative<config::TableMark>(member->value)) wrong_type(*member, "a table");
    return &member->tables.front();
  }

 private:
  [[noreturn]] static void wrong_type(const Member& member, std::string_view wanted) {
    const std::string value = config::shown(member.value);
    fail(member.where, fmt::format("{} must be {}, not {}{}", member.name, wanted, config::type_name(member.value),
                                   value.empty() ? std::string() : fmt::format(" ({})", value)));
  }

  static void check_setting(const std::string& setting, const std::string& where) {
    if (setting.find('=') == std::string::npos) {
      fail(where, fmt::format("a setting is written table.key=value, not {}", config::shown(setting)));
    }
    const std::string name = config::override_name(setting);
    const auto tables = config::table_names();
    if (is_decided_by_runner(setting, false)) {
      fail(where, fmt::format("{} is decided by the runner and cannot be set", name));
    }
    const bool is_table = std::find(tables.begin(), tables.end(), name) != tables.end();
    if (is_table || config::find_rule(name) != nullptr || config::is_planned(name)) return;
    fail(where, fmt::format("unknown key {} in a setting; did you mean {}?", name,
                            config::nearest_key(name, config::key_names())));
  }

  const TableNode& table_;
  std::string_view title_;
};

constexpr config::Range kPositive{0.0, kInfinity, true, true, "a finite number above 0"};
constexpr config::Range kNotNegative{0.0, kInfinity, false, true, "a finite number, at least 0"};
constexpr config::Range kShare{0.0, 1.0, true, true, "above 0 and below 1"};

void require_level(const SweepCase& of, const std::string& level, const std::string& where) {
  std::vector<std::string_view> names;
  for (const SweepLevel& one : of.levels) names.push_back(one.name);
  if (std::find(names.begin(), names.end(), level) != names.end()) return;
  fail(where, fmt::format("case {} has no level {}; did you mean {}?", of.name, config::shown(level),
                          config::nearest_word(level, names)));
}

std::vector<SweepLevel> read_levels(const Reader& parent, std::string_view title) {
  static constexpr std::array<std::string_view, 2> kKnown{"name", "settings"};
  std::vector<SweepLevel> levels;
  std::set<std::string> names;
  for (const TableNode& table : parent.tables("level")) {
    const Reader reader(table, title, kKnown);
    SweepLevel level;
    reader.required_name("name", level.name);
    if (!names.insert(level.name).second) {
      fail(reader.where("name"), fmt::format("level {} is there twice", level.name));
    }
    reader.settings(level.settings);
    levels.push_back(std::move(level));
  }
  return levels;
}

SweepLimit read_limit(const TableNode& table, const SweepCase& of) {
  static constexpr std::array<std::string_view, 3> kKnown{"level", "at_most", "aim"};
  const Reader reader(table, "limits", kKnown);
  SweepLimit limit;
  reader.required_name("level", limit.level);
  require_level(of, limit.level, reader.where("level"));
  if (limit.level == of.baseline) {
    fail(reader.where("level"), fmt::format("{} is the baseline, which is held against itself", limit.level));
  }
  if (reader.find("at_most") == nullptr) fail(reader.where("at_most"), "limits at_most is required");
  reader.real(kPositive, "at_most", limit.at_most);
  if (reader.find("aim") != nullptr) {
    reader.real(kPositive, "aim", limit.aim.emplace());
    if (*limit.aim > limit.at_most) {
      fail(reader.where("aim"), fmt::format("aim must be at most at_most ({}), not {}", limit.at_most, *limit.aim));
    }
  }
  return limit;
}

SweepNetwork read_network(const TableNode& table) {
  static constexpr std::array<std::string_view, 3> kKnown{"delay_ms", "jitter_ms", "rate_mbit"};
  const Reader reader(table, "network", kKnown);
  SweepNetwork network;
  reader.real(kNotNegative, "delay_ms", network.delay_ms);
  reader.real(kNotNegative, "jitter_ms", network.jitter_ms);
  reader.real(kNotNegative, "rate_mbit", network.rate_mbit);
  return network;
}

/// The relay's places are the runner's.
void check_network_settings(const std::vector<std::string>& settings, const std::string& where) {
  for (const std::string& setting : settings) {
    if (!is_decided_by_runner(setting, true)) continue;
    fail(where, fmt::format("{} is decided by the runner where a case has a network, and cannot be set",
                            config::override_name(setting)));
  }
}

SweepCase read_case(const TableNode& table, const Sweep& sweep, const std::vector<SweepLevel>& levels) {
  static constexpr std::array<std::string_view, 9> kKnown{"name",     "title",  "about",   "ranks", "settings",
                                                          "baseline", "limits", "network", "level"};
  const Reader reader(table, "[[case]]", kKnown);
  SweepCase one;
  reader.required_name("name", one.name);
  one.title = one.name;
  reader.text("title", one.title);
  reader.text("about", one.about);
  reader.count("ranks", 1, kMostRanks, one.ranks);
  reader.settings(one.settings);
  reader.text("baseline", one.baseline);
  one.levels = read_levels(reader, "[[case.level]]");
  if (one.levels.empty()) one.levels = levels;
  if (one.levels.empty()) {
    fail(table.where, fmt::format("case {} has no levels: give [[case.level]], or [[level]] for all cases", one.name));
  }
  require_level(one, one.baseline, reader.where("baseline"));
  for (const TableNode& limit : reader.tables("limits")) {
    one.limits.push_back(read_limit(limit, one));
    const auto is_same = [&](const SweepLimit& other) { return other.level == one.limits.back().level; };
    if (std::count_if(one.limits.begin(), one.limits.end(), is_same) > 1) {
      fail(reader.where("limits"), fmt::format("level {} has two limits", one.limits.back().level));
    }
  }
  if (const TableNode* network = reader.table("network")) {
    one.network = read_network(*network);
    check_network_settings(sweep.settings, reader.where("network"));
    check_network_settings(one.settings, reader.where("settings"));
    for (const SweepLevel& level : one.levels) check_network_settings(level.settings, reader.where("level"));
  }
  return one;
}

}  // namespace

bool is_decided_by_runner(const std::string& setting, bool has_network) {
  const std::string name = config::override_name(setting);
  const auto is_among = [&](const auto& names) { return std::find(names.begin(), names.end(), name) != names.end(); };
  return is_among(kRunners) || (has_network && is_among(kRunnersOfNetwork));
}

Sweep parse_sweep(std::string_view text, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kKnown{"name",  "about",    "repeats", "target_within",
                                                          "train", "settings", "level",   "case"};
  const TableNode document = config::read_tables(text, name);
  const Reader reader(document, "", kKnown);
  Sweep sweep;
  const auto require = [&](std::string_view key, std::string_view what) {
    if (reader.find(key) == nullptr) {
      fail(std::string(name), fmt::format("{} is required: {}", key, what));
    }
  };
  require("name", "what the sweep is called");
  reader.required_name("name", sweep.name);
  reader.text("about", sweep.about);
  reader.count("repeats", 1, kMostRepeats, sweep.repeats);
  reader.real(kShare, "target_within", sweep.target_within);
  require("train", "the configuration file of each run");
  reader.text("train", sweep.train);
  reader.settings(sweep.settings);
  const std::vector<SweepLevel> levels = read_levels(reader, "[[level]]");
  require("case", "at least one [[case]]");
  std::set<std::string> names;
  for (const TableNode& table : reader.tables("case")) {
    sweep.cases.push_back(read_case(table, sweep, levels));
    if (!names.insert(sweep.cases.back().name).second) {
      fail(table.where, fmt::format("case {} is there twice", sweep.cases.back().name));
    }
  }
  if (sweep.cases.empty()) fail(reader.where("case"), "case is an empty list");
  return sweep;
}

Sweep load_sweep(const std::filesystem::path& file) {
  return parse_sweep(config::read_document_file(file, "sweep"), file.string());
}

}  // namespace concerto
