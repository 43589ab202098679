// concerto-sim: simulates clusters of nodes, a seed each; checks every promise; finds planted bugs.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

#include "planted_names.hpp"
#include "simulator.hpp"

namespace concerto::sim {
namespace {

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t events = 0;
  std::uint64_t messages = 0;
  std::uint64_t faults = 0;
  Ticks time = 0;
};

bool fails(const Scenario& scenario) {
  return simulate(scenario).violation.has_value();
}

/// 0, or 1 where something failed.
int run_one(const Scenario& scenario, bool trace) {
  const SimulationResult result = simulate(scenario, trace);
  if (result.violation) {
    fmt::print("seed {} fails at {}: {}\n", scenario.seed, result.ended_at, *result.violation);
    return 1;
  }
  fmt::print("{} events, {} messages, ended at {}\nhash {:016x}\n", result.events, result.messages, result.ended_at,
             result.hash);
  return 0;
}

void report_failure(const Scenario& scenario, const SimulationResult& result) {
  const Scenario least = shrink(scenario, fails);
  const std::string file = fmt::format("seed-{}.scenario", scenario.seed);
  std::ofstream(file) << to_text(least);
  fmt::print("seed {} fails at {}: {}\n  replay: concerto-sim --seed {}\n  the least of it, {}: {}\n", scenario.seed,
             result.ended_at, *result.violation, scenario.seed, file, *simulate(least).violation);
}

int run_many(std::uint64_t first, std::uint64_t count) {
  Totals totals;
  std::uint64_t failed = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const Scenario scenario = draw_scenario(seed);
    const SimulationResult result = simulate(scenario);
    ++totals.seeds;
    totals.events += result.events;
    totals.messages += result.messages;
    totals.faults += result.faults;
    totals.time += result.ended_at;
    if (!result.violation) continue;
    // Shrinking takes its time; of many failures the first are enough.
    if (++failed <= 5) {
      report_failure(scenario, result);
    } else {
      fmt::print("seed {} fails at {}: {}\n", seed, result.ended_at, *result.violation);
    }
    std::fflush(stdout);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("{} seeds, {} failed; {} faults, {} messages, {} events, {:.1f} simulated cluster-hours, {:.1f} s\n",
             totals.seeds, failed, totals.faults, totals.messages, totals.events,
             static_cast<double>(totals.time) / 3.6e6, seconds);
  return failed == 0 ? 0 : 1;
}

/// How many seeds it took to see the bug; 0: it was not seen. In a child: a bug may end the process.
std::uint64_t seeds_to_find(Bug bug, std::uint64_t first, std::uint64_t count, std::string& how) {
  int ends[2];
  if (pipe(ends) != 0) throw io_error("make", "a pipe");
  const pid_t child = fork();
  if (child < 0) throw io_error("start", "a process");
  if (child == 0) {
    close(ends[0]);
    planted_bug = bug;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
      const std::string begun = fmt::format("{}\n", seed - first + 1);
      (void)!write(ends[1], begun.data(), begun.size());
      const SimulationResult result = simulate(draw_scenario(seed));
      if (result.violation) {
        const std::string line = fmt::format("! {}\n", *result.violation);
        (void)!write(ends[1], line.data(), line.size());
        _exit(1);
      }
    }
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  std::istringstream lines(text);
  std::uint64_t seeds = 0;
  how = "a check of the program itself";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("! ")) {
      how = line.substr(2);
    } else {
      seeds = std::stoull(line);
    }
  }
  return seeds;
}

int find_planted(std::uint64_t first, std::uint64_t count) {
  std::uint32_t found = 0;
  std::uint32_t bugs = 0;
  for (auto bug = static_cast<std::uint8_t>(Bug::kNone) + 1; bug < static_cast<std::uint8_t>(Bug::kCount); ++bug) {
    ++bugs;
    std::string how;
    const std::uint64_t seeds = seeds_to_find(static_cast<Bug>(bug), first, count, how);
    found += seeds > 0;
    const std::string verdict = seeds > 0 ? fmt::format("seed {}", seeds) : "NOT FOUND";
    fmt::print("{:<24} {:<10} {}\n", name_of(static_cast<Bug>(bug)), verdict, how);
    std::fflush(stdout);
  }
  fmt::print("{} of {} planted bugs found\n", found, bugs);
  return found == bugs ? 0 : 1;
}

int run(int argc, char** argv) {
  CLI::App app("Simulates clusters of Concerto's nodes under faults and checks every promise of replication.",
               "concerto-sim");
  std::uint64_t seed = 1;
  std::uint64_t first = 1;
  std::uint64_t seeds = 0;
  std::string scenario;
  bool trace = false;
  bool shows = false;
  bool planted = false;
  auto* one = app.add_option("--seed", seed, "simulate this one and print the hash of its events");
  auto* many = app.add_option("--seeds", seeds, "simulate so many; exit 0 only if none fails");
  app.add_option("--first-seed", first, "the first of --seeds")->capture_default_str();
  auto* file = app.add_option("--scenario", scenario, "simulate what this file says");
  app.add_flag("--trace", trace, "every event, to standard error");
  app.add_flag("--show", shows, "print the scenario of --seed instead of simulating it");
  app.add_flag("--planted", planted, "plant each known bug in turn, and look for it with up to --seeds");
  one->excludes(many)->excludes(file);
  many->excludes(file);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (planted) return find_planted(first, seeds == 0 ? 2'000 : seeds);
  if (many->count() > 0) return run_many(first, seeds);
  if (file->count() > 0) {
    std::ifstream in(scenario);
    if (!in) throw io_error("open", scenario);
    std::stringstream text;
    text << in.rdbuf();
    return run_one(parse_scenario(text.str(), scenario), trace);
  }
  if (shows) {
    fmt::print("{}", to_text(draw_scenario(seed)));
    return 0;
  }
  return run_one(draw_scenario(seed), trace);
}

}  // namespace
}  // namespace concerto::sim

int main(int argc, char** argv) {
  try {
    return concerto::sim::run(argc, argv);
  } catch (const concerto::Error& error) {
    std::fprintf(stderr, "concerto-sim: error: %s\n", error.what());
    return concerto::exit_status(error.code());
  }
}
