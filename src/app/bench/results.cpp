// Results as JSON, and reports from JSON.
#include "results.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "concerto/base/error.hpp"

namespace concerto::bench {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json spread_json(const std::optional<Spread>& spread) {
  if (!spread) return nullptr;
  return {{"median", spread->median}, {"low", spread->low}, {"high", spread->high}};
}

const char* ended_text(Ended ended) {
  switch (ended) {
    case Ended::kDone:
      return "done";
    case Ended::kVoid:
      return "void";
    default:
      return "failed";
  }
}

Json lag_json(const std::optional<LagFacts>& lag) {
  if (!lag) return nullptr;
  return {{"histogram", lag->histogram}, {"max", lag->max}, {"at_most", lag->at_most}};
}

Json visibility_json(const std::optional<VisibilityFacts>& visibility) {
  if (!visibility) return nullptr;
  return {{"p50", visibility->p50_ms}, {"p99", visibility->p99_ms}, {"samples", visibility->samples}};
}

Json run_json(const RunRecord& run) {
  const RunFacts& facts = run.facts;
  Json json;
  json["repeat"] = run.repeat;
  json["ended"] = ended_text(run.ended);
  json["why"] = run.why;
  const bool has_facts = run.ended != Ended::kFailed;
  json["seconds"] = has_facts ? Json(facts.seconds) : Json(nullptr);
  json["final_metric"] = has_facts ? Json(facts.final_metric) : Json(nullptr);
  json["time_to_target"] = or_null(run.time_to_target);
  json["ratio"] = or_null(run.ratio);
  json["curve"] = Json::array();
  for (const CurvePoint& point : run.curve) json["curve"].push_back({point.seconds, point.metric});
  json["epochs"] = facts.epochs;
  const auto error = std::max_element(facts.pacing_errors.begin(), facts.pacing_errors.end());
  json["pacing_error"] = error == facts.pacing_errors.end() ? Json(nullptr) : Json(*error);
  json["compute_seconds"] = facts.compute_seconds;
  json["blocked_seconds"] = facts.blocked_seconds;
  json["bytes_by_kind"] = Json::object();
  for (const auto& [kind, bytes] : facts.bytes_by_kind) json["bytes_by_kind"][kind] = bytes;
  json["lag"] = lag_json(facts.lag);
  json["visibility_ms"] = visibility_json(facts.visibility);
  json["consistency_index"] = Json::array();
  for (const auto& [seconds, index] : facts.consistency_index) json["consistency_index"].push_back({seconds, index});
  return json;
}

Json level_json(const LevelRecord& level) {
  Json json;
  json["name"] = level.level.name;
  json["level"] = level.consistency;
  json["max_lag"] = or_null(level.max_lag);
  json["settings"] = level.level.settings;
  json["runs"] = Json::array();
  for (const RunRecord& run : level.runs) json["runs"].push_back(run_json(run));
  const LevelSummary& summary = level.summary;
  json["summary"] = {{"runs", summary.done},
                     {"void", summary.voids},
                     {"failed", summary.failed},
                     {"ratio", spread_json(summary.ratio)},
                     {"time_to_target", spread_json(summary.time_to_target)},
                     {"final_metric", spread_json(summary.final_metric)},
                     {"quality_difference", or_null(summary.quality_difference)},
                     {"bytes", or_null(summary.bytes)},
                     {"within_limit", or_null(summary.within_limit)}};
  return json;
}

Json network_json(const std::optional<SweepNetwork>& network) {
  if (!network) return nullptr;
  return {{"delay_ms", network->delay_ms}, {"jitter_ms", network->jitter_ms}, {"rate_mbit", network->rate_mbit}};
}

Json limits_json(const std::vector<SweepLimit>& limits) {
  Json json = Json::array();
  for (const SweepLimit& limit : limits) {
    Json one = {{"level", limit.level}, {"at_most", limit.at_most}};
    if (limit.aim) one["aim"] = *limit.aim;
    json.push_back(one);
  }
  return json;
}

Json case_json(const CaseRecord& record) {
  Json json;
  json["name"] = record.of.name;
  json["title"] = record.of.title;
  json["about"] = record.of.about;
  json["ranks"] = record.of.ranks;
  json["data"] = record.data;
  json["metric"] = record.metric;
  json["smaller_is_better"] = record.smaller_is_better;
  json["solver"] = record.solver;
  json["epochs"] = record.epochs;
  json["baseline"] = record.of.baseline;
  json["network"] = network_json(record.of.network);
  json["stragglers"] = nullptr;
  if (const auto& slow = record.stragglers) {
    json["stragglers"] = {{"ranks", slow->ranks}, {"factor", slow->factor}, {"share", slow->share}};
  }
  json["pace"] = record.pace;
  json["encrypted"] = record.encrypted;
  json["limits"] = limits_json(record.of.limits);
  json["compute_to_bytes"] = or_null(record.compute_to_bytes);
  json["levels"] = Json::array();
  for (const LevelRecord& level : record.levels) json["levels"].push_back(level_json(level));
  return json;
}

/// What is at a pointer, or null.
Json at(const Json& json, const char* pointer) {
  const Json::json_pointer place(pointer);
  return json.contains(place) ? json.at(place) : Json(nullptr);
}

double number_at(const Json& json, const char* pointer) {
  const Json value = at(json, pointer);
  return value.is_number() ? value.get<double>() : 0.0;
}

/// The numbers of a list; of anything else none.
template <class T>
std::vector<T> numbers_at(const Json& json, const char* pointer) {
  const Json list = at(json, pointer);
  std::vector<T> numbers;
  if (!list.is_array()) return numbers;
  for (const Json& one : list) {
    if (one.is_number()) numbers.push_back(one.get<T>());
  }
  return numbers;
}

std::vector<std::pair<double, double>> pairs_at(const Json& json, const char* pointer) {
  const Json list = at(json, pointer);
  std::vector<std::pair<double, double>> pairs;
  if (!list.is_array()) return pairs;
  for (const Json& one : list) {
    if (one.is_array() && one.size() == 2 && one[0].is_number() && one[1].is_number()) {
      pairs.emplace_back(one[0].get<double>(), one[1].get<double>());
    }
  }
  return pairs;
}

std::optional<LagFacts> lag_of(const Json& report) {
  if (!at(report, "/replication/lag").is_object()) return std::nullopt;
  LagFacts lag;
  lag.histogram = numbers_at<std::uint64_t>(report, "/replication/lag/histogram");
  lag.max = static_cast<std::uint64_t>(number_at(report, "/replication/lag/max"));
  lag.at_most = numbers_at<double>(report, "/replication/lag/at_most");
  return lag;
}

std::optional<VisibilityFacts> visibility_of(const Json& report) {
  if (!at(report, "/replication/visibility_ms/p50").is_number()) return std::nullopt;  // null where nothing was sampled
  return VisibilityFacts{number_at(report, "/replication/visibility_ms/p50"),
                         number_at(report, "/replication/visibility_ms/p99"),
                         static_cast<std::uint64_t>(number_at(report, "/replication/visibility_ms/samples"))};
}

}  // namespace

std::string to_json(const Results& results) {
  Json json;
  json["format"] = kResultsFormat;
  json["name"] = results.name;
  json["about"] = results.about;
  json["command"] = results.command;
  json["version"] = CONCERTO_VERSION;
  json["commit"] = or_null(results.commit);
  json["begun"] = results.begun;
  json["machine"] = {{"cpu", results.cpu}, {"threads", results.threads}, {"memory_bytes", results.memory_bytes}};
  json["repeats"] = results.repeats;
  json["target_within"] = results.target_within;
  json["cases"] = Json::array();
  for (const CaseRecord& record : results.cases) json["cases"].push_back(case_json(record));
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

RunFacts facts_of(const std::string& report, const std::string& metric) {
  const Json json = Json::parse(report, nullptr, false);
  const Json metrics = json.is_object() ? at(json, "/final/metrics") : Json(nullptr);
  if (!metrics.is_object()) throw Error(ErrorCode::kCorrupt, "is not a report of training", "report.json");
  const auto found = metrics.find(metric);
  if (found == metrics.end() || !found->is_number()) {
    throw Error(ErrorCode::kCorrupt, "has no " + metric + " of the test part", "report.json");
  }
  RunFacts facts;
  facts.final_metric = found->get<double>();
  facts.epochs = static_cast<std::uint32_t>(number_at(json, "/final/kept_epoch"));
  facts.seconds = number_at(json, "/replication/seconds");
  facts.pacing_errors = numbers_at<double>(json, "/replication/pacing/errors");
  facts.compute_seconds = numbers_at<double>(json, "/replication/compute_seconds_of_ranks");
  facts.blocked_seconds = numbers_at<double>(json, "/replication/blocked_seconds");
  if (const Json kinds = at(json, "/replication/bytes_by_kind"); kinds.is_object()) {
    for (const auto& [kind, bytes] : kinds.items()) {
      if (bytes.is_number_unsigned()) facts.bytes_by_kind.emplace_back(kind, bytes.get<std::uint64_t>());
    }
  }
  facts.lag = lag_of(json);
  facts.visibility = visibility_of(json);
  facts.consistency_index = pairs_at(json, "/replication/consistency_index");
  facts.compute_seconds_of_first = number_at(json, "/replication/compute_seconds");
  for (const std::uint64_t bytes : numbers_at<std::uint64_t>(json, "/replication/bytes_sent")) {
    facts.bytes_sent_by_first += bytes;
  }
  return facts;
}

std::optional<std::string> sweep_of(const std::string& results) {
  const Json json = Json::parse(results, nullptr, false);
  if (!json.is_object() || at(json, "/format") != kResultsFormat) return std::nullopt;
  const Json name = at(json, "/name");
  return name.is_string() ? std::optional(name.get<std::string>()) : std::nullopt;
}

}  // namespace concerto::bench
