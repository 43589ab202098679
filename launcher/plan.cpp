// From an assignment to the environment of every rank.
#include "plan.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/comm/join.hpp"

#include "devices.hpp"

namespace concerto {
namespace {

constexpr const char* kThreads = "CONCERTO_THREADS";
constexpr const char* kOmpThreads = "OMP_NUM_THREADS";
constexpr const char* kVisible = "CUDA_VISIBLE_DEVICES";

/// Binds ranks to shares of the processors, so that each one's "every processor this process may use" is its share.
/// A launcher of one rank is bound by whoever started it, if at all; it only says how many threads are its share.
void share_processors(const LaunchPlan& plan, const Machine& machine, std::uint32_t index, RankPlan& rank) {
  const Assignment& assignment = plan.assignment;
  const std::size_t allowed = std::max<std::size_t>(machine.allowed_processors.size(), 1);
  const bool is_alone = assignment.ranks_per_node == 1;
  const bool is_bound_already = is_alone && allowed < machine.processors;
  const std::size_t sharing = is_bound_already ? 1 : assignment.local_size;
  rank.threads = std::max<std::size_t>(allowed / sharing, 1);
  if (is_alone || plan.options.bind == "none") return;
  rank.processors = share_of(machine.allowed_processors, index, assignment.ranks_per_node);
  if (!rank.processors.empty()) rank.threads = rank.processors.size();
}

}  // namespace

LaunchPlan make_plan(const LauncherOptions& options, const Machine& machine, const std::string& job,
                     const std::string& program) {
  LaunchPlan plan;
  plan.options = options;
  plan.assignment = assign(options, machine.environment);
  Assignment& assignment = plan.assignment;
  if (assignment.job.empty() && assignment.node_rank == 0) assignment.job = job;
  plan.program = program;
  plan.notices = assignment.notices;
  const DevicePlan devices = plan_devices(options.devices, machine.environment, machine.devices, assignment.local_rank,
                                          assignment.ranks_per_node, assignment.local_size);
  plan.notices.insert(plan.notices.end(), devices.notices.begin(), devices.notices.end());
  for (std::uint32_t i = 0; i < assignment.ranks_per_node; ++i) {
    RankPlan rank;
    rank.job.job = assignment.job;
    rank.job.rank = assignment.first_rank() + i;
    rank.job.world_size = assignment.world_size();
    rank.job.local_rank = assignment.local_rank + i;
    rank.job.local_size = assignment.local_size;
    rank.job.node_rank = assignment.node_rank;
    if (is_etcd(assignment.rendezvous)) rank.job.store_files = options.store_files;
    rank.device = devices.visible[i];
    share_processors(plan, machine, i, rank);
    plan.ranks.push_back(std::move(rank));
  }
  return plan;
}

namespace {

/// What the rank's environment has beyond the launcher's.
EnvironmentVariables additions(const RankPlan& rank, const JobEnvironment& job, const Machine& machine) {
  EnvironmentVariables variables = format_job_environment(job);
  if (rank.device) variables[kVisible] = *rank.device;
  // Whoever has set them knows better.
  for (const char* name : {kThreads, kOmpThreads}) {
    if (!machine.environment.contains(name)) variables[name] = std::to_string(rank.threads);
  }
  return variables;
}

}  // namespace

ProcessSpec process_of(const LaunchPlan& plan, const RankPlan& rank, const Machine& machine,
                       const JobServices& services, const RankGrant& grant) {
  JobEnvironment job = rank.job;
  job.job = services.job();
  job.store = services.store();
  job.incarnation = grant.incarnation;
  if (grant.credentials) job.credentials = fmt::format("fd:{}", kCredentialsDescriptor);
  ProcessSpec spec;
  spec.program = plan.program;
  spec.command = plan.options.command;
  spec.environment = machine.environment;
  erase_job_environment(spec.environment);  // of a job that the launcher itself may be part of
  spec.environment.erase(kJoinTokenVariable);
  for (auto& [name, value] : additions(rank, job, machine)) spec.environment[name] = value;
  spec.processors = rank.processors;
  spec.credentials = grant.credentials.get();
  return spec;
}

void print_plan(const LaunchPlan& plan, const Machine& machine, std::ostream& out) {
  const Assignment& assignment = plan.assignment;
  out << fmt::format("job         {}\n", assignment.job.empty() ? "as launcher 0 names it" : assignment.job);
  out << fmt::format("launchers   {}, this is {}\n", assignment.nodes, assignment.node_rank);
  out << fmt::format("ranks       {} to {} of {}\n", plan.ranks.front().job.rank, plan.ranks.back().job.rank,
                     assignment.world_size());
  if (!assignment.rendezvous.empty()) out << fmt::format("rendezvous  {}\n", assignment.rendezvous);
  const std::string store = is_etcd(assignment.rendezvous) ? "etcd, at the rendezvous"
                            : assignment.nodes == 1        ? "in this launcher, at a free port of 127.0.0.1"
                            : assignment.node_rank == 0    ? "in this launcher, at the rendezvous"
                                                           : "in launcher 0, at the rendezvous";
  out << fmt::format("store       {}\n", store);
  if (!plan.options.join_file.empty()) out << fmt::format("join file   {}\n", plan.options.join_file);
  out << fmt::format("program     {}\n", plan.program);
  std::string command;
  for (const std::string& word : plan.options.command) command += (command.empty() ? "" : " ") + word;
  out << fmt::format("command     {}\n", command);
  out << fmt::format("grace       {} s\n", static_cast<double>(plan.options.grace.count()) / 1000.0);
  if (plan.options.time_limit.count() > 0) {
    out << fmt::format("time limit  {} s\n", static_cast<double>(plan.options.time_limit.count()) / 1000.0);
  }
  if (!plan.options.log_folder.empty()) out << fmt::format("logs        {}\n", plan.options.log_folder);
  for (const RankPlan& rank : plan.ranks) {
    const std::string processors = rank.processors.empty() ? "any" : fmt::format("{}", to_ranges(rank.processors));
    out << fmt::format("\nrank {}: device {}, processors {}\n", rank.job.rank, rank.device.value_or("not chosen"),
                       processors);
    for (const auto& [name, value] : additions(rank, rank.job, machine)) out << fmt::format("  {}={}\n", name, value);
  }
}

}  // namespace concerto
