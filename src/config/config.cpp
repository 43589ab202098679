// Text and overrides become a Config: read, name the unknown, assign, check, fill in what follows from other keys.
#include "concerto/config/config.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "checks.hpp"
#include "document.hpp"
#include "keys.hpp"
#include "nearest.hpp"
#include "values.hpp"

namespace concerto {
namespace {

using config::Entry;
using config::KeyRule;

bool is_table_name(std::string_view name) {
  const auto tables = config::table_names();
  return std::find(tables.begin(), tables.end(), name) != tables.end();
}

[[noreturn]] void fail(const Entry& entry, const std::string& message) {
  throw Error(ErrorCode::kBadInput, message, entry.where);
}

[[noreturn]] void reject_unknown(const Entry& entry) {
  const bool is_table = std::holds_alternative<config::TableMark>(entry.value);
  if (config::is_planned(entry.name)) {
    throw Error(ErrorCode::kUnsupported,
                is_table ? fmt::format("table [{}] is not served by this version yet", entry.name)
                         : fmt::format("{} is not served by this version yet", entry.name),
                entry.where);
  }
  if (is_table) {
    fail(entry, fmt::format("unknown table [{}]; did you mean [{}]?", entry.name,
                            config::nearest_word(entry.name, config::table_names())));
  }
  fail(entry, fmt::format("unknown key {}; did you mean {}?", entry.name,
                          config::nearest_key(entry.name, config::key_names())));
}

/// Is it a table that exists? Anything but a table under a table's name, and unknown names, throw.
bool is_known_table(const Entry& entry) {
  const bool is_table = std::holds_alternative<config::TableMark>(entry.value);
  if (is_table_name(entry.name)) {
    if (!is_table) fail(entry, fmt::format("{} must be a table, not {}", entry.name, config::type_name(entry.value)));
    return true;
  }
  if (config::find_rule(entry.name) == nullptr) reject_unknown(entry);
  if (is_table) fail(entry, fmt::format("{} is a key, not a table", entry.name));
  return false;
}

/// The given keys by name, overrides last: later entries replace earlier ones, resets remove them.
class Given {
 public:
  void add(const Entry& entry) {
    if (is_known_table(entry)) {
      if (entry.name.find('.') != std::string::npos) places_.insert_or_assign(entry.name, entry.where);
      return;
    }
    remove(entry.name);
    entries_.push_back(entry);
    const std::string* text = std::get_if<std::string>(&entry.value);
    if (text == nullptr || !text->empty()) places_.insert_or_assign(entry.name, entry.where);
  }

  void add_override(const std::string& text) {
    const std::string name = config::override_name(text);
    const KeyRule* rule = config::find_rule(name);
    if (config::is_reset(text)) {
      const Entry reset{.name = name, .value = {}, .where = config::override_place(text), .line = 0};
      if (rule == nullptr && !is_table_name(name)) reject_unknown(reset);
      remove(name);
      return;
    }
    const auto bare_words = rule == nullptr ? config::BareWords::kValue : config::bare_words_of(*rule);
    for (const Entry& entry : config::read_override(text, bare_words)) add(entry);
    add_parent_table(name, config::override_place(text));
  }

  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }
  [[nodiscard]] const config::Places& places() const noexcept { return places_; }

 private:
  /// data.split.test given alone gives data.split.
  void add_parent_table(const std::string& name, const std::string& where) {
    const std::string parent = name.substr(0, name.rfind('.'));
    if (parent.find('.') != std::string::npos) places_.try_emplace(parent, where);
  }

  void remove(const std::string& name) {
    const auto is_within = [&](const std::string& other) { return other == name || other.starts_with(name + "."); };
    std::erase_if(entries_, [&](const Entry& entry) { return is_within(entry.name); });
    std::erase_if(places_, [&](const auto& place) { return is_within(place.first); });
  }

  std::vector<Entry> entries_;
  config::Places places_;
};

}  // namespace

Config resolve_defaults(Config config) {
  ModelConfig& model = config.model;
  const bool is_implicit = model.objective == "implicit";
  if (config.data.duplicates.empty()) config.data.duplicates = is_implicit ? "sum" : "last";
  if (model.biases && !model.bias_regularization) model.bias_regularization = model.regularization;
  if (!model.regularization_exponent) model.regularization_exponent = model.alpha ? 0.0 : 1.0;
  if (is_implicit && !model.alpha && !model.unobserved_weight) model.unobserved_weight = 0.1;
  if (is_implicit && model.alpha) model.values = "weight";
  if (config.evaluate.metrics.empty()) {
    config.evaluate.metrics =
        is_implicit ? std::vector<std::string>{"recall@20", "ndcg@20"} : std::vector<std::string>{"rmse", "mae"};
  }
  if (config.solver.stop_after > 0 && config.solver.stop_metric.empty()) {
    config.solver.stop_metric = config.evaluate.metrics.front();
  }
  return config;
}

Config parse_config(std::string_view text, std::string_view name, const std::vector<std::string>& overrides,
                    ConfigUse use) {
  Given given;
  for (const Entry& entry : config::read_document(text, name)) given.add(entry);
  for (const std::string& one : overrides) given.add_override(one);
  Config result;
  for (const Entry& entry : given.entries()) config::assign(*config::find_rule(entry.name), entry, result);
  config::check_consistent(result, given.places());
  if (use == ConfigUse::kTraining) config::check_complete(result, name);
  return resolve_defaults(std::move(result));
}

Config load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides, ConfigUse use) {
  return parse_config(config::read_document_file(file, "configuration"), file.string(), overrides, use);
}

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> kKeys = [] {
    std::vector<ConfigKey> keys;
    for (const KeyRule& rule : config::key_rules()) {
      const bool is_share = rule.name == "data.split.test";  // no share is the default: the key is required there
      keys.push_back({std::string(rule.name), is_share ? std::string() : config::toml_text(rule, Config{}),
                      std::string(rule.help)});
    }
    return keys;
  }();
  return kKeys;
}

}  // namespace concerto
