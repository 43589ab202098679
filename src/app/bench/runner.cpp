// Runs as processes: their settings, folders, ends; and one judge for all that have the same data.
#include "runner.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/config/config.hpp"

#include "child.hpp"
#include "inputs.hpp"
#include "judge.hpp"
#include "machine.hpp"
#include "page.hpp"
#include "slow_network.hpp"

namespace concerto::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostWords = 600;  // of a log, as why a run failed

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, sizeof "2026-12-01T05:00:00Z"> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

void append(std::vector<std::string>& all, const std::vector<std::string>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

/// How tables name the data: by the folder they are in, or the file.
std::string data_name(const Config& config) {
  const fs::path path = fs::path(config.data.train).lexically_normal();
  const std::string folder = path.parent_path().filename().string();
  return folder.empty() ? path.stem().string() : folder;
}

/// Whether what ranks send each other is encrypted under the levels that send messages; where there is none, in
/// collectives.
bool is_encrypted(const std::vector<Config>& levels) {
  bool messages = true;
  bool collectives = true;
  bool has_messages = false;
  for (const Config& config : levels) {
    const bool is_strong = config.replication.level == "strong";
    has_messages = has_messages || !is_strong;
    messages = messages && (is_strong || !config.security.plain_channel);
    collectives = collectives && config.cluster.collectives == "channel" && !config.security.plain_channel;
  }
  return has_messages ? messages : collectives;
}

/// What tells data apart, and how they are measured.
std::string judged_by(const Config& config) {
  Config part;
  part.data = config.data;
  part.model.objective = config.model.objective;
  part.model.values = config.model.values;
  part.model.alpha = config.model.alpha;
  part.evaluate = config.evaluate;
  return config_to_json(part);
}

}  // namespace

class Runner::Impl {
 public:
  Impl(Sweep sweep, RunnerOptions options, Log& log)
      : sweep_(std::move(sweep)),
        options_(std::move(options)),
        log_(log),
        out_(fs::absolute(options_.out)),
        program_(own_program()),
        launcher_(find_launcher()) {
    require_place();
    results_.name = sweep_.name;
    results_.about = sweep_.about;
    results_.command = options_.command;
    results_.cpu = cpu_model();
    results_.threads = static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN));
    results_.memory_bytes = physical_memory_bytes();
    results_.repeats = sweep_.repeats;
    results_.target_within = sweep_.target_within;
    for (const SweepCase& of : sweep_.cases) add_case(of);
  }

  void run(const std::stop_token& stop) {
    create(out_ / "runs");
    results_.begun = utc_now();
    results_.commit = commit(stop);
    write_results();
    for (std::size_t at = 0; at < results_.cases.size(); ++at) {
      CaseRecord& record = results_.cases[at];
      log_.info(fmt::format("case {}: {}", record.of.name, record.of.title));
      for (const PlannedRun& one : plan(record.of, sweep_.repeats)) {
        if (!make_run(at, one, stop)) return;
      }
      for (const PlannedRun& one : void_runs(record)) {
        if (!make_run(at, one, stop)) return;
      }
    }
  }

  [[nodiscard]] const Results& results() const noexcept { return results_; }

 private:
  /// Nothing of others' is overwritten.
  void require_place() const {
    std::error_code error;
    if (!fs::exists(out_, error)) return require_output_parent(out_, "--out");
    if (!fs::is_directory(out_, error)) {
      throw Error(ErrorCode::kBadInput, fmt::format("{} is not a directory", options_.out.string()), "--out");
    }
    if (fs::is_empty(out_, error)) return;
    std::optional<std::string> other;
    if (fs::exists(out_ / "results.json", error)) other = sweep_of(read_file(out_ / "results.json"));
    throw Error(ErrorCode::kBadInput,
                fmt::format("{} {}; give another directory, or empty it", options_.out.string(),
                            other ? fmt::format("holds results of the sweep {}", *other) : "is not empty"),
                "--out");
  }

  static void create(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw Error(ErrorCode::kIo, "cannot be made: " + error.message(), folder.string());
  }

  /// All but what each run has of its own.
  [[nodiscard]] std::vector<std::string> common_settings(const SweepCase& of, const SweepLevel& level) const {
    std::vector<std::string> all = sweep_.settings;
    append(all, of.settings);
    append(all, level.settings);
    append(all, options_.overrides);
    all.emplace_back("evaluate.every=0");  // measured afterwards, of all levels alike
    return all;
  }

  void check_overrides(const SweepCase& of) const {
    for (const std::string& setting : options_.overrides) {
      if (!is_decided_by_runner(setting, of.network.has_value())) continue;
      throw Error(ErrorCode::kBadInput, fmt::format("is decided by the runner of case {} and cannot be set", of.name),
                  "--set " + setting);
    }
  }

  [[nodiscard]] Config read_config(const SweepCase& of, const SweepLevel& level) const {
    std::vector<std::string> settings = common_settings(of, level);
    settings.push_back("output.model=" + (out_ / "model").string());
    settings.push_back("output.versions=" + (out_ / "versions").string());
    try {
      Config config = load_config(sweep_.train, settings);
      require_data(config.data.train, "data.train");
      if (!config.data.test.empty()) require_data(config.data.test, "data.test");
      if (config.data.test.empty() && !config.data.split) {
        throw Error(ErrorCode::kBadInput, "a sweep needs data.test or data.split: runs are judged on held-out entries",
                    "data.test");
      }
      if (config.cluster.store != "embedded") {
        throw Error(ErrorCode::kUnsupported, "the runs of a sweep meet at a store of their launcher's",
                    "cluster.store");
      }
      if (of.network && config.cluster.collectives != "channel") {
        throw Error(ErrorCode::kBadInput,
                    "a network needs cluster.collectives = \"channel\": other connections do not pass it",
                    "cluster.collectives");
      }
      return config;
    } catch (const Error& error) {
      throw Error(error.code(), error.message(),
                  fmt::format("{}: case {}, level {}{}{}", options_.sweep_file, of.name, level.name,
                              error.where().empty() ? "" : ": ", error.where()),
                  error.cause());
    }
  }

  void add_case(const SweepCase& of) {
    check_overrides(of);
    std::vector<Config> configs;
    CaseRecord record;
    record.of = of;
    for (const SweepLevel& level : of.levels) {
      const Config& config = configs.emplace_back(read_config(of, level));
      LevelRecord& one = record.levels.emplace_back();
      one.level = level;
      one.consistency = config.replication.level;
      if (config.replication.level == "bounded") one.max_lag = config.replication.max_lag;
      if (level.name == of.baseline) describe(config, record);
    }
    for (std::size_t k = 0; k < configs.size(); ++k) {
      if (metric_of(configs[k]).name == record.metric) continue;
      throw Error(ErrorCode::kBadInput, "the first of evaluate.metrics must be that of the baseline",
                  fmt::format("{}: case {}, level {}", options_.sweep_file, of.name, of.levels[k].name));
    }
    record.encrypted = is_encrypted(configs);
    results_.cases.push_back(std::move(record));
    configs_.push_back(std::move(configs));
  }

  static void describe(const Config& baseline, CaseRecord& record) {
    const Metric metric = metric_of(baseline);
    record.data = data_name(baseline);
    record.metric = metric.name;
    record.smaller_is_better = !metric.higher_is_better();
    record.solver = baseline.solver.kind;
    record.epochs = baseline.solver.epochs;
    record.pace = baseline.emulation.pace;
    if (const EmulationConfig& slow = baseline.emulation; slow.slow_ranks > 0) {
      record.stragglers = Stragglers{slow.slow_ranks, slow.slow_factor, slow.slow_share};
    }
  }

  /// Of the repository that this program lies in.
  [[nodiscard]] std::optional<std::string> commit(const std::stop_token& stop) const {
    constexpr std::size_t kHashBytes = 40;
    const fs::path file = out_ / "commit";
    const std::vector<std::string> ask = {"/usr/bin/env", "git", "-C", program_.parent_path().string(),
                                          "rev-parse",    "HEAD"};
    std::string text;
    if (run_child(ask, file, stop) == 0) text = read_file(file).substr(0, kHashBytes);
    fs::remove(file);
    const bool is_hash = text.size() == kHashBytes && text.find_first_not_of("0123456789abcdef") == std::string::npos;
    return is_hash ? std::optional(text) : std::nullopt;
  }

  /// Everything that is written for readers, each time whole.
  void write_results() const {
    const std::string json = to_json(results_);
    write_file(out_ / "results.json", json);
    write_file(out_ / "index.html", page_of(json));
  }

  /// False where a stop was requested.
  bool make_run(std::size_t at, const PlannedRun& planned, const std::stop_token& stop) {
    if (stop.stop_requested()) return false;
    CaseRecord& record = results_.cases[at];
    LevelRecord& level = record.levels[planned.level];
    fs::path folder = out_ / "runs" / record.of.name / fmt::format("{}-{}", level.level.name, planned.repeat);
    if (fs::exists(folder)) folder += "-again";
    create(folder);
    std::optional<RunRecord> run = finished_run(at, planned, folder, stop);
    std::error_code ignored;
    fs::remove_all(folder / "model", ignored);
    fs::remove_all(folder / "versions", ignored);
    if (!run) return false;
    level.runs.push_back(std::move(*run));
    conclude(record, sweep_.target_within);
    write_results();
    say(record, level);
    return true;
  }

  /// Nothing where a stop was requested.
  std::optional<RunRecord> finished_run(std::size_t at, const PlannedRun& planned, const fs::path& folder,
                                        const std::stop_token& stop) {
    RunRecord run;
    run.repeat = planned.repeat;
    try {
      const int status = start_and_await(at, planned, folder, stop);
      if (stop.stop_requested()) return std::nullopt;
      if (status == 0) {
        judge_run(at, planned, folder, stop, run);
      } else {
        run.ended = Ended::kFailed;
        run.why = fmt::format("exit status {}: {}", status, last_words(read_file(folder / "run.log"), kMostWords));
      }
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) return std::nullopt;
      run.ended = Ended::kFailed;
      run.why = error.what();
    }
    return run;
  }

  int start_and_await(std::size_t at, const PlannedRun& planned, const fs::path& folder, const std::stop_token& stop) {
    const SweepCase& of = results_.cases[at].of;
    const Config& config = configs_[at][planned.level];
    std::vector<std::string> settings = common_settings(of, of.levels[planned.level]);
    settings.push_back("output.model=" + (folder / "model").string());
    settings.push_back("output.report=" + (folder / "report.json").string());
    settings.push_back("output.versions=" + (folder / "versions").string());
    // Repeats differ, and all levels of a repeat have the same slow periods.
    settings.push_back(fmt::format("emulation.seed={}", config.emulation.seed + planned.repeat));
    std::optional<SlowNetwork> network;
    if (of.network) {
      network.emplace(*of.network, of.ranks, planned.repeat);
      append(settings, network->settings());
    }
    std::vector<std::string> command = {launcher_.string(), "--nproc-per-node", std::to_string(of.ranks)};
    // Ranks that wait for their pace leave processors to others.
    if (config.emulation.pace > 0.0) append(command, {"--bind", "none"});
    append(command, {"--", program_.string(), "train", sweep_.train});
    for (const std::string& setting : settings) append(command, {"--set", setting});
    return run_child(command, folder / "run.log", stop);
  }

  void judge_run(std::size_t at, const PlannedRun& planned, const fs::path& folder, const std::stop_token& stop,
                 RunRecord& run) {
    const CaseRecord& record = results_.cases[at];
    run.facts = facts_of(read_file(folder / "report.json"), record.metric);
    run.why = pacing_problem(run.facts.pacing_errors);
    if (!run.why.empty()) {
      run.ended = Ended::kVoid;
      return;
    }
    const Config& config = configs_[at][planned.level];
    if (std::string key = judged_by(config); judge_ == nullptr || key != judge_key_) {
      judge_.reset();  // its memory first
      judge_ = std::make_unique<Judge>(config, log_, stop);
      judge_key_ = std::move(key);
    }
    run.curve = judge_->curve(folder / "versions", folder / "model", target_for(record, planned, run));
  }

  /// Of the baseline's run in the same repeat, or else the latest that there is.
  [[nodiscard]] std::optional<double> target_for(const CaseRecord& record, const PlannedRun& planned,
                                                 const RunRecord& run) const {
    std::optional<double> final_metric;
    for (const LevelRecord& level : record.levels) {
      if (level.level.name != record.of.baseline) continue;
      for (const RunRecord& one : level.runs) {
        if (one.ended == Ended::kDone) final_metric = one.facts.final_metric;
      }
      if (const RunRecord* same = run_of(level, planned.repeat)) final_metric = same->facts.final_metric;
    }
    if (record.levels[planned.level].level.name == record.of.baseline) final_metric = run.facts.final_metric;
    if (!final_metric) return std::nullopt;
    return target_of(*final_metric, sweep_.target_within, record.smaller_is_better);
  }

  void say(const CaseRecord& record, const LevelRecord& level) {
    const RunRecord& run = level.runs.back();
    const std::string what =
        fmt::format("{} / {}, repeat {} of {}: ", record.of.name, level.level.name, run.repeat + 1, sweep_.repeats);
    if (run.ended == Ended::kFailed) return log_.warn(what + "failed: " + run.why);
    if (run.ended == Ended::kVoid) return log_.warn(what + "void: " + run.why);
    std::string line =
        fmt::format("{}{:.2f} s, {} {:.5g}", what, run.facts.seconds, record.metric, run.facts.final_metric);
    if (run.time_to_target) line += fmt::format(", at the target after {:.2f} s", *run.time_to_target);
    if (run.ratio && level.level.name != record.of.baseline) {
      line += fmt::format(", {:.3f} of {}'s", *run.ratio, record.of.baseline);
    }
    log_.info(line);
  }

  Sweep sweep_;
  RunnerOptions options_;
  Log& log_;
  fs::path out_;
  fs::path program_;
  fs::path launcher_;
  Results results_;
  std::vector<std::vector<Config>> configs_;  ///< by case and level
  std::unique_ptr<Judge> judge_;
  std::string judge_key_;
};

Runner::Runner(Sweep sweep, RunnerOptions options, Log& log)
    : impl_(std::make_unique<Impl>(std::move(sweep), std::move(options), log)) {}
Runner::~Runner() = default;

void Runner::run(const std::stop_token& stop) {
  impl_->run(stop);
}

const Results& Runner::results() const noexcept {
  return impl_->results();
}

}  // namespace concerto::bench
