// The manifest as JSON. The last member is a checksum of all text before it, so that damage to the manifest itself is
// found; it is checked on the text, before any value is believed.
#include "manifest.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"

namespace concerto::model {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "concerto-model";
constexpr std::uint64_t kFormatVersion = 2;  // 2: files of rows have a checksum for each piece
constexpr std::uint64_t kOldestVersion = 1;
constexpr std::string_view kChecksumMember = ",\n  \"manifest_checksum\": \"";
constexpr std::string_view kTextEnd = "\"\n}\n";
constexpr std::size_t kChecksumDigits = 16;  // of each checksum, the manifest's own and those of pieces
constexpr int kDeepest = 64;                 // of nesting; printing is recursive

constexpr std::array<std::pair<ObjectiveKind, std::string_view>, 3> kKinds{
    {{ObjectiveKind::kExplicit, "explicit"},
     {ObjectiveKind::kImplicitUnobserved, "implicit_unobserved"},
     {ObjectiveKind::kImplicitAlpha, "implicit_alpha"}}};
constexpr std::array<std::pair<Confidence, std::string_view>, 2> kConfidences{
    {{Confidence::kOnePlus, "one_plus"}, {Confidence::kProduct, "product"}}};

template <class Names, class Value>
std::string_view name_of(const Names& names, Value value) {
  for (const auto& [one, name] : names) {
    if (one == value) return name;
  }
  return {};
}

std::string checksum_of(std::string_view text) {
  return checksum_text(checksum(std::as_bytes(std::span(text.data(), text.size()))));
}

Json parse_json(std::string_view text, std::string_view where) {
  const auto bounded = [&](int depth, nlohmann::json::parse_event_t, const Json&) {
    if (depth > kDeepest) throw Error(ErrorCode::kCorrupt, "is nested too deeply", std::string(where));
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), bounded);
  } catch (const Json::exception&) {
    throw Error(ErrorCode::kCorrupt, "is not valid JSON: truncated or altered", std::string(where));
  }
}

/// A member of a JSON object with its path for messages; every access is checked.
class Member {
 public:
  Member(const Json& value, std::string path, std::string_view where)
      : value_(value), path_(std::move(path)), where_(where) {}

  [[nodiscard]] Member at(const char* name) const {
    if (!value_.is_object() || !value_.contains(name)) fail(fmt::format("has no \"{}\"", name));
    return {value_[name], path_.empty() ? name : fmt::format("{}.{}", path_, name), where_};
  }

  [[nodiscard]] std::uint64_t count(std::uint64_t highest) const {
    if (!value_.is_number_unsigned()) fail("must be a whole number");
    const auto number = value_.get<std::uint64_t>();
    if (number > highest) fail(fmt::format("must be at most {}, not {}", highest, number));
    return number;
  }

  [[nodiscard]] double real() const {
    if (!value_.is_number()) fail("must be a number");
    const auto number = value_.get<double>();
    if (!std::isfinite(number)) fail("must be finite");
    return number;
  }

  [[nodiscard]] double not_negative() const {
    const double number = real();
    if (number < 0.0) fail("must not be negative");
    return number;
  }

  [[nodiscard]] float single() const {
    const double number = real();
    if (std::fabs(number) > std::numeric_limits<float>::max()) fail("must fit in 32 bits");
    return static_cast<float>(number);
  }

  [[nodiscard]] bool flag() const {
    if (!value_.is_boolean()) fail("must be true or false");
    return value_.get<bool>();
  }

  [[nodiscard]] std::string text() const {
    if (!value_.is_string()) fail("must be text");
    return value_.get<std::string>();
  }

  /// Checksums, one after another, sixteen lower-case digits each.
  [[nodiscard]] std::vector<std::uint64_t> checksums() const {
    const std::string digits = text();
    if (digits.size() % kChecksumDigits != 0) fail("must be checksums of 16 digits each");
    std::vector<std::uint64_t> values(digits.size() / kChecksumDigits);
    for (std::size_t k = 0; k < values.size(); ++k) {
      const char* begin = digits.data() + k * kChecksumDigits;
      const auto [end, status] = std::from_chars(begin, begin + kChecksumDigits, values[k], 16);
      if (status != std::errc{} || end != begin + kChecksumDigits) fail("must be checksums of 16 digits each");
    }
    return values;
  }

  [[nodiscard]] bool has(const char* name) const { return value_.is_object() && value_.contains(name); }

  /// An object, as text of its own.
  [[nodiscard]] std::string object_text() const {
    if (!value_.is_object()) fail("must be an object");
    return value_.dump();
  }

  template <class Names>
  [[nodiscard]] auto word(const Names& names) const {
    const std::string wanted = text();
    for (const auto& [one, name] : names) {
      if (name == wanted) return one;
    }
    fail(fmt::format("has an unknown value \"{}\"", wanted));
  }

  template <class Body>
  void for_each(const Body& body) const {
    if (!value_.is_object()) fail("must be an object");
    for (const auto& [name, value] : value_.items())
      body(name, Member(value, fmt::format("{}.{}", path_, name), where_));
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::kCorrupt, path_.empty() ? problem : fmt::format("{} {}", path_, problem),
                std::string(where_));
  }

  const Json& value_;
  std::string path_;
  std::string_view where_;
};

Json objective_json(const Objective& objective) {
  Json json;
  json["kind"] = name_of(kKinds, objective.kind);
  json["regularization"] = objective.regularization;
  json["regularization_exponent"] = objective.regularization_exponent;
  json["biases"] = objective.biases;
  json["bias_regularization"] = objective.bias_regularization;
  json["mean"] = objective.mean;
  json["unobserved_weight"] = objective.unobserved_weight;
  json["alpha"] = objective.alpha;
  json["confidence"] = name_of(kConfidences, objective.confidence);
  return json;
}

Objective objective_from(const Member& json) {
  return {.kind = json.at("kind").word(kKinds),
          .regularization = json.at("regularization").not_negative(),
          .regularization_exponent = json.at("regularization_exponent").real(),
          .biases = json.at("biases").flag(),
          .bias_regularization = json.at("bias_regularization").not_negative(),
          .mean = json.at("mean").real(),
          .unobserved_weight = json.at("unobserved_weight").not_negative(),
          .alpha = json.at("alpha").not_negative(),
          .confidence = json.at("confidence").word(kConfidences)};
}

/// JSON that a caller hands over as text; what is no object is a bug of the caller.
Json embedded(const std::string& text) {
  Json json = text.empty() ? Json::object() : Json::parse(text, nullptr, false);
  CONCERTO_CHECK(json.is_object(), "a model's configuration and metrics are JSON objects");
  return json;
}

Json file_json(const FileRecord& file) {
  std::string checksums;
  for (const std::uint64_t value : file.checksums) checksums += checksum_text(value);
  if (file.piece_bytes == 0) return {{"bytes", file.bytes}, {"checksum", checksums}};
  return {{"bytes", file.bytes}, {"piece_bytes", file.piece_bytes}, {"checksums", checksums}};
}

FileRecord file_from(const std::string& name, const Member& json) {
  constexpr std::uint64_t kAny = std::numeric_limits<std::uint64_t>::max();
  FileRecord file{name, json.at("bytes").count(kAny), 0, {}};
  if (json.has("piece_bytes")) file.piece_bytes = json.at("piece_bytes").count(kAny / 2);
  file.checksums = json.at(file.piece_bytes == 0 ? "checksum" : "checksums").checksums();
  return file;
}

Json checked_version(std::string_view text, std::string_view where) {
  Json json = parse_json(text, where);
  const Member top(json, {}, where);
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat) {
    throw Error(ErrorCode::kBadInput, "is not the manifest of a model", std::string(where));
  }
  const std::uint64_t version = top.at("format_version").count(std::numeric_limits<std::uint64_t>::max());
  if (version < kOldestVersion || version > kFormatVersion) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("model format version {}; this program reads versions {} to {}", version, kOldestVersion,
                            kFormatVersion),
                std::string(where));
  }
  return json;
}

void check_checksum(std::string_view text, std::string_view where) {
  const std::size_t tail = kChecksumMember.size() + kChecksumDigits + kTextEnd.size();
  if (text.size() > tail) {
    const std::string_view body = text.substr(0, text.size() - tail);
    if (text.substr(body.size()) == fmt::format("{}{}{}", kChecksumMember, checksum_of(body), kTextEnd)) return;
  }
  throw Error(ErrorCode::kCorrupt, "was altered: its checksum does not match", std::string(where));
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
  Json json;
  json["format"] = kFormat;
  json["format_version"] = kFormatVersion;
  json["users"] = manifest.users;
  json["items"] = manifest.items;
  json["rank"] = manifest.rank;
  json["objective"] = objective_json(manifest.objective);
  json["values_ignored"] = manifest.values_ignored;
  json["lowest_value"] = manifest.lowest_value;
  json["highest_value"] = manifest.highest_value;
  json["config"] = embedded(manifest.config_json);
  json["metrics"] = embedded(manifest.metrics_json);
  json["files"] = Json::object();
  for (const FileRecord& file : manifest.files) {
    json["files"][file.name] = file_json(file);
  }
  std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  text.resize(text.size() - std::string_view("\n}").size());
  return fmt::format("{}{}{}{}", text, kChecksumMember, checksum_of(text), kTextEnd);
}

Manifest parse_manifest(std::string_view text, std::string_view where) {
  const Json json = checked_version(text, where);
  check_checksum(text, where);
  const Member top(json, {}, where);
  Manifest manifest{.users = static_cast<RowIndex>(top.at("users").count(kMaxRows)),
                    .items = static_cast<RowIndex>(top.at("items").count(kMaxRows)),
                    .rank = static_cast<std::uint32_t>(top.at("rank").count(kHighestRank)),
                    .objective = objective_from(top.at("objective")),
                    .values_ignored = top.at("values_ignored").flag(),
                    .lowest_value = top.at("lowest_value").single(),
                    .highest_value = top.at("highest_value").single(),
                    .config_json = top.at("config").object_text(),
                    .metrics_json = top.at("metrics").object_text(),
                    .files = {}};
  if (manifest.rank == 0) throw Error(ErrorCode::kCorrupt, "rank must be at least 1", std::string(where));
  top.at("files").for_each(
      [&](const std::string& name, const Member& file) { manifest.files.push_back(file_from(name, file)); });
  return manifest;
}

void check_manifest_version(std::string_view text, std::string_view where) {
  (void)checked_version(text, where);
}

}  // namespace concerto::model
