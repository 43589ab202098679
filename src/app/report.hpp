// report.json: what a run was asked, what it ran on, what happened and what came out, for programs to read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "concerto/train/trainer.hpp"

namespace concerto {

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
inline constexpr int kReportSchemaVersion = 2;

struct MachineFacts {
  std::string cpu;
  unsigned threads = 0;
  std::string instruction_set;
  std::uint64_t memory_bytes = 0;
  std::string backend;
};

struct DataFacts {
  std::uint64_t users = 0;
  std::uint64_t items = 0;
  std::uint64_t train_entries = 0;
  std::uint64_t test_entries = 0;
  std::uint64_t validation_entries = 0;
  std::uint64_t merged_duplicates = 0;
  std::uint64_t below_min_value = 0;
  double mean = 0.0;
};

/// Of a run whose steps were paced ([emulation]).
struct PacingFacts {
  std::vector<double> errors;        ///< by rank: how late steps ended in the mean, as a share of their length
  std::vector<double> held_seconds;  ///< by rank: in which steps waited beyond their work
};

/// What an asynchronous run promises, measured on all its ranks (src/app/promises.hpp, src/app/consistency.hpp).
struct PromisesReport {
  std::vector<std::uint64_t> lags;      ///< blocks read at the start of steps, by their lag
  std::vector<double> blocked_seconds;  ///< by rank: in which the next step was not allowed yet
  std::vector<double> compute_seconds;  ///< by rank: in steps
  std::vector<std::pair<std::string, std::uint64_t>> bytes_by_kind;  ///< sent as messages: "put", "delta", "status"
  std::optional<double> visibility_p50_ms;  ///< publication to acknowledged installation, at each holder
  std::optional<double> visibility_p99_ms;
  std::uint64_t visibility_samples = 0;
  std::vector<std::pair<double, double>> consistency_index;  ///< seconds since training began, C
  std::optional<double> consistency_skew_ms;  ///< the largest from a marker's sending to a rank's copy, by their clocks
};

/// A run of several ranks, as the rank that writes the report saw it.
struct ReplicationFacts {
  std::string level = "strong";
  std::string collectives;  ///< "gloo", "channel", "nccl"
  std::string schedule;     ///< "alternating", "summing", "rotating"
  std::string collective;   ///< what moves how, and the cost of another way
  std::uint32_t ranks = 1;
  std::uint32_t rounds = 0;                 ///< steps of a rank in a sweep
  double largest_load = 0.0;                ///< predicted work of a rank, as a multiple of the mean
  std::uint64_t least_bytes_per_epoch = 0;  ///< that the schedule can send of rows, a rank, for equal shares
  std::vector<std::uint64_t> bytes_sent;    ///< by this rank, in each epoch
  std::uint64_t bytes_sent_at_end = 0;      ///< by this rank, of the result
  double seconds = 0.0;                     ///< from the first step to the end
  double compute_seconds = 0.0;             ///< of them spent computing
  std::optional<PacingFacts> pacing;        ///< where steps were paced

  /// Of levels but strong.
  std::optional<PromisesReport> promises;

  std::vector<std::string> links_in_the_clear;  ///< between machines, by address: "10.0.0.1 - 10.0.0.2"
};

struct TrainReport {
  std::string config_json;
  MachineFacts machine;
  DataFacts data;
  std::vector<EpochRecord> epochs;
  std::uint32_t kept_epoch = 0;
  std::string ended;  ///< "epochs", "early" or "stopped"
  std::optional<MetricValues> test;
  std::optional<MetricValues> validation;
  std::optional<MetricValues> popularity;
  double load_seconds = 0.0;
  double total_seconds = 0.0;
  std::uint64_t peak_rss_bytes = 0;
  std::uint64_t device_bytes = 0;               ///< the most GPU memory that was in use at a time; 0 where no GPU ran
  std::optional<ReplicationFacts> replication;  ///< of a run of several ranks
};

/// Sum over epochs, and the median without the first epoch (of the first alone where there is no other).
[[nodiscard]] double train_seconds(const std::vector<EpochRecord>& epochs);
[[nodiscard]] double seconds_per_epoch(const std::vector<EpochRecord>& epochs);

[[nodiscard]] std::string to_json(const TrainReport& report);

struct EvaluateReport {
  std::string model;
  std::string data;
  std::string exclude;  ///< empty where not given
  std::string history;
  std::string format;
  std::optional<double> min_value;  ///< in force: given, or that of training
  std::string clip;
  std::uint64_t test_entries = 0;
  MetricValues values;
  std::optional<MetricValues> popularity;
  std::uint64_t folded_in_users = 0;
  double total_seconds = 0.0;
};
[[nodiscard]] std::string to_json(const EvaluateReport& report);

/// {"recall@20": 0.3, ...}
[[nodiscard]] std::string metrics_to_json(const MetricValues& values);
/// A JSON string literal with its quotes.
[[nodiscard]] std::string json_quote(const std::string& text);
/// The number at a JSON pointer such as "/data/min_value"; nothing where there is none.
[[nodiscard]] std::optional<double> json_number(const std::string& text, const std::string& pointer);
/// The text at a JSON pointer, likewise.
[[nodiscard]] std::optional<std::string> json_text(const std::string& text, const std::string& pointer);
/// The leaves of a JSON object as ("table.key", "value"); Error{kCorrupt} naming `where` if it is none.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> json_leaves(const std::string& text,
                                                                           const std::string& where);

}  // namespace concerto
