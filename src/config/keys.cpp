// The keys themselves. To add one: a member in config.hpp and a row here.
#include "keys.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "concerto/base/ids.hpp"

namespace concerto::config {
namespace {

using Words = std::string_view;
constexpr std::array<Words, 3> kSplits{"random", "user", "last"};
constexpr std::array<Words, 6> kFormats{"auto", "text", "adjacency", "matrix_market", "libmf", "npz"};
constexpr std::array<Words, 4> kDuplicates{"sum", "last", "keep", "error"};
constexpr std::array<Words, 2> kObjectives{"explicit", "implicit"};
constexpr std::array<Words, 2> kValues{"ignore", "weight"};
constexpr std::array<Words, 2> kConfidences{"one_plus", "product"};
constexpr std::array<Words, 3> kSolvers{"als", "subspace", "sgd"};
constexpr std::array<Words, 2> kInners{"cg", "cholesky"};
constexpr std::array<Words, 4> kBackends{"auto", "reference", "cpu", "cuda"};
constexpr std::array<Words, 2> kGathers{"bf16", "fp32"};
constexpr std::array<Words, 2> kClips{"none", "range"};
constexpr std::array<Words, 3> kLevels{"strong", "bounded", "eventual"};
constexpr std::array<Words, 4> kTableLevels{"same", "strong", "bounded", "eventual"};
constexpr std::array<Words, 3> kMoves{"auto", "factors", "grams"};
constexpr std::array<Words, 4> kCollectives{"auto", "gloo", "channel", "nccl"};

/// The highest port, less ranks.
constexpr std::uint32_t kMostPort = 60'000;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Range kShare{0.0, 1.0, true, true, "above 0 and below 1"};
constexpr Range kNotNegative{0.0, kInfinity, false, true, "a finite number, at least 0"};
constexpr Range kPositive{0.0, kInfinity, true, true, "a finite number above 0"};
constexpr Range kFinite{-kInfinity, kInfinity, true, true, "a finite number"};
constexpr Range kExponent{0.0, 10.0, false, false, "from 0 to 10"};
constexpr Range kAtLeastOne{1.0, kInfinity, false, true, "a finite number, at least 1"};
constexpr Range kShareOrAll{0.0, 1.0, true, false, "above 0 and at most 1"};
constexpr Range kBelowOne{0.0, 1.0, false, true, "at least 0 and below 1"};

constexpr std::uint32_t kMostEpochs = 1'000'000;
constexpr std::uint32_t kMostWindowKib = 1U << 20;  // a GiB
constexpr std::uint32_t kMostThreads = 4096;
constexpr std::uint32_t kMostSlowRanks = 65'536;
constexpr std::uint32_t kMostMilliseconds = 86'400'000;  // a day
constexpr std::uint32_t kHighestRank = 65'536;
constexpr std::uint64_t kMostInteger = std::numeric_limits<std::int64_t>::max();  // TOML's integers are signed

/// The place of a key: a member of a table of the configuration.
template <auto table, auto member>
auto& at(Config& config) {
  return config.*table.*member;
}

template <auto member>
auto& at_items(Config& config) {
  return config.replication.items.*member;
}
template <auto member>
auto& at_users(Config& config) {
  return config.replication.users.*member;
}

/// The same in data.split, which comes to be with its first key.
template <auto member>
auto& at_split(Config& config) {
  if (!config.data.split) config.data.split.emplace();
  return *config.data.split.*member;
}

const std::vector<KeyRule>& rules() {
  static const std::vector<KeyRule> kRules{
      {"data.train", TextKey{at<&Config::data, &DataConfig::train>},
       "the ratings to train on: a file or a prepared directory; required"},
      {"data.test", TextKey{at<&Config::data, &DataConfig::test>},
       "held-out ratings: a file, or a prepared directory for its test part; excludes data.split"},
      {"data.split.test", RealKey{at_split<&SplitConfig::test>, kShare},
       "hold out this share of data.train instead of a file; required in data.split"},
      {"data.split.by", WordKey{at_split<&SplitConfig::by>, kSplits},
       "random: of all entries; user: of each user's entries; last: each user's latest (needs times)"},
      {"data.split.seed", LongCountKey{at_split<&SplitConfig::seed>, kMostInteger}, "of the random choice"},
      {"data.validation",
       FileOrShareKey{at<&Config::data, &DataConfig::validation_file>, at<&Config::data, &DataConfig::validation_share>,
                      kShare},
       "a file, or a share of the training entries, that early stopping watches"},
      {"data.format", WordKey{at<&Config::data, &DataConfig::format>, kFormats},
       "of the input files; auto recognizes each"},
      {"data.duplicates", WordKey{at<&Config::data, &DataConfig::duplicates>, kDuplicates},
       "what becomes of entries of the same user and item; by default sum if implicit, else last"},
      {"data.min_value", OptionalRealKey{at<&Config::data, &DataConfig::min_value>, kFinite},
       "entries below this value are dropped"},
      {"data.users", LongCountKey{at<&Config::data, &DataConfig::users>, kMaxRows},
       "the number of users where ids are integers from 0; 0: taken from the data"},
      {"data.items", LongCountKey{at<&Config::data, &DataConfig::items>, kMaxRows}, "the number of items, likewise"},
      {"model.objective", WordKey{at<&Config::model, &ModelConfig::objective>, kObjectives},
       "explicit: fit the values of observed entries; implicit: the whole matrix counts"},
      {"model.rank", CountKey{at<&Config::model, &ModelConfig::rank>, 1, kHighestRank},
       "the length of a factor vector, 1 to 65,536"},
      {"model.biases", FlagKey{at<&Config::model, &ModelConfig::biases>},
       "a bias for each user and item; explicit only"},
      {"model.bias_regularization",
       OptionalRealKey{at<&Config::model, &ModelConfig::bias_regularization>, kNotNegative},
       "of the biases; by default model.regularization"},
      {"model.regularization", RealKey{at<&Config::model, &ModelConfig::regularization>, kNotNegative},
       "the penalty on squared factors"},
      {"model.regularization_exponent",
       OptionalRealKey{at<&Config::model, &ModelConfig::regularization_exponent>, kExponent},
       "a row with n entries is penalized n^exponent times; by default 1, but 0 with model.alpha"},
      {"model.values", WordKey{at<&Config::model, &ModelConfig::values>, kValues},
       "implicit, with unobserved_weight: ignore the values (each is 1) or weight entries by them; alpha uses them, or "
       "1 where the data has none"},
      {"model.unobserved_weight", OptionalRealKey{at<&Config::model, &ModelConfig::unobserved_weight>, kNotNegative},
       "implicit: the weight of every unobserved pair; by default 0.1 unless model.alpha is given"},
      {"model.alpha", OptionalRealKey{at<&Config::model, &ModelConfig::alpha>, kNotNegative},
       "implicit: confidence grows by alpha with the value; excludes model.unobserved_weight"},
      {"model.confidence", WordKey{at<&Config::model, &ModelConfig::confidence>, kConfidences},
       "with model.alpha: one_plus is 1 + alpha * abs(value), product is alpha * abs(value)"},
      {"model.nonnegative", FlagKey{at<&Config::model, &ModelConfig::nonnegative>},
       "factors of at least 0; solver.kind = \"sgd\" only"},
      {"model.seed", LongCountKey{at<&Config::model, &ModelConfig::seed>, kMostInteger},
       "of the initial factors and of the order of SGD"},
      {"model.init_stddev", RealKey{at<&Config::model, &ModelConfig::init_stddev>, kPositive},
       "standard deviation of initial factors, divided by sqrt(rank)"},
      {"model.warm_start", TextKey{at<&Config::model, &ModelConfig::warm_start>},
       "a model directory to start from instead"},
      {"solver.kind", WordKey{at<&Config::solver, &SolverConfig::kind>, kSolvers},
       "als: alternating least squares; subspace: the same by slices of the rank; sgd: explicit only"},
      {"solver.inner", WordKey{at<&Config::solver, &SolverConfig::inner>, kInners},
       "als: how rows are solved; cholesky is exact and ends at rank 1,024"},
      {"solver.cg_steps", CountKey{at<&Config::solver, &SolverConfig::cg_steps>, 1, 1000},
       "cg: steps a row in each half-sweep"},
      {"solver.slice", CountKey{at<&Config::solver, &SolverConfig::slice>, 1, kHighestRank},
       "subspace: columns solved together"},
      {"solver.momentum", RealKey{at<&Config::solver, &SolverConfig::momentum>, kBelowOne},
       "als: extrapolation after each half-sweep; 0: none"},
      {"solver.epochs", CountKey{at<&Config::solver, &SolverConfig::epochs>, 1, kMostEpochs}, "passes over the data"},
      {"solver.learning_rate", RealKey{at<&Config::solver, &SolverConfig::learning_rate>, kPositive},
       "sgd: of the first epoch"},
      {"solver.decay", RealKey{at<&Config::solver, &SolverConfig::decay>, kNotNegative},
       "sgd: the rate of epoch e (from 0) is learning_rate / (1 + decay e)"},
      {"solver.stop_after", CountKey{at<&Config::solver, &SolverConfig::stop_after>, 0, kMostEpochs},
       "stop after this many epochs without improvement on data.validation; 0: never"},
      {"solver.stop_metric", MetricKey{at<&Config::solver, &SolverConfig::stop_metric>},
       "what stop_after watches; by default the first of evaluate.metrics"},
      {"compute.backend", WordKey{at<&Config::compute, &ComputeConfig::backend>, kBackends},
       "auto: the GPU where one can run, else the cpu, and the log says why; reference is slow and the specification"},
      {"compute.threads", CountKey{at<&Config::compute, &ComputeConfig::threads>, 0, kMostThreads},
       "0: every processor this process may use"},
      {"compute.deterministic", FlagKey{at<&Config::compute, &ComputeConfig::deterministic>},
       "the same bytes each time and for any number of ranks, at a price; one process on the cpu always is"},
      {"compute.gather", WordKey{at<&Config::compute, &ComputeConfig::gather>, kGathers},
       "cuda: the precision factors are read in; bf16 halves the bytes, fp32 does not round"},
      {"compute.memory_limit_bytes",
       LongCountKey{at<&Config::compute, &ComputeConfig::memory_limit_bytes>, kMostInteger},
       "of host memory: refuse to start what needs more; 0: what the machine has available"},
      {"replication.level", WordKey{at<&Config::replication, &ReplicationConfig::level>, kLevels},
       "of several ranks: strong, every step reads exactly what one process would show it; bounded, what it reads is "
       "at "
       "most max_lag sweeps behind that; eventual, at once, whatever is there"},
      {"replication.max_lag", CountKey{at<&Config::replication, &ReplicationConfig::max_lag>, 0, 1'000'000},
       "bounded: sweeps that a block may be behind when a step reads it"},
      {"replication.collective", WordKey{at<&Config::replication, &ReplicationConfig::collective>, kMoves},
       "als: gather solved factors, or Gram partials of items with users kept apart; auto: the fewer bytes"},
      {"replication.rounds", CountKey{at<&Config::replication, &ReplicationConfig::rounds>, 0, 4096},
       "als, subspace: steps of a rank in each half-sweep; the rows of one travel while the next is solved; 0: 16, or "
       "fewer (at least 4) where they would be too short to be worth an exchange"},
      {"replication.digest_every", CountKey{at<&Config::replication, &ReplicationConfig::digest_every>, 0, kMostEpochs},
       "epochs between comparisons of all copies on all ranks; 0: never"},
      {"replication.window_kib", CountKey{at<&Config::replication, &ReplicationConfig::window_kib>, 64, kMostWindowKib},
       "bounded, eventual: KiB of blocks on their way to one rank and not acknowledged yet; bandwidth times twice the "
       "round trip is enough, and with more, newer versions queue in the network behind older ones"},
      {"replication.sample_seconds",
       RealKey{at<&Config::replication, &ReplicationConfig::sample_seconds>, kNotNegative},
       "bounded, eventual: between samples of how far the ranks' copies are from the owners' (the report's "
       "consistency_index); 0: never"},
      {"replication.items.level", WordKey{at_items<&TableReplicationConfig::level>, kTableLevels},
       "bounded, eventual: how far behind steps may read items; same: as replication.level says"},
      {"replication.items.max_lag", CountKey{at_items<&TableReplicationConfig::max_lag>, 0, 1'000'000},
       "items that are bounded by a level of their own"},
      {"replication.users.level", WordKey{at_users<&TableReplicationConfig::level>, kTableLevels},
       "likewise users; where one of the tables is strong, every step reads both as under strong"},
      {"replication.users.max_lag", CountKey{at_users<&TableReplicationConfig::max_lag>, 0, 1'000'000}, "likewise"},
      {"cluster.store", TextKey{at<&Config::cluster, &ClusterConfig::store>},
       "where ranks meet: embedded, the store that the launcher names; or etcd://HOST:PORT[,HOST:PORT...], which must "
       "be the launcher's --rendezvous too"},
      {"cluster.collectives", WordKey{at<&Config::cluster, &ClusterConfig::collectives>, kCollectives},
       "what connects the ranks: gloo (TCP); channel (TLS); nccl, which needs a GPU for each rank (not yet run on a "
       "device); auto: channel where encryption is required of links between machines, nccl where each rank computes "
       "on a GPU of its own and NCCL is found, else gloo, and the log says why"},
      {"cluster.network_interface", TextKey{at<&Config::cluster, &ClusterConfig::network_interface>},
       "of gloo and channel, such as \"eth0\"; by default the one that the machine's name leads to, or loopback within "
       "one machine; NCCL chooses for itself, or by NCCL_SOCKET_IFNAME"},
      {"cluster.channel_port", CountKey{at<&Config::cluster, &ClusterConfig::channel_port>, 0, kMostPort},
       "rank r listens for channels at this port + r, for messages of levels but strong at this port + ranks + r; 0: "
       "at "
       "any"},
      {"cluster.channel_reached_at", TextKey{at<&Config::cluster, &ClusterConfig::channel_reached_at>},
       "HOST:PORT, if others reach rank r's channels not where it listens but at PORT + r (PORT + ranks + r) of HOST: "
       "a "
       "relay, a forwarded port"},
      {"cluster.meet_limit_ms", CountKey{at<&Config::cluster, &ClusterConfig::meet_limit_ms>, 1, kMostMilliseconds},
       "how long ranks wait for each other at the start"},
      {"cluster.operation_limit_ms",
       CountKey{at<&Config::cluster, &ClusterConfig::operation_limit_ms>, 1, kMostMilliseconds},
       "how long a rank waits for the others in one exchange"},
      {"cluster.heartbeat_ms", CountKey{at<&Config::cluster, &ClusterConfig::heartbeat_ms>, 10, kMostMilliseconds},
       "between signs of life"},
      {"cluster.dead_after_ms", CountKey{at<&Config::cluster, &ClusterConfig::dead_after_ms>, 100, kMostMilliseconds},
       "a rank without a sign of life for so long is dead"},
      {"cluster.stalled_after_ms",
       CountKey{at<&Config::cluster, &ClusterConfig::stalled_after_ms>, 100, kMostMilliseconds},
       "a rank that others wait for, and that solves no row and moves no byte for so long, is stalled"},
      {"security.require_encryption", FlagKey{at<&Config::security, &SecurityConfig::require_encryption>},
       "refuse what would send factors between machines in the clear"},
      {"security.trusted_fabric", FlagKey{at<&Config::security, &SecurityConfig::trusted_fabric>},
       "allow it all the same: nobody listens on this network"},
      {"security.plain_channel", FlagKey{at<&Config::security, &SecurityConfig::plain_channel>},
       "channels among ranks are not encrypted, and peers are believed who they say they are"},
      {"security.authority", TextKey{at<&Config::security, &SecurityConfig::authority>},
       "of etcd: file of the certificate authority (PEM); by default the launcher's --store-authority, else the "
       "system's"},
      {"security.certificate", TextKey{at<&Config::security, &SecurityConfig::certificate>},
       "of etcd: file of the certificate that ranks show; by default the launcher's --store-certificate"},
      {"security.private_key", TextKey{at<&Config::security, &SecurityConfig::private_key>},
       "of etcd: file of its private key; by default the launcher's --store-key"},
      {"security.credentials", TextKey{at<&Config::security, &SecurityConfig::credentials>},
       "of etcd: file of mode 0600 with USER:PASSWORD; by default the launcher's --store-credentials"},
      {"evaluate.metrics", MetricListKey{at<&Config::evaluate, &EvaluateConfig::metrics>},
       "such as [\"rmse\", \"recall@20\"]; by default rmse and mae if explicit, else recall@20 and ndcg@20"},
      {"evaluate.every", CountKey{at<&Config::evaluate, &EvaluateConfig::every>, 0, kMostEpochs},
       "epochs between evaluations; 0: only at the end"},
      {"evaluate.clip", WordKey{at<&Config::evaluate, &EvaluateConfig::clip>, kClips},
       "range: predictions are clipped to the range of training values"},
      {"output.model", TextKey{at<&Config::output, &OutputConfig::model>},
       "the directory the model is written to; required"},
      {"output.report", TextKey{at<&Config::output, &OutputConfig::report>},
       "a file for the report of the run (JSON); by default none"},
      {"output.versions", TextKey{at<&Config::output, &OutputConfig::versions>},
       "a folder to which each rank of several writes its blocks as they change, with times, for judging quality over "
       "time afterwards; by default none"},
      {"emulation.pace", RealKey{at<&Config::emulation, &EmulationConfig::pace>, kNotNegative},
       "ranks on one machine that take the time of machines of their own: each step lasts at least so many times its "
       "CPU "
       "time; 0: as long as it takes"},
      {"emulation.slow_ranks", CountKey{at<&Config::emulation, &EmulationConfig::slow_ranks>, 0, kMostSlowRanks},
       "the last so many ranks are slow"},
      {"emulation.slow_factor", RealKey{at<&Config::emulation, &EmulationConfig::slow_factor>, kAtLeastOne},
       "how many times longer a slow rank's steps last"},
      {"emulation.slow_share", RealKey{at<&Config::emulation, &EmulationConfig::slow_share>, kShareOrAll},
       "in which share of half-sweeps, drawn for each slow rank; the same under every level"},
      {"emulation.seed", LongCountKey{at<&Config::emulation, &EmulationConfig::seed>, kMostInteger}, "of that draw"},
  };
  return kRules;
}

constexpr std::array<std::string_view, 13> kTables{
    "data",    "data.split", "model",    "solver", "compute",  "replication", "replication.items", "replication.users",
    "cluster", "security",   "evaluate", "output", "emulation"};
constexpr std::array<std::string_view, 7> kPlanned{
    "replication.placement", "replication.replicas", "replication.control",  "replication.block_rows",
    "security.audit_log",    "output.snapshots",     "output.snapshot_every"};

}  // namespace

std::span<const KeyRule> key_rules() {
  return rules();
}

const KeyRule* find_rule(std::string_view name) {
  const auto found =
      std::find_if(rules().begin(), rules().end(), [&](const KeyRule& rule) { return rule.name == name; });
  return found == rules().end() ? nullptr : &*found;
}

std::span<const std::string_view> key_names() {
  static const std::vector<std::string_view> kNames = [] {
    std::vector<std::string_view> names;
    for (const KeyRule& rule : rules()) names.push_back(rule.name);
    return names;
  }();
  return kNames;
}

std::span<const std::string_view> table_names() {
  return kTables;
}

bool is_planned(std::string_view name) {
  return std::any_of(kPlanned.begin(), kPlanned.end(), [&](std::string_view planned) {
    return name == planned || (name.starts_with(planned) && name[planned.size()] == '.');
  });
}

}  // namespace concerto::config
