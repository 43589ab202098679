// The configuration: plain structs, one a TOML table, units in names. Every key has a default but data.train and
// output.model. src/config reads TOML into them; nothing else parses configuration.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concerto {

struct SplitConfig {
  double test = 0.0;          ///< share of the entries, in (0, 1)
  std::string by = "random";  ///< "random", "user", "last"
  std::uint64_t seed = 1;
};

struct DataConfig {
  std::string train;
  std::string test;  ///< a file; excludes `split`
  std::optional<SplitConfig> split;
  std::string validation_file;    ///< data.validation given as text
  double validation_share = 0.0;  ///< data.validation given as a number in (0, 1)
  std::string format = "auto";
  std::string duplicates;  ///< "sum", "last", "keep", "error"; empty: sum if implicit, else last
  std::optional<double> min_value;
  std::uint64_t users = 0;  ///< declared counts; 0: not declared
  std::uint64_t items = 0;
};

struct ModelConfig {
  std::string objective = "explicit";  ///< "explicit", "implicit"
  std::uint32_t rank = 64;
  bool biases = false;
  std::optional<double> bias_regularization;  ///< default: regularization
  double regularization = 0.05;
  std::optional<double> regularization_exponent;  ///< nu; default 1, but 0 with alpha
  std::string values = "ignore";                  ///< implicit: "ignore", "weight"
  std::optional<double> unobserved_weight;        ///< a0; implicit default 0.1 where neither is given
  std::optional<double> alpha;                    ///< excludes unobserved_weight
  std::string confidence = "one_plus";            ///< "one_plus", "product"
  bool nonnegative = false;                       ///< sgd only
  std::uint64_t seed = 1;
  double init_stddev = 0.1;  ///< divided by sqrt(rank)
  std::string warm_start;    ///< a model directory
};

struct SolverConfig {
  std::string kind = "als";  ///< "als", "subspace", "sgd"
  std::string inner = "cg";  ///< "cg", "cholesky"
  std::uint32_t cg_steps = 3;
  std::uint32_t slice = 128;
  double momentum = 0.0;
  std::uint32_t epochs = 15;
  double learning_rate = 0.05;
  double decay = 0.0;
  std::uint32_t stop_after = 0;  ///< epochs without improvement; 0: never stop early
  std::string stop_metric;       ///< empty: the first of evaluate.metrics
};

struct ComputeConfig {
  std::string backend = "auto";  ///< "auto", "reference", "cpu", "cuda"
  std::uint32_t threads = 0;     ///< 0: every processor this process may use
  bool deterministic = false;
  std::string gather = "bf16";           ///< cuda only: "bf16", "fp32"
  std::uint64_t memory_limit_bytes = 0;  ///< of host memory; 0: what the machine has available
};

/// Of one table's blocks, where they are read otherwise than those of the run.
struct TableReplicationConfig {
  std::string level = "same";  ///< "same": as the run's, with its max_lag; "strong", "bounded", "eventual"
  std::uint32_t max_lag = 2;   ///< bounded
};

/// How copies of factors on several ranks are kept alike.
struct ReplicationConfig {
  std::string level = "strong";     ///< "strong", "bounded", "eventual"
  std::uint32_t max_lag = 2;        ///< bounded: sweeps that a block may be behind
  std::string collective = "auto";  ///< "auto", "factors", "grams"
  std::uint32_t rounds = 0;         ///< steps and exchanges of a rank in each half-sweep; 0: 16, or fewer where short
  std::uint32_t digest_every = 5;   ///< epochs between comparisons of all copies; 0: never
  std::uint32_t window_kib = 1024;  ///< levels but strong: on their way to one rank and not acknowledged
  double sample_seconds = 1.0;      ///< levels but strong: between samples of the consistency index; 0: never
  TableReplicationConfig items;     ///< levels but strong
  TableReplicationConfig users;     ///< likewise
};

/// How ranks reach each other, and when one counts as lost.
struct ClusterConfig {
  std::string store = "embedded";    ///< "embedded": the launcher's; "etcd://HOST:PORT[,HOST:PORT...]"
  std::string collectives = "auto";  ///< "auto", "gloo", "channel", "nccl"
  std::string network_interface;     ///< of gloo, channel; empty: by the machine's name, or loopback within one
  std::uint32_t channel_port = 0;    ///< rank r listens at this + r; 0: any
  std::string channel_reached_at;    ///< "HOST:PORT", rank r at PORT + r; empty: where it listens
  std::uint32_t meet_limit_ms = 60'000;
  std::uint32_t operation_limit_ms = 120'000;
  std::uint32_t heartbeat_ms = 1'000;
  std::uint32_t dead_after_ms = 5'000;
  std::uint32_t stalled_after_ms = 30'000;
};

struct SecurityConfig {
  bool require_encryption = false;
  bool trusted_fabric = false;  ///< whoever runs the network says that nobody listens there
  bool plain_channel = false;   ///< channels among ranks are not encrypted
  // Files by which ranks show etcd who they are (comm/stores.hpp); empty: as the launcher says, or none.
  std::string authority;
  std::string certificate;
  std::string private_key;
  std::string credentials;
};

struct EvaluateConfig {
  std::vector<std::string> metrics;  ///< empty: rmse and mae if explicit, else recall@20 and ndcg@20
  std::uint32_t every = 1;           ///< epochs between evaluations; 0: only at the end
  std::string clip = "none";         ///< predictions: "none", "range" of the training values
};

struct OutputConfig {
  std::string model;
  std::string report;    ///< empty: no report file
  std::string versions;  ///< a folder for the versions of factors over time (model/version_log.hpp); empty: none
};

/// How ranks of one machine are made to take the time of machines of their own, fast and slow.
struct EmulationConfig {
  double pace = 0.0;             ///< a step takes at least so many times its CPU time; 0: as long as it takes
  std::uint32_t slow_ranks = 0;  ///< the last so many
  double slow_factor = 1.0;      ///< a slow rank's steps take so many times longer
  double slow_share = 1.0;       ///< of half-sweeps, drawn for each slow rank
  std::uint64_t seed = 1;        ///< of the draw
};

struct Config {
  DataConfig data;
  ModelConfig model;
  SolverConfig solver;
  ComputeConfig compute;
  ReplicationConfig replication;
  ClusterConfig cluster;
  SecurityConfig security;
  EvaluateConfig evaluate;
  OutputConfig output;
  EmulationConfig emulation;
};

/// What the caller needs of a configuration.
enum class ConfigUse {
  kTraining,  ///< data.train and output.model must be there
  kAny,       ///< whatever is there must be right; nothing need be
};

/// Reads a TOML file and applies `overrides` in order ("table.key=value", the value in TOML syntax; a bare word is
/// text, `a,b` is a list where the key takes one; nothing after `=` puts the key back to its default). Relative paths
/// in the file are relative to the working directory. Validates: every problem is Error{kBadInput} naming file and line
/// (or the override) and, for an unknown key, the nearest known one. What the design names and this version does not
/// serve yet (placement, control; output.snapshots) is Error{kUnsupported}. Defaults that depend
/// on other keys are filled in as by resolve_defaults.
[[nodiscard]] Config load_config(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                                 ConfigUse use = ConfigUse::kTraining);

/// The same from text; `name` stands for the file in messages.
[[nodiscard]] Config parse_config(std::string_view text, std::string_view name,
                                  const std::vector<std::string>& overrides, ConfigUse use = ConfigUse::kTraining);

/// Fills in, where they are not set, the defaults that follow from other keys: data.duplicates,
/// model.regularization_exponent, evaluate.metrics; with biases bias_regularization; with implicit and no alpha
/// unobserved_weight; with alpha values = "weight"; with stop_after stop_metric.
[[nodiscard]] Config resolve_defaults(Config config);

/// One row for each key: "table.key", its default as TOML text ("" where there is none: the key is required or absent
/// by default), and one line of help. The table of defaults in the documentation is tested against it.
struct ConfigKey {
  std::string name;
  std::string default_text;
  std::string help;
};
[[nodiscard]] const std::vector<ConfigKey>& config_keys();

/// The configuration in full, defaults filled in, as a JSON object of tables.
[[nodiscard]] std::string config_to_json(const Config& config);

}  // namespace concerto
