// One overload a kind of key, for reading and for printing.
#include "values.hpp"

#include <cmath>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/train/metrics.hpp"

#include "nearest.hpp"
#include "text.hpp"

namespace concerto::config {
namespace {

/// "64" as "64", 65536 as "65,536".
std::string grouped(std::uint64_t number) {
  std::string text = fmt::format("{}", number);
  for (std::size_t place = text.size(); place > 3; place -= 3) text.insert(place - 3, ",");
  return text;
}

class Reader {
 public:
  Reader(const KeyRule& rule, const Entry& entry, Config& config) : rule_(rule), entry_(entry), config_(config) {}

  void operator()(const TextKey& key) const { key.at(config_) = text("text"); }

  void operator()(const WordKey& key) const {
    const std::string& word = text("text");
    for (const std::string_view known : key.words) {
      if (word == known) {
        key.at(config_) = word;
        return;
      }
    }
    fail(fmt::format("{} is not one of {}; did you mean \"{}\"?", shown(entry_.value), fmt::join(key.words, ", "),
                     nearest_word(word, key.words)));
  }

  void operator()(const MetricKey& key) const { key.at(config_) = metric(text("a metric's name")); }

  void operator()(const MetricListKey& key) const {
    const List* list = std::get_if<List>(&entry_.value);
    if (list == nullptr) wrong_type("a list of metrics, such as [\"rmse\"]");
    std::vector<std::string> metrics;
    for (const Scalar& element : *list) {
      const std::string* name = std::get_if<std::string>(&element);
      if (name == nullptr) fail("must be a list of metrics' names; one of them is not text");
      metrics.push_back(metric(*name));
    }
    key.at(config_) = std::move(metrics);
  }

  void operator()(const FlagKey& key) const {
    const bool* flag = std::get_if<bool>(&entry_.value);
    if (flag == nullptr) wrong_type("true or false");
    key.at(config_) = *flag;
  }

  void operator()(const CountKey& key) const {
    key.at(config_) = static_cast<std::uint32_t>(count(key.lowest, key.highest));
  }
  void operator()(const LongCountKey& key) const { key.at(config_) = count(0, key.highest); }
  void operator()(const RealKey& key) const { key.at(config_) = real(key.range, "a number"); }
  void operator()(const OptionalRealKey& key) const { key.at(config_) = real(key.range, "a number"); }

  void operator()(const FileOrShareKey& key) const {
    key.file(config_).clear();
    key.share(config_) = 0.0;
    if (const std::string* file = std::get_if<std::string>(&entry_.value)) {
      key.file(config_) = *file;
    } else {
      key.share(config_) = real(key.range, "a file's name or a share");
    }
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::kBadInput, fmt::format("{} {}", rule_.name, problem), entry_.where);
  }

  [[noreturn]] void wrong_type(std::string_view wanted) const {
    const std::string value = shown(entry_.value);
    fail(fmt::format("must be {}, not {}{}", wanted, type_name(entry_.value),
                     value.empty() ? std::string() : fmt::format(" ({})", value)));
  }

  [[nodiscard]] const std::string& text(std::string_view wanted) const {
    const std::string* found = std::get_if<std::string>(&entry_.value);
    if (found == nullptr) wrong_type(wanted);
    if (found->find('\0') != std::string::npos) fail("has a NUL character in it");
    return *found;
  }

  [[nodiscard]] const std::string& metric(const std::string& name) const {
    try {
      (void)parse_metric(name);
    } catch (const Error& error) {
      fail(fmt::format("is wrong: {}", one_line(error.what())));
    }
    return name;
  }

  [[nodiscard]] std::uint64_t count(std::uint64_t lowest, std::uint64_t highest) const {
    const std::int64_t* number = std::get_if<std::int64_t>(&entry_.value);
    if (number == nullptr) wrong_type("a whole number");
    if (*number < 0 || static_cast<std::uint64_t>(*number) < lowest || static_cast<std::uint64_t>(*number) > highest) {
      fail(fmt::format("must be from {} to {}, not {}", lowest, grouped(highest), *number));
    }
    return static_cast<std::uint64_t>(*number);
  }

  [[nodiscard]] double real(const Range& range, std::string_view wanted) const {
    double number = 0.0;
    if (const auto* whole = std::get_if<std::int64_t>(&entry_.value)) {
      number = static_cast<double>(*whole);
    } else if (const auto* real = std::get_if<double>(&entry_.value)) {
      number = *real;
    } else {
      wrong_type(wanted);
    }
    const bool above = range.lowest_open ? number > range.lowest : number >= range.lowest;
    const bool below = range.highest_open ? number < range.highest : number <= range.highest;
    if (!(above && below)) fail(fmt::format("must be {}, not {}", range.text, shown(entry_.value)));
    return number;
  }

  const KeyRule& rule_;
  const Entry& entry_;
  Config& config_;
};

/// Numbers and texts look the same in TOML and JSON.
class Printer {
 public:
  explicit Printer(Config& config) : config_(config) {}

  std::string operator()(const TextKey& key) const { return text(key.at(config_)); }
  std::string operator()(const WordKey& key) const { return text(key.at(config_)); }
  std::string operator()(const MetricKey& key) const { return text(key.at(config_)); }
  std::string operator()(const MetricListKey& key) const {
    std::string list;
    for (const std::string& name : key.at(config_)) list += (list.empty() ? "" : ", ") + string_literal(name);
    return list.empty() ? list : fmt::format("[{}]", list);
  }
  std::string operator()(const FlagKey& key) const { return key.at(config_) ? "true" : "false"; }
  std::string operator()(const CountKey& key) const { return fmt::format("{}", key.at(config_)); }
  std::string operator()(const LongCountKey& key) const { return fmt::format("{}", key.at(config_)); }
  std::string operator()(const RealKey& key) const { return real(key.at(config_)); }
  std::string operator()(const OptionalRealKey& key) const {
    const std::optional<double>& number = key.at(config_);
    return number ? real(*number) : std::string();
  }
  std::string operator()(const FileOrShareKey& key) const {
    if (!key.file(config_).empty()) return string_literal(key.file(config_));
    return key.share(config_) != 0.0 ? real(key.share(config_)) : std::string();
  }

 private:
  static std::string text(const std::string& value) { return value.empty() ? value : string_literal(value); }
  static std::string real(double number) { return std::isfinite(number) ? shown(Value(number)) : std::string(); }

  Config& config_;
};

}  // namespace

void assign(const KeyRule& rule, const Entry& entry, Config& config) {
  std::visit(Reader(rule, entry, config), rule.kind);
}

BareWords bare_words_of(const KeyRule& rule) {
  if (std::holds_alternative<MetricListKey>(rule.kind)) return BareWords::kList;
  const bool is_text = std::holds_alternative<TextKey>(rule.kind) || std::holds_alternative<WordKey>(rule.kind) ||
                       std::holds_alternative<MetricKey>(rule.kind);
  return is_text ? BareWords::kText : BareWords::kValue;
}

std::string toml_text(const KeyRule& rule, const Config& config) {
  Config copy = config;  // the rules' accessors give references to change
  return std::visit(Printer(copy), rule.kind);
}

std::string json_text(const KeyRule& rule, const Config& config) {
  std::string text = toml_text(rule, config);
  return text.empty() ? "null" : text;
}

}  // namespace concerto::config
