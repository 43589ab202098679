// What a launcher is going to start, in full, before anything is: the ranks, and for each its environment, GPU and
// processors. Pure; what it needs to know of the machine is given.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "assignment.hpp"
#include "job_services.hpp"
#include "options.hpp"
#include "process_posix.hpp"

namespace concerto {

/// What of the machine matters here.
struct Machine {
  EnvironmentVariables environment;
  std::vector<int> allowed_processors;
  std::size_t processors = 1;  ///< of the machine
  std::uint32_t devices = 0;   ///< GPUs installed
};

struct RankPlan {
  JobEnvironment job;  ///< without store, credentials and incarnation: these are known when it starts
  std::optional<std::string> device;
  std::vector<int> processors;  ///< to be bound to; empty: not bound
  std::size_t threads = 1;      ///< value of CONCERTO_THREADS
};

struct LaunchPlan {
  Assignment assignment;
  LauncherOptions options;
  std::string program;  ///< path
  std::vector<RankPlan> ranks;
  std::vector<std::string> notices;
};

/// `job` names the job where nothing else does; the program has been found at `program`.
[[nodiscard]] LaunchPlan make_plan(const LauncherOptions& options, const Machine& machine, const std::string& job,
                                   const std::string& program);

/// What to start for a rank of the plan, now that its store and grant are known.
[[nodiscard]] ProcessSpec process_of(const LaunchPlan& plan, const RankPlan& rank, const Machine& machine,
                                     const std::string& store, const RankGrant& grant);

/// The plan for people: what --dry-run prints. `store` in words.
void print_plan(const LaunchPlan& plan, const Machine& machine, const std::string& store, std::ostream& out);

}  // namespace concerto
