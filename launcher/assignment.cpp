// Options and schedulers, reconciled.
#include "assignment.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "kubernetes.hpp"
#include "slurm.hpp"

namespace concerto {
namespace {

Error bad(const char* where, std::string message) {
  return {ErrorCode::kBadInput, std::move(message), where};
}

/// The option's value if there is one, with a notice where the scheduler says otherwise.
template <class T>
T chosen(const char* option, const std::optional<T>& wanted, const T& told, const SchedulerView* scheduler,
         Assignment& assignment) {
  if (!wanted) return told;
  if (scheduler != nullptr && *wanted != told) {
    assignment.notices.push_back(
        fmt::format("{} {} is used, though {} says {}", option, *wanted, scheduler->name, told));
  }
  return *wanted;
}

/// Nothing is left for a scheduler to say.
bool is_explicit(const LauncherOptions& options) {
  return options.nodes && options.node_rank && (options.nodes == 1U || options.rendezvous);
}

std::optional<SchedulerView> read_scheduler(const LauncherOptions& options, const EnvironmentVariables& variables,
                                            std::vector<std::string>& notices) {
  try {
    auto view = read_slurm(variables);
    if (!view) view = read_kubernetes(variables);
    return view;
  } catch (const Error& error) {
    if (!is_explicit(options)) throw;
    notices.push_back(
        fmt::format("options are used alone, as the scheduler's variables make no sense: {}", error.what()));
    return std::nullopt;
  }
}

/// A batch script that forgot srun would start one node's ranks and wait for nobody.
void check_step(const LauncherOptions& options, const EnvironmentVariables& variables) {
  const std::uint32_t nodes = slurm_nodes_without_step(variables);
  if (nodes <= 1 || options.nodes) return;
  throw bad("SLURM_JOB_NUM_NODES",
            fmt::format("this Slurm job has {} nodes, but srun has not started the launcher: use srun "
                        "--ntasks-per-node=1 concerto-launch ..., or say --nnodes 1",
                        nodes));
}

void choose_ranks(const LauncherOptions& options, const SchedulerView* scheduler, Assignment& assignment) {
  assignment.ranks_per_node = options.ranks_per_node.value_or(1);
  assignment.local_size = assignment.ranks_per_node;
  if (scheduler == nullptr || !scheduler->one_rank) return;
  if (assignment.ranks_per_node > 1) {
    if (is_explicit(options)) return;
    throw bad(
        "--nproc-per-node",
        fmt::format("{} starts several tasks a node, then each launcher starts one rank; use --ntasks-per-node=1, "
                    "or leave --nproc-per-node out",
                    scheduler->name));
  }
  assignment.local_rank = scheduler->one_rank->local_rank;
  assignment.local_size = scheduler->one_rank->local_size;
}

std::string told_rendezvous(const SchedulerView* scheduler) {
  if (scheduler == nullptr) return {};
  if (scheduler->rendezvous) return *scheduler->rendezvous;
  if (scheduler->first_host.empty()) return {};
  return fmt::format("{}:{}", scheduler->first_host, scheduler->port == 0 ? kDefaultPort : scheduler->port);
}

}  // namespace

Assignment assign(const LauncherOptions& options, const EnvironmentVariables& variables) {
  check_step(options, variables);
  Assignment assignment;
  const std::optional<SchedulerView> view = read_scheduler(options, variables, assignment.notices);
  const SchedulerView* const scheduler = view ? &*view : nullptr;
  assignment.job = !options.job.empty() ? options.job : scheduler != nullptr ? scheduler->job : "";
  assignment.nodes =
      chosen("--nnodes", options.nodes, scheduler != nullptr ? scheduler->nodes : 1U, scheduler, assignment);
  assignment.node_rank =
      chosen("--node-rank", options.node_rank, scheduler != nullptr ? scheduler->node_rank : 0U, scheduler, assignment);
  choose_ranks(options, scheduler, assignment);
  if (assignment.node_rank >= assignment.nodes) {
    throw bad("--node-rank", fmt::format("must be below --nnodes: {} of {}", assignment.node_rank, assignment.nodes));
  }
  constexpr std::uint64_t kMostRanks = 1U << 20U;
  if (std::uint64_t{assignment.nodes} * assignment.ranks_per_node > kMostRanks) {
    throw bad("--nproc-per-node", fmt::format("{} launchers of {} ranks are too many: at most {}", assignment.nodes,
                                              assignment.ranks_per_node, kMostRanks));
  }
  if (options.rendezvous && is_etcd(*options.rendezvous)) {
    if (assignment.nodes > 1 && assignment.job.empty()) {
      throw bad("--job", "is needed with etcd and several launchers: it is how they find each other");
    }
    if (assignment.nodes > 1 && scheduler == nullptr && !options.node_rank) {
      throw bad("--node-rank", fmt::format("is needed with --nnodes {}", assignment.nodes));
    }
    assignment.rendezvous = *options.rendezvous;
    return assignment;
  }
  const std::string told = told_rendezvous(scheduler);
  if (assignment.nodes > 1) {
    if (scheduler == nullptr && !options.node_rank) {
      throw bad("--node-rank", fmt::format("is needed with --nnodes {}", assignment.nodes));
    }
    if (!options.rendezvous && told.empty()) {
      throw bad("--rendezvous", fmt::format("is needed with --nnodes {}", assignment.nodes));
    }
    assignment.rendezvous = chosen("--rendezvous", options.rendezvous, told, scheduler, assignment);
  }
  return assignment;
}

}  // namespace concerto
