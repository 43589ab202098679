// `concerto train CONFIG.toml`: data in, model and report out.
//
// Everything that can be refused is refused before training: configuration, paths, memory, data. The model is written
// before the report, so a report tells of a model that is there.
#include <chrono>
#include <limits>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/model/model.hpp"
#include "concerto/train/trainer.hpp"

#include "commands.hpp"
#include "engine.hpp"
#include "inputs.hpp"
#include "job_store.hpp"
#include "machine.hpp"
#include "memory.hpp"
#include "progress.hpp"
#include "ranked_training.hpp"
#include "report.hpp"
#include "signals.hpp"
#include "summary.hpp"
#include "train_setup.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

/// The GPU's memory first, since it may leave the work to the cpu; then the host's. `ranks`: 0 for a run by one
/// process.
void require_training_memory(const Config& config, const TrainOptions& options, const Dataset& data, Engine& engine,
                             Rank ranks) {
  const MemoryShape shape = memory_shape(options, data, engine.pool().size());
  engine.settle_for(shape, fmt::format("training {} users and {} items with {} entries at rank {}", shape.users,
                                       shape.items, shape.entries, shape.rank));
  require_memory(predict_host_bytes(config, shape, engine.backend().name(), ranks), {config.compute.memory_limit_bytes},
                 fmt::format("training {} users and {} items at rank {}", shape.users, shape.items, shape.rank),
                 "lower model.rank or use a machine with more memory");
}

/// One side of a warm start in the rows of the new data: rows the old model knows, and drawn ones for the others.
FactorTable warm_side(const FactorTable& old, const IdMap& old_ids, const IdMap& ids, Side side,
                      const TrainOptions& options) {
  FactorTable table({ids.size(), old.rank(), old.shape().biases});
  initialize(table, side, options.seed, options.init_stddev);
  for (RowIndex row = 0; row < ids.size(); ++row) {
    const auto known = old_ids.find(ids.text(row));
    if (!known) continue;
    const auto from = old.row(*known);
    std::copy(from.begin(), from.end(), table.row(row).begin());
    if (old.shape().biases) table.biases()[row] = old.bias(*known);
  }
  return table;
}

struct WarmTables {
  FactorTable users;
  FactorTable items;
};

std::optional<WarmTables> load_warm_start(const Config& config, const Dataset& data, const TrainOptions& options) {
  if (config.model.warm_start.empty()) return std::nullopt;
  const Model old = load_model(config.model.warm_start);
  const auto describe = [](std::uint32_t rank, bool biases) {
    return fmt::format("rank {} {} biases", rank, biases ? "with" : "without");
  };
  if (old.users.rank() != options.rank || old.users.shape().biases != options.objective.biases) {
    throw Error(ErrorCode::kBadInput,
                fmt::format("{} has {}, this run {}", config.model.warm_start,
                            describe(old.users.rank(), old.users.shape().biases),
                            describe(options.rank, options.objective.biases)),
                "model.warm_start");
  }
  return WarmTables{warm_side(old.users, old.user_ids, data.users(), Side::kUsers, options),
                    warm_side(old.items, old.item_ids, data.items(), Side::kItems, options)};
}

/// The metrics of a model, to as many digits as do not depend on how many ranks added them up.
std::string settled_metrics(const std::optional<MetricValues>& measured) {
  if (!measured) return "{}";
  MetricValues settled = *measured;
  for (auto& [name, value] : settled.values) value = std::stod(fmt::format("{:.9g}", value));
  return metrics_to_json(settled);
}

/// Moves the tables. Id maps are added by the rank that writes them.
Model make_model(TrainResult& result, const TrainOptions& options, bool has_values, const std::string& config_json) {
  Model model;
  model.objective = options.objective;
  model.objective.mean = result.mean;
  model.users = std::move(result.users);
  model.items = std::move(result.items);
  model.values_ignored = !has_values;
  model.lowest_value = result.lowest_value;
  model.highest_value = result.highest_value;
  model.config_json = config_json;
  model.metrics_json = settled_metrics(result.final_test);
  return model;
}

MachineFacts machine_facts(Engine& engine) {
  MachineFacts machine;
  machine.cpu = cpu_model();
  machine.threads = engine.pool().size();
  const auto sets = cpu_instruction_sets();
  machine.instruction_set = "scalar";
  if (engine.backend().name() == "cpu" && !sets.empty()) machine.instruction_set = sets.front();
  if (engine.backend().name() == "cuda") machine.instruction_set = "cuda";
  machine.memory_bytes = physical_memory_bytes();
  machine.backend = engine.backend().description();
  return machine;
}

DataFacts data_facts(const Dataset& train, const SharedHeldOut& test, const SharedHeldOut& validation,
                     const BuildCounts& counts) {
  return {train.lengths(Side::kUsers).rows,
          train.lengths(Side::kItems).rows,
          train.entries(),
          test.facts().entries(),
          validation.facts().entries(),
          counts.merged_duplicates,
          counts.below_min_value,
          0.0};
}

/// What only ranks do, and what a GPU's steps have not.
void check_emulation(const Config& config, bool is_rank, Engine& engine) {
  const std::string key = config.emulation.pace > 0.0 ? "emulation.pace" : "output.versions";
  const bool is_asked = config.emulation.pace > 0.0 || !config.output.versions.empty();
  if (is_asked && !is_rank) {
    throw Error(ErrorCode::kBadInput, key + " is for runs that concerto-launch starts", key);
  }
  if (config.emulation.pace > 0.0 && engine.backend().name() == "cuda") {
    throw Error(ErrorCode::kUnsupported,
                "emulation.pace needs compute.backend = \"cpu\": a step on a GPU takes no CPU time", key);
  }
}

/// `output.report` as an override, whatever characters the path has.
std::string report_override(const std::string& path) {
  const bool reads_as_toml = path.find_first_of("\"'[{ \t") == 0;
  return "output.report=" + (reads_as_toml ? json_quote(path) : path);
}

/// What is written is written by the first rank: others may be where there is no place for it.
void check_paths(const Config& config, const std::string& config_file, bool is_first) {
  require_data(config.data.train, "data.train");
  if (!config.data.test.empty()) require_data(config.data.test, "data.test");
  if (!config.data.validation_file.empty()) require_data(config.data.validation_file, "data.validation");
  if (is_first) require_model_target(config.output.model, "output.model");
  if (is_first && !config.output.report.empty()) require_file_target(config.output.report, "output.report");
  std::vector<NamedPath> inputs = {{"CONFIG", config_file},
                                   {"data.train", config.data.train},
                                   {"data.test", config.data.test},
                                   {"data.validation", config.data.validation_file}};
  require_apart({"output.model", config.output.model}, inputs);
  inputs.push_back({"model.warm_start", config.model.warm_start});  // which a model may replace
  require_apart({"output.report", config.output.report}, inputs);
  require_apart({"output.versions", config.output.versions}, inputs);
  if (!config.model.warm_start.empty()) require_model(config.model.warm_start, "model.warm_start");
}

std::string ending(const TrainResult& result) {
  if (result.was_stopped) return "stopped";
  return result.stopped_early ? "early" : "epochs";
}

void print_summary(const Config& config, const TrainReport& report, Console& console) {
  std::ostream& out = console.out;
  out << fmt::format(
      "trained {} at rank {}: {} epochs in {} ({} an epoch, {} updates/s)\n", config.solver.kind, config.model.rank,
      report.epochs.size(), duration_text(train_seconds(report.epochs)),
      duration_text(seconds_per_epoch(report.epochs)),
      count_text(static_cast<double>(report.data.train_entries) / std::max(seconds_per_epoch(report.epochs), 1e-9)));
  if (report.ended == "stopped") out << fmt::format("stopped on request; epoch {} is kept\n", report.kept_epoch);
  if (report.ended == "early") out << fmt::format("stopped early; epoch {} is kept, the best\n", report.kept_epoch);
  if (report.test) {
    out << "\non the test part:\n";
    print_metrics(out, *report.test, report.popularity ? &*report.popularity : nullptr);
  }
  if (report.validation) {
    out << "\non the validation part:\n";
    print_metrics(out, *report.validation, nullptr);
  }
  out << '\n';
  print_row(out, "model", config.output.model);
  if (!config.output.report.empty()) print_row(out, "report", config.output.report);
  out << std::flush;
}

/// What a run of the command is, whoever trains.
struct Run {
  const Config& config;
  const std::string& config_json;
  const TrainOptions& options;
  ReadingRules rules;
  Engine& engine;
  StopSignals& signals;
  Console& console;
  Clock::time_point begin = Clock::now();

  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(Clock::now() - begin).count(); }
  [[nodiscard]] MemoryBudget budget() const { return {config.compute.memory_limit_bytes}; }
};

/// Shows progress where `shows`, and says once there is something to keep.
TrainObserver observer_of(Run& run, Progress& progress, bool shows) {
  TrainObserver observer;
  if (shows) observer = progress.observer();
  observer.on_epoch = [&signals = run.signals, show = observer.on_epoch](const EpochRecord& record) {
    signals.leaves("the last complete epoch is kept");
    if (show) show(record);
  };
  return observer;
}

std::optional<WarmStart> start_from(const std::optional<WarmTables>& warm) {
  return warm ? std::optional<WarmStart>({&warm->users, &warm->items}) : std::nullopt;
}

/// The model is there: writes the report and prints the summary.
void report_run(Run& run, TrainResult& result, TrainReport& report) {
  report.config_json = run.config_json;
  report.machine = machine_facts(run.engine);
  report.data.mean = result.mean;
  report.epochs = std::move(result.epochs);
  report.kept_epoch = result.kept_epoch;
  report.ended = ending(result);
  report.test = std::move(result.final_test);
  report.validation = std::move(result.final_validation);
  report.total_seconds = seconds_since_process_start();
  report.peak_rss_bytes = peak_resident_bytes();
  report.device_bytes = run.engine.backend().peak_device_bytes();
  if (!run.config.output.report.empty()) write_file(run.config.output.report, to_json(report));
  print_summary(run.config, report, run.console);
}

void train_alone(Run& run) {
  const Config& config = run.config;
  Log& log = run.console.log;
  const LoadedData data = load_data(config.data, run.rules, run.budget(), run.engine.pool(), log, run.signals.token());
  TrainReport report;
  report.load_seconds = run.seconds();
  require_training_memory(config, run.options, data.train, run.engine, 0);
  const std::optional<WarmTables> warm = load_warm_start(config, data.train, run.options);
  const HeldOut* test = data.test ? &*data.test : nullptr;
  const HeldOut* validation = data.validation ? &*data.validation : nullptr;
  TrainResult result;
  {
    Progress progress(run.console, run.options.epochs, data.train.entries());
    result = train(run.engine.backend(), data.train, test, validation, run.options, start_from(warm),
                   observer_of(run, progress, true), run.signals.token());
  }
  Model model = make_model(result, run.options, data.train.has_values(), run.config_json);
  model.user_ids = data.train.users();
  model.item_ids = data.train.items();
  save_model(model, config.output.model);
  log.info("the model is written to " + config.output.model);
  if (test != nullptr) {
    report.popularity = evaluate_popularity(*test, data.train.by_user(), data.train.by_item(),
                                            data.train.items().rank_order(), run.options.metrics);
  }
  report.data = data_facts(data.train, test, validation, data.counts);
  report_run(run, result, report);
}

void train_as_rank(Run& run, const JobEnvironment& job) {
  const Config& config = run.config;
  Log& log = run.console.log;
  const bool is_first = job.rank == 0;
  const SharedData data =
      load_shared_data(config.data, run.rules, run.budget(), run.engine.pool(), log, run.signals.token());
  TrainReport report;
  report.load_seconds = run.seconds();
  require_training_memory(config, run.options, data.train, run.engine, job.world_size);
  const std::optional<WarmTables> warm = load_warm_start(config, data.train, run.options);
  const std::optional<WarmStart> warm_start = start_from(warm);
  JobStore meeting_place(job, config);
  RankedTraining training(job, meeting_place, {config, data, run.options, warm_start}, run.engine, log);
  report.load_seconds += training.load_seconds();
  TrainResult result;
  {
    Progress progress(run.console, run.options.epochs, data.train.entries());
    result = training.train(observer_of(run, progress, is_first), run.signals.token(), report.replication.emplace());
  }
  Model model = make_model(result, run.options, data.train.has_values(), run.config_json);
  if (is_first) {
    model.user_ids = data.train.users();
    model.item_ids = data.train.items();
  }
  const WritingFacts written = training.write_model(model, config.output.model);
  report.popularity = training.popularity();
  if (!is_first) return;
  log.info(fmt::format("the model is written to {}, its rows by {} of {} ranks", config.output.model, written.writers,
                       job.world_size));
  report.data = data_facts(data.train, data.test, data.validation, data.counts);
  report_run(run, result, report);
}

}  // namespace

void run_train(const TrainArguments& arguments, Console& console) {
  StopSignals signals(console.err);
  std::vector<std::string> overrides = arguments.overrides;
  if (!arguments.report.empty()) overrides.push_back(report_override(arguments.report));
  Config config = load_config(arguments.config, overrides);
  const std::optional<JobEnvironment> job = job_of_this_process();
  const std::string config_json = config_to_json(config);
  const TrainOptions options = train_options(config);
  check_paths(config, arguments.config, !job || job->rank == 0);
  if (job) {
    config.compute.threads = threads_of_rank(*job, config.compute.threads, std::thread::hardware_concurrency(),
                                             static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN)));
  }
  Engine engine(config.compute, console.log);
  check_emulation(config, job.has_value(), engine);
  const ReadingRules rules = reading_rules(config.model.objective, config.model.values, config.model.alpha.has_value());
  Run run{config, config_json, options, rules, engine, signals, console};
  if (job) {
    train_as_rank(run, *job);
  } else {
    train_alone(run);
  }
}

}  // namespace concerto
