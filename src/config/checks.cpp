// Contradictions between keys, each as one sentence that says what to change.
#include "checks.hpp"

#include <filesystem>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/job_environment.hpp"

namespace concerto::config {
namespace {

constexpr std::uint32_t kHighestCholeskyRank = 1024;

class Checker {
 public:
  Checker(const Config& config, const Places& places) : config_(config), places_(places) {}

  void data() const {
    if (given("data.split") && !given("data.split.test")) {
      fail("data.split", "data.split needs a share, such as {test = 0.1}");
    }
    if (given("data.test") && given("data.split")) excludes("data.test", "data.split");
    if (config_.data.validation_share > 0.0 && config_.data.split &&
        config_.data.validation_share + config_.data.split->test >= 1.0) {
      fail("data.validation", "data.validation and data.split.test leave nothing to train on");
    }
  }

  void objective() const {
    if (given("model.alpha") && given("model.unobserved_weight")) excludes("model.alpha", "model.unobserved_weight");
    if (config_.model.objective == "explicit") {
      for (const char* key : {"model.alpha", "model.unobserved_weight", "model.confidence", "model.values"}) {
        if (given(key)) fail(key, fmt::format("{} needs model.objective = \"implicit\"", key));
      }
    } else {
      if (config_.model.biases) fail("model.biases", "model.biases needs model.objective = \"explicit\"");
      if (config_.solver.kind == "sgd") {
        fail("solver.kind",
             "solver.kind = \"sgd\" needs model.objective = \"explicit\"; als and subspace serve implicit");
      }
    }
    if (given("model.confidence") && !config_.model.alpha)
      fail("model.confidence", "model.confidence needs model.alpha");
    if (given("model.values") && config_.model.values == "ignore" && config_.model.alpha) {
      fail("model.values", "model.values = \"ignore\" contradicts model.alpha, which weights entries by their values");
    }
    if (given("model.bias_regularization") && !config_.model.biases) {
      fail("model.bias_regularization", "model.bias_regularization needs model.biases = true");
    }
  }

  void solver() const {
    const SolverConfig& solver = config_.solver;
    if (config_.model.nonnegative && solver.kind != "sgd") {
      fail("model.nonnegative", "model.nonnegative needs solver.kind = \"sgd\"");
    }
    if (solver.momentum > 0.0 && solver.kind != "als") {
      fail("solver.momentum", "solver.momentum needs solver.kind = \"als\"");
    }
    if (solver.kind == "als" && solver.inner == "cholesky" && config_.model.rank > kHighestCholeskyRank) {
      fail("solver.inner", fmt::format("solver.inner = \"cholesky\" ends at rank {}, not {}; use solver.inner = \"cg\" "
                                       "or solver.kind = \"subspace\"",
                                       kHighestCholeskyRank, config_.model.rank));
    }
    if (solver.stop_after > 0 && !given("data.validation")) {
      fail("solver.stop_after", "solver.stop_after needs data.validation, a file or a share of the training entries");
    }
    if (given("solver.stop_metric") && solver.stop_after == 0) {
      fail("solver.stop_metric", "solver.stop_metric needs solver.stop_after");
    }
    if (solver.stop_after > 0 && config_.evaluate.every == 0) {
      fail("solver.stop_after", "solver.stop_after needs evaluations; evaluate.every = 0 makes none before the end");
    }
  }

  void need_messages(const std::string& key, bool is_usual) const {
    if (given(key) && !is_usual) fail(key, key + " needs replication.level = \"bounded\" or \"eventual\"");
  }

  void table_level(const std::string& table, const TableReplicationConfig& config) const {
    if (config_.replication.level == "strong") need_messages(table + ".level", config.level == "same");
    const bool is_default = config.max_lag == TableReplicationConfig{}.max_lag;
    if (given(table + ".max_lag") && !is_default && config.level != "bounded") {
      fail(table + ".max_lag", fmt::format("{0}.max_lag needs {0}.level = \"bounded\"", table));
    }
  }

  void replication() const {
    const std::string& level = config_.replication.level;
    const bool is_default = config_.replication.max_lag == ReplicationConfig{}.max_lag;
    if (given("replication.max_lag") && !is_default && level != "bounded") {
      fail("replication.max_lag", "replication.max_lag needs replication.level = \"bounded\"");
    }
    table_level("replication.items", config_.replication.items);
    table_level("replication.users", config_.replication.users);
    if (level == "strong") {
      const ReplicationConfig usual;
      need_messages("replication.window_kib", config_.replication.window_kib == usual.window_kib);
      need_messages("replication.sample_seconds", config_.replication.sample_seconds == usual.sample_seconds);
      return;
    }
    // What rests on all ranks doing the same at the same time.
    if (config_.compute.deterministic) {
      fail("replication.level",
           fmt::format("replication.level = \"{}\" depends on timing; compute.deterministic = true "
                       "needs strong",
                       level));
    }
    if (config_.solver.momentum > 0.0) {
      fail("solver.momentum", "solver.momentum needs replication.level = \"strong\"");
    }
    if (config_.solver.stop_after > 0) {
      fail("solver.stop_after",
           "solver.stop_after needs replication.level = \"strong\": other levels measure at the end");
    }
    if (config_.replication.collective == "grams") {
      fail("replication.collective", "replication.collective = \"grams\" needs replication.level = \"strong\"");
    }
  }

  void cluster() const {
    const std::string& store = config_.cluster.store;
    if (store != "embedded" && !(store.starts_with("etcd://") && is_store_address(store))) {
      fail("cluster.store",
           fmt::format(R"(cluster.store is "embedded" or "etcd://HOST:PORT[,HOST:PORT...]", not "{}")", store));
    }
    if (const std::string& at = config_.cluster.channel_reached_at; !at.empty()) {
      if (!is_store_address("embedded://" + at)) {
        fail("cluster.channel_reached_at", fmt::format("cluster.channel_reached_at is HOST:PORT, not \"{}\"", at));
      }
    }
    if (config_.security.certificate.empty() != config_.security.private_key.empty()) {
      const bool has_key = config_.security.certificate.empty();
      fail(has_key ? "security.private_key" : "security.certificate",
           "security.certificate and security.private_key go together");
    }
  }

  void output() const {
    if (config_.output.model.empty() || config_.output.report.empty()) return;
    const auto model = std::filesystem::path(config_.output.model).lexically_normal();
    const auto report = std::filesystem::path(config_.output.report).lexically_normal();
    if (model == report) fail("output.report", "output.report and output.model are the same path");
    if (report.parent_path() == model) {
      fail("output.report", "output.report lies in output.model, which is written as a whole");
    }
  }

  /// Held against a step's CPU time, which is that of one thread.
  void emulation() const {
    const EmulationConfig& emulation = config_.emulation;
    if (emulation.pace > 0.0 && config_.compute.threads != 1) {
      fail("emulation.pace", "emulation.pace needs compute.threads = 1: a step is paced by the CPU time of its thread");
    }
    if (emulation.pace > 0.0 && config_.compute.backend == "cuda") {
      fail("emulation.pace", "emulation.pace needs compute.backend = \"cpu\": a step on a GPU takes no CPU time");
    }
    if (emulation.slow_ranks > 0 && emulation.pace == 0.0) {
      fail("emulation.slow_ranks", "emulation.slow_ranks needs emulation.pace");
    }
  }

 private:
  [[nodiscard]] bool given(std::string_view key) const { return places_.contains(key); }

  [[noreturn]] void fail(std::string_view key, const std::string& message) const {
    const auto place = places_.find(key);
    throw Error(ErrorCode::kBadInput, message, place == places_.end() ? std::string(key) : place->second);
  }

  [[noreturn]] void excludes(std::string_view key, std::string_view other) const {
    fail(key, fmt::format("{} excludes {} ({}); give one of them", key, other, places_.find(other)->second));
  }

  const Config& config_;
  const Places& places_;
};

}  // namespace

void check_consistent(const Config& config, const Places& places) {
  const Checker checker(config, places);
  checker.data();
  checker.objective();
  checker.solver();
  checker.replication();
  checker.cluster();
  checker.output();
  checker.emulation();
}

void check_complete(const Config& config, std::string_view name) {
  if (config.data.train.empty()) {
    throw Error(ErrorCode::kBadInput, "data.train is required: the file or prepared directory to train on",
                std::string(name));
  }
  if (config.output.model.empty()) {
    throw Error(ErrorCode::kBadInput, "output.model is required: the directory to write the model to",
                std::string(name));
  }
}

}  // namespace concerto::config
