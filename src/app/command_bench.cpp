// `concerto bench SWEEP.toml`: the same work under several levels, over and over, and what each level was worth.
#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/config/sweep.hpp"

#include "bench/runner.hpp"
#include "commands.hpp"
#include "job_store.hpp"
#include "signals.hpp"

namespace concerto {
namespace {

using bench::CaseRecord;
using bench::LevelRecord;
using bench::LevelSummary;
using bench::Results;
using bench::Spread;

/// Leaves the cases that are asked for, in the order of the sweep.
void choose_cases(Sweep& sweep, const std::vector<std::string>& names) {
  if (names.empty()) return;
  std::vector<std::string> known;
  for (const SweepCase& one : sweep.cases) known.push_back(one.name);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw Error(ErrorCode::kBadInput, fmt::format("the sweep has no such case; it has {}", fmt::join(known, ", ")),
                "--case " + name);
  }
  std::erase_if(sweep.cases,
                [&](const SweepCase& one) { return std::find(names.begin(), names.end(), one.name) == names.end(); });
}

std::string command_of(const BenchArguments& arguments) {
  std::string command = "concerto bench " + arguments.sweep;
  if (!arguments.out.empty()) command += " --out " + arguments.out;
  for (const std::string& name : arguments.cases) command += " --case " + name;
  if (arguments.repeats) command += fmt::format(" --repeats {}", *arguments.repeats);
  for (const std::string& setting : arguments.overrides) command += " --set " + setting;
  return command;
}

std::string spread_text(const std::optional<Spread>& spread, int digits) {
  return spread ? fmt::format("{:.{}f}", spread->median, digits) : "-";
}

std::string range_text(const std::optional<Spread>& spread) {
  return spread ? fmt::format("{:.3f} to {:.3f}", spread->low, spread->high) : "-";
}

std::string limit_text(const CaseRecord& record, const LevelRecord& level) {
  const auto limit = std::find_if(record.of.limits.begin(), record.of.limits.end(),
                                  [&](const SweepLimit& one) { return one.level == level.level.name; });
  if (limit == record.of.limits.end()) return "";
  const std::optional<bool>& holds = level.summary.within_limit;
  return fmt::format("at most {:g}: {}", limit->at_most, !holds ? "not known" : *holds ? "yes" : "NO");
}

/// Medians over the runs that count.
void print_case(std::ostream& out, const CaseRecord& record) {
  out << fmt::format("\n{}: {}\n", record.of.name, record.of.title);
  const std::string of_baseline = "of " + record.of.baseline;
  const std::size_t width = std::max<std::size_t>(of_baseline.size(), 6);
  out << fmt::format("  {:<16} {:>5} {:>11} {:>{}} {:>17} {:>10}  {}\n", "level", "runs", "to target/s", of_baseline,
                     width, "least to most", record.metric, "limit");
  for (const LevelRecord& level : record.levels) {
    const LevelSummary& summary = level.summary;
    std::string line =
        fmt::format("  {:<16} {:>5} {:>11} {:>11} {:>17} {:>10}  {}", level.level.name, summary.done,
                    spread_text(summary.time_to_target, 2), spread_text(summary.ratio, 3), range_text(summary.ratio),
                    spread_text(summary.final_metric, 5), limit_text(record, level));
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
    if (summary.voids > 0) out << fmt::format("  {:<16} {} runs void\n", "", summary.voids);
    if (summary.failed > 0) out << fmt::format("  {:<16} {} runs failed\n", "", summary.failed);
  }
}

/// Runs of one way to end.
std::uint32_t count(const Results& results, std::uint32_t LevelSummary::*of) {
  std::uint32_t sum = 0;
  for (const CaseRecord& record : results.cases) {
    for (const LevelRecord& level : record.levels) sum += level.summary.*of;
  }
  return sum;
}

}  // namespace

int run_bench(const BenchArguments& arguments, Console& console) {
  if (job_of_this_process()) {
    throw Error(ErrorCode::kBadInput, "starts the ranks of its runs itself: it is run without concerto-launch",
                "concerto bench");
  }
  StopSignals signals(console.err);
  Sweep sweep = load_sweep(arguments.sweep);
  choose_cases(sweep, arguments.cases);
  if (arguments.repeats) sweep.repeats = *arguments.repeats;
  const std::string out = arguments.out.empty() ? sweep.name + ".bench" : arguments.out;
  bench::Runner runner(std::move(sweep), {arguments.sweep, out, arguments.overrides, command_of(arguments)},
                       console.log);
  signals.leaves("the runs that have ended are kept");
  runner.run(signals.token());
  const Results& results = runner.results();
  const std::uint32_t failed = count(results, &LevelSummary::failed);
  const std::uint32_t ended = count(results, &LevelSummary::done) + count(results, &LevelSummary::voids) + failed;
  if (signals.token().stop_requested() && ended == 0) {
    throw Error(ErrorCode::kCancelled, "stopped before a run had ended", "concerto bench");
  }
  if (signals.token().stop_requested()) console.out << "stopped on request; the runs that have ended are kept\n";
  for (const CaseRecord& record : results.cases) print_case(console.out, record);
  const std::filesystem::path folder(out);
  console.out << fmt::format("\nresults  {}\npage     {}\n", (folder / "results.json").string(),
                             (folder / "index.html").string());
  console.out << std::flush;
  return failed == 0 ? 0 : 1;
}

}  // namespace concerto
