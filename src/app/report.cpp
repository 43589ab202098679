// Reports as JSON; the only file of the program that sees nlohmann-json.
#include "report.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "concerto/base/error.hpp"

#include "promises.hpp"

namespace concerto {
namespace {

using Json = nlohmann::ordered_json;

/// Paths and ids may hold any bytes; a report is UTF-8.
constexpr auto kReplaceInvalid = Json::error_handler_t::replace;

Json pairs_json(const std::vector<std::pair<std::string, double>>& values) {
  Json json = Json::object();
  for (const auto& [name, value] : values) json[name] = value;
  return json;
}

Json counts_json(const MetricValues& values) {
  return {{"users_evaluated", values.users_evaluated},
          {"users_skipped", values.users_skipped},
          {"unknown_users", values.unknown_users},
          {"unknown_entries", values.unknown_entries}};
}

Json epoch_json(const EpochRecord& record) {
  Json json = {{"epoch", record.epoch}, {"seconds", record.seconds}, {"eval_seconds", record.eval_seconds}};
  json["loss"] = record.loss ? Json(*record.loss) : Json(nullptr);
  json["metrics"] = pairs_json(record.test);
  json["validation"] = pairs_json(record.validation);
  return json;
}

Json machine_json(const MachineFacts& machine) {
  return {{"cpu", machine.cpu},
          {"threads", machine.threads},
          {"instruction_set", machine.instruction_set},
          {"memory_bytes", machine.memory_bytes},
          {"backend", machine.backend},
          {"concerto_version", CONCERTO_VERSION}};
}

Json data_json(const DataFacts& data) {
  return {{"users", data.users},
          {"items", data.items},
          {"train_entries", data.train_entries},
          {"test_entries", data.test_entries},
          {"validation_entries", data.validation_entries},
          {"merged_duplicates", data.merged_duplicates},
          {"below_min_value", data.below_min_value},
          {"mean", data.mean}};
}

Json final_json(const TrainReport& report) {
  const double per_epoch = seconds_per_epoch(report.epochs);
  Json json;
  json["metrics"] = report.test ? pairs_json(report.test->values) : Json::object();
  json["validation"] = report.validation ? pairs_json(report.validation->values) : Json::object();
  json["popularity"] = report.popularity ? pairs_json(report.popularity->values) : Json::object();
  if (report.test) json["evaluated"] = counts_json(*report.test);
  const auto kept = std::find_if(report.epochs.begin(), report.epochs.end(),
                                 [&](const EpochRecord& record) { return record.epoch == report.kept_epoch; });
  json["loss"] = kept != report.epochs.end() && kept->loss ? Json(*kept->loss) : Json(nullptr);
  json["kept_epoch"] = report.kept_epoch;
  json["ended"] = report.ended;
  json["train_seconds"] = train_seconds(report.epochs);
  json["seconds_per_epoch"] = per_epoch;
  json["load_seconds"] = report.load_seconds;
  json["total_seconds"] = report.total_seconds;
  json["updates_per_second"] = per_epoch > 0.0 ? static_cast<double>(report.data.train_entries) / per_epoch : 0.0;
  json["peak_rss_bytes"] = report.peak_rss_bytes;
  json["device_bytes"] = report.device_bytes;
  return json;
}

Json common_replication_json(const ReplicationFacts& facts) {
  return {{"level", facts.level},
          {"ranks", facts.ranks},
          {"schedule", facts.schedule},
          {"rounds", facts.rounds},
          {"collectives", facts.collectives},
          {"collective", facts.collective},
          {"encrypted", facts.links_in_the_clear.empty()},  // what stays in a machine needs no encryption
          {"links_in_the_clear", facts.links_in_the_clear},
          {"largest_load", facts.largest_load},
          {"least_bytes_per_epoch", facts.least_bytes_per_epoch},
          {"bytes_sent", facts.bytes_sent},
          {"bytes_sent_at_end", facts.bytes_sent_at_end},
          {"seconds", facts.seconds},
          {"compute_seconds", facts.compute_seconds},
          {"waiting_share", facts.seconds > 0.0 ? 1.0 - facts.compute_seconds / facts.seconds : 0.0}};
}

/// "max" and "at_most": the share of reads with a lag of at most 0, 1, 2, ...
Json lag_json(const std::vector<std::uint64_t>& lags) {
  return {{"histogram", lags}, {"max", lags.empty() ? 0 : lags.size() - 1}, {"at_most", shares_at_most(lags)}};
}

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

void add_promises(const PromisesReport& promises, Json& json) {
  json["lag"] = lag_json(promises.lags);
  json["blocked_seconds"] = promises.blocked_seconds;
  json["compute_seconds_of_ranks"] = promises.compute_seconds;
  json["bytes_by_kind"] = Json::object();
  for (const auto& [kind, bytes] : promises.bytes_by_kind) json["bytes_by_kind"][kind] = bytes;
  json["visibility_ms"] = {{"p50", optional_json(promises.visibility_p50_ms)},
                           {"p99", optional_json(promises.visibility_p99_ms)},
                           {"samples", promises.visibility_samples}};
  json["consistency_index"] = Json::array();
  for (const auto& [seconds, index] : promises.consistency_index) {
    json["consistency_index"].push_back(Json::array({seconds, index}));
  }
  json["consistency_skew_ms"] = optional_json(promises.consistency_skew_ms);
}

/// "error": the largest of the ranks'; above 0.05 the run says nothing of time.
Json pacing_json(const PacingFacts& pacing) {
  const auto largest = std::ranges::max_element(pacing.errors);
  return {{"error", largest == pacing.errors.end() ? 0.0 : *largest},
          {"errors", pacing.errors},
          {"held_seconds", pacing.held_seconds}};
}

Json replication_json(const ReplicationFacts& facts) {
  Json json = common_replication_json(facts);
  if (facts.pacing) json["pacing"] = pacing_json(*facts.pacing);
  if (facts.promises) add_promises(*facts.promises, json);
  return json;
}

std::string text_of(const Json& json) {
  return json.dump(2, ' ', false, kReplaceInvalid) + "\n";
}

void collect_leaves(const Json& json, const std::string& name, std::vector<std::pair<std::string, std::string>>& out) {
  if (!json.is_object()) {
    out.emplace_back(name, json.is_string() ? json.get<std::string>() : json.dump());
    return;
  }
  const std::string prefix = name.empty() ? "" : name + ".";
  for (const auto& [key, value] : json.items()) collect_leaves(value, prefix + key, out);
}

/// null where there is nothing at the pointer.
Json json_at(const std::string& text, const std::string& pointer) {
  const Json json = Json::parse(text, nullptr, false);
  const Json::json_pointer place(pointer);
  return json.contains(place) ? json.at(place) : Json(nullptr);
}

}  // namespace

double train_seconds(const std::vector<EpochRecord>& epochs) {
  double sum = 0.0;
  for (const EpochRecord& record : epochs) sum += record.seconds;
  return sum;
}

double seconds_per_epoch(const std::vector<EpochRecord>& epochs) {
  std::vector<double> seconds;
  seconds.reserve(epochs.size());
  for (const EpochRecord& record : epochs) seconds.push_back(record.seconds);
  if (seconds.size() > 1) seconds.erase(seconds.begin());
  if (seconds.empty()) return 0.0;
  std::sort(seconds.begin(), seconds.end());
  const std::size_t middle = seconds.size() / 2;
  return seconds.size() % 2 == 1 ? seconds[middle] : 0.5 * (seconds[middle - 1] + seconds[middle]);
}

std::string to_json(const TrainReport& report) {
  Json json;
  json["schema_version"] = kReportSchemaVersion;
  json["command"] = "train";
  json["config"] = Json::parse(report.config_json);
  json["machine"] = machine_json(report.machine);
  json["data"] = data_json(report.data);
  json["epochs"] = Json::array();
  for (const EpochRecord& record : report.epochs) json["epochs"].push_back(epoch_json(record));
  json["final"] = final_json(report);
  if (report.replication) json["replication"] = replication_json(*report.replication);
  return text_of(json);
}

std::string to_json(const EvaluateReport& report) {
  Json json;
  json["schema_version"] = kReportSchemaVersion;
  json["command"] = "evaluate";
  json["model"] = report.model;
  json["data"] = {{"file", report.data}, {"test_entries", report.test_entries}};
  json["options"] = {{"exclude", report.exclude},
                     {"history", report.history},
                     {"format", report.format},
                     {"min_value", report.min_value ? Json(*report.min_value) : Json(nullptr)},
                     {"clip", report.clip}};
  json["final"] = {{"metrics", pairs_json(report.values.values)},
                   {"popularity", report.popularity ? pairs_json(report.popularity->values) : Json::object()},
                   {"evaluated", counts_json(report.values)},
                   {"folded_in_users", report.folded_in_users},
                   {"total_seconds", report.total_seconds}};
  return text_of(json);
}

std::string metrics_to_json(const MetricValues& values) {
  return pairs_json(values.values).dump();
}

std::string json_quote(const std::string& text) {
  return Json(text).dump(-1, ' ', false, kReplaceInvalid);
}

std::optional<double> json_number(const std::string& text, const std::string& pointer) {
  const Json value = json_at(text, pointer);
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

std::optional<std::string> json_text(const std::string& text, const std::string& pointer) {
  const Json value = json_at(text, pointer);
  return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
}

std::vector<std::pair<std::string, std::string>> json_leaves(const std::string& text, const std::string& where) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw Error(ErrorCode::kCorrupt, "is not JSON", where);
  std::vector<std::pair<std::string, std::string>> leaves;
  collect_leaves(json, "", leaves);
  return leaves;
}

}  // namespace concerto
