// The command line by CLI11; the only file that sees it. Each command has a function that declares its options.
#include "cli.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/ids.hpp"

#include "commands.hpp"
#include "log.hpp"

namespace concerto {
namespace {

struct AllArguments {
  TrainArguments train;
  EvaluateArguments evaluate;
  RecommendArguments recommend;
  SimilarArguments similar;
  InspectArguments inspect;
  ExportArguments exporting;
  PrepareArguments prepare;
  SynthArguments synth;
  DoctorArguments doctor;
  BenchArguments bench;
  BenchPageArguments bench_page;
};

constexpr const char* kFormats = "auto, text, adjacency, matrix_market, libmf or npz";

constexpr std::uint64_t kMost32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t kMost64 = std::numeric_limits<std::uint64_t>::max();

/// Digits alone: CLI11 wraps a negative number around and prints limits of types.
CLI::Validator whole(std::uint64_t lowest, std::uint64_t highest) {
  const auto problem = [lowest, highest](const std::string& text) -> std::string {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc{} && stop == end && number >= lowest && number <= highest) return {};
    return fmt::format("must be a whole number from {} to {}, not {}", lowest, highest, text);
  };
  return {problem, ""};
}

/// A number for which `holds` is true; `limits` says the same in words.
CLI::Validator real(bool (*holds)(double), const char* limits) {
  const auto problem = [holds, limits](const std::string& text) -> std::string {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0' && std::isfinite(number) && holds(number)) return {};
    return fmt::format("must be a number{}, not {}", limits, text);
  };
  return {problem, ""};
}

CLI::Validator any_number() {
  return real([](double) { return true; }, "");
}

CLI::Validator spread() {
  return real([](double number) { return number >= 0.0; }, " of at least 0");
}

void add_threads(CLI::App& command, ComputeConfig& compute) {
  command.add_option("--threads", compute.threads, "threads; 0: every processor this process may use")
      ->check(whole(0, kMost32));
}

void add_backend(CLI::App& command, ComputeConfig& compute) {
  add_threads(command, compute);
  command.add_option("--backend", compute.backend, "auto, reference, cpu or cuda");
  command.add_option("--gather", compute.gather, "cuda: the precision factors are read in, bf16 or fp32")
      ->capture_default_str();
}

void add_train(CLI::App& program, TrainArguments& arguments) {
  CLI::App& command = *program.add_subcommand("train", "Train a model as a configuration file says");
  command.add_option("CONFIG", arguments.config, "configuration file (TOML)")->required();
  command.add_option("--set", arguments.overrides, "table.key=value: override a key; may be given often")
      ->allow_extra_args(false);
  command.add_option("--report", arguments.report, "write the report to this file (overrides output.report)");
  command.footer("Ctrl-C keeps the last complete epoch; twice ends at once.");
}

void add_evaluate(CLI::App& program, EvaluateArguments& arguments) {
  CLI::App& command = *program.add_subcommand("evaluate", "Measure a model on held-out entries, beside popularity");
  command.add_option("MODEL", arguments.model, "model directory")->required();
  command.add_option("--data", arguments.data, "held-out entries: a file, or a prepared directory's test part")
      ->required();
  command.add_option("--exclude", arguments.exclude, "training entries, left out of rankings; needed to rank");
  command.add_option("--history", arguments.history, "users unseen by the model are folded in from this file");
  command.add_option("--metrics", arguments.metrics, "such as rmse,mae,recall@20,ndcg@20,coverage@100")->delimiter(',');
  command.add_option("--format", arguments.format, std::string("format of the files: ") + kFormats);
  command
      .add_option("--min-value", arguments.min_value, "leave out entries below this value; by default as in training")
      ->check(any_number());
  command.add_option("--clip", arguments.clip, "none, or range: clamp predictions to the range of training values");
  command.add_option("--report", arguments.report, "write a JSON report to this file");
  add_backend(command, arguments.compute);
}

/// Commas are left to the command, which knows the ids that have some.
CLI::Option* add_ids(CLI::App& command, const char* name, std::vector<std::string>& ids, const char* help) {
  return command.add_option(name, ids, fmt::format("{}; may be given often, for ids with commas", help))
      ->allow_extra_args(false);
}

void add_recommend(CLI::App& program, RecommendArguments& arguments) {
  CLI::App& command = *program.add_subcommand("recommend", "The best items for users, as lines `user item score`");
  command.add_option("MODEL", arguments.model, "model directory")->required();
  add_ids(command, "--users", arguments.users, "ids of users, separated by commas; or all");
  command.add_option("--history", arguments.history, "recommend to the users of this file, from their entries there");
  command.add_option("--top", arguments.top, "items for each user")->check(whole(1, kMost32))->capture_default_str();
  command.add_option("--exclude", arguments.exclude, "entries whose items are not recommended again");
  command
      .add_option("--min-value", arguments.min_value,
                  "fold in history entries of at least this value; by default as in training")
      ->check(any_number());
  command.add_option("--format", arguments.format, "tsv, or json: one object a line");
  command.add_option("--input-format", arguments.input_format, std::string("format of the files: ") + kFormats);
  add_backend(command, arguments.compute);
}

void add_similar(CLI::App& program, SimilarArguments& arguments) {
  CLI::App& command = *program.add_subcommand("similar", "Items with the most similar factors, as `item item cosine`");
  command.add_option("MODEL", arguments.model, "model directory")->required();
  add_ids(command, "--items", arguments.items, "ids of items, separated by commas")->required();
  command.add_option("--top", arguments.top, "items for each item")->check(whole(1, kMost32))->capture_default_str();
  command.add_option("--format", arguments.format, "tsv, or json: one object a line");
  add_backend(command, arguments.compute);
}

void add_inspect(CLI::App& program, InspectArguments& arguments) {
  CLI::App& command = *program.add_subcommand("inspect", "What a model or a data set is");
  command.add_option("PATH", arguments.path, "model directory, prepared directory or data file")->required();
  command.add_option("--format", arguments.format, std::string("format of a data file: ") + kFormats);
  add_threads(command, arguments.compute);
}

void add_export(CLI::App& program, ExportArguments& arguments) {
  CLI::App& command = *program.add_subcommand("export", "Write a model's factors for other programs");
  command.add_option("MODEL", arguments.model, "model directory")->required();
  command.add_option("--format", arguments.format, "npy, safetensors or text")->required();
  command.add_option("--out", arguments.out, "directory to write (npy, text) or file (safetensors)")->required();
}

void add_prepare(CLI::App& program, PrepareArguments& arguments) {
  CLI::App& command = *program.add_subcommand("prepare", "Read a data set once, for `train` to map into memory");
  command.add_option("DATA", arguments.data.train, "data file")->required();
  command.add_option("--out", arguments.out, "directory to write")->required();
  command.add_option("--format", arguments.data.format, std::string("format of the data: ") + kFormats);
  command.add_option("--duplicates", arguments.data.duplicates, "sum, last, keep or error; sum if implicit, else last");
  command.add_option("--min-value", arguments.data.min_value, "leave out entries below this value")
      ->check(any_number());
  auto* implicit = command.add_flag("--implicit", arguments.is_implicit, "for implicit feedback");
  command.add_option("--values", arguments.values, "ignore, or weight")->needs(implicit);
  command.add_option("--users", arguments.data.users, "declared number of users")->check(whole(0, kMaxRows));
  command.add_option("--items", arguments.data.items, "declared number of items")->check(whole(0, kMaxRows));
  command.add_option("--test", arguments.data.test, "file of held-out entries to keep along");
  const auto split = [&arguments]() -> SplitConfig& {
    if (!arguments.data.split) arguments.data.split.emplace();
    return *arguments.data.split;
  };
  auto* share = command.add_option_function<double>(
      "--split", [split](double value) { split().test = value; }, "share to hold out, in (0, 1)");
  share->check(real([](double number) { return number > 0.0 && number < 1.0; }, " above 0 and below 1"));
  command
      .add_option_function<std::string>(
          "--split-by", [split](const std::string& by) { split().by = by; }, "random, user or last")
      ->needs(share);
  command
      .add_option_function<std::uint64_t>(
          "--split-seed", [split](std::uint64_t seed) { split().seed = seed; }, "seed of the split")
      ->needs(share)
      ->check(whole(0, kMost64));
  command.add_option("--memory-limit", arguments.compute.memory_limit_bytes, "bytes; 0: what the machine has")
      ->check(whole(0, kMost64));
  add_threads(command, arguments.compute);
}

void add_synth(CLI::App& program, SynthArguments& arguments) {
  CLI::App& command = *program.add_subcommand("synth", "Generate data with a known true model");
  SynthOptions& options = arguments.options;
  const auto add = [&command](const char* name, auto& value, const char* help, const CLI::Validator& validator) {
    command.add_option(name, value, help)->capture_default_str()->check(validator);
  };
  add("--users", options.users, "users", whole(1, kMaxRows - 1));
  add("--items", options.items, "items", whole(1, kMaxRows - 1));
  add("--entries", options.entries, "distinct pairs, held-out ones included", whole(1, kMost64));
  add("--rank", options.rank, "rank of the true model", whole(1, 8192));
  command.add_option("--out", arguments.out, "directory to write")->required();
  add("--zipf", options.zipf_exponent, "exponent of item popularity", spread());
  add("--activity", options.activity_sigma, "spread of the logarithm of user activity", spread());
  add("--mean", options.mean, "mean value", any_number());
  add("--signal", options.signal_stddev, "standard deviation of true scores", spread());
  add("--noise", options.noise_stddev, "standard deviation of the noise", spread());
  add("--test-share", options.test_share, "share of the entries in test.txt",
      real([](double number) { return number >= 0.0 && number < 1.0; }, " of at least 0 and below 1"));
  command.add_flag("--implicit", options.is_implicit, "clicks without values");
  add("--seed", options.seed, "seed", whole(0, kMost64));
  add_threads(command, arguments.compute);
}

void add_doctor(CLI::App& program, DoctorArguments& arguments) {
  CLI::App& command = *program.add_subcommand("doctor", "Whether a run could go well here, and what mends it");
  command.add_option("CONFIG", arguments.config, "configuration file (TOML): its data, memory, store and outputs too");
  command.add_option("--set", arguments.overrides, "table.key=value: override a key; may be given often")
      ->allow_extra_args(false);
  command.add_flag("--json", arguments.is_json, "one line of JSON: findings and facts");
  command.footer(
      "Behind concerto-launch ... -- it looks at every rank and at the connection of every pair, and rank 0 tells.\n"
      "Exit status: 1 if there is a problem, 0 if not, whatever the warnings.");
}

void add_bench(CLI::App& program, BenchArguments& arguments) {
  constexpr std::uint64_t kMostRepeats = 1000;
  CLI::App& command = *program.add_subcommand("bench", "Compare levels of replication on the same work");
  command.add_option("SWEEP", arguments.sweep, "sweep file (TOML): cases, and the levels that each compares")
      ->required();
  command.add_option("--out", arguments.out, "directory for the results, empty or new; by default NAME.bench");
  command.add_option("--case", arguments.cases, "only this case; may be given often")->allow_extra_args(false);
  command.add_option("--repeats", arguments.repeats, "runs of each level (by default as the sweep says)")
      ->check(whole(1, kMostRepeats));
  command.add_option("--set", arguments.overrides, "table.key=value: override a key in all runs; may be given often")
      ->allow_extra_args(false);
  command.footer(
      "Each run is `concerto-launch --nproc-per-node N -- concerto train CONFIG`, one at a time, the levels of a\n"
      "repeat after one another; its log and report stay in DIR/runs. Quality over time is measured after each run,\n"
      "from the versions that its ranks logged. What counts is the time until the baseline's final quality is "
      "reached,\n"
      "held against the baseline's own in the same repeat. DIR/results.json and its page, DIR/index.html, are written\n"
      "anew after each run.\n"
      "A run whose ranks did not keep the pace that they emulate is void: it is listed, made once more at the end of\n"
      "its case, and counts for nothing.\n\n"
      "Examples:\n"
      "  concerto bench configs/consistency-sweep.toml\n"
      "  concerto bench configs/consistency-sweep.toml --case one-slow --repeats 1 --out try\n\n"
      "Ctrl-C ends the run that is under way and keeps the others'; twice ends at once.\n"
      "Exit status: 1 if a run failed.");
}

void add_bench_page(CLI::App& program, BenchPageArguments& arguments) {
  CLI::App& command = *program.add_subcommand("bench-page", "The results of a sweep as a page for the browser");
  command.add_option("RESULTS", arguments.results, "results.json, as `concerto bench` writes it")->required();
  command.add_option("--out", arguments.out, "HTML file to write")->required();
  command.footer("The page is one file that needs no network. Results of a sweep that is not done give a page too.");
}

int run_chosen(const CLI::App& program, const AllArguments& arguments, Console& console) {
  const std::string name = program.get_subcommands().front()->get_name();
  if (name == "train") run_train(arguments.train, console);
  if (name == "evaluate") run_evaluate(arguments.evaluate, console);
  if (name == "recommend") run_recommend(arguments.recommend, console);
  if (name == "similar") run_similar(arguments.similar, console);
  if (name == "inspect") run_inspect(arguments.inspect, console);
  if (name == "export") run_export(arguments.exporting, console);
  if (name == "prepare") run_prepare(arguments.prepare, console);
  if (name == "synth") run_synth(arguments.synth, console);
  if (name == "bench") return run_bench(arguments.bench, console);
  if (name == "bench-page") run_bench_page(arguments.bench_page, console);
  return name == "doctor" ? run_doctor(arguments.doctor, console) : 0;
}

/// The first line alone: an error is one line.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

int parse_and_run(const std::vector<std::string>& words, std::ostream& out, std::ostream& err) {
  CLI::App program{"Concerto factorizes large sparse matrices: ratings or clicks in, factors and recommendations out.",
                   "concerto"};
  program.set_version_flag("--version", std::string("concerto ") + CONCERTO_VERSION);
  program.require_subcommand(1);
  program.footer(
      "concerto COMMAND --help explains a command. Exit status: 0 done, 1 the system refused something,\n"
      "2 the command, the configuration or the data is wrong, 130 interrupted with nothing to keep.");
  AllArguments arguments;
  add_train(program, arguments.train);
  add_evaluate(program, arguments.evaluate);
  add_recommend(program, arguments.recommend);
  add_similar(program, arguments.similar);
  add_inspect(program, arguments.inspect);
  add_export(program, arguments.exporting);
  add_prepare(program, arguments.prepare);
  add_synth(program, arguments.synth);
  add_doctor(program, arguments.doctor);
  add_bench(program, arguments.bench);
  add_bench_page(program, arguments.bench_page);
  try {
    program.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error, out, err);
    throw Error(ErrorCode::kBadInput, one_line(error.what()) + " (see --help)", "command line");
  }
  Log log(err);
  Console console{out, err, log, &err == &std::cerr && isatty(STDERR_FILENO) == 1};
  return run_chosen(program, arguments, console);
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  try {
    const int status = parse_and_run(arguments, out, err);
    if (!out.flush()) throw Error(ErrorCode::kIo, "cannot be written; the output is not whole", "standard output");
    return status;
  } catch (const Error& error) {
    err << "concerto: error: " << one_line(error.what()) << std::endl;
    return exit_status(error.code());
  } catch (const std::bad_alloc&) {
    err << "concerto: error: memory: the system gives no more; use less data, a lower rank or fewer threads"
        << std::endl;
    return 1;
  } catch (const std::exception& error) {
    err << "concerto: error: " << one_line(error.what()) << std::endl;
    return 1;
  }
}

}  // namespace concerto
