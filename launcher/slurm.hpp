// What Slurm tells a process in its environment. Pure. It does not need PMI or mpirun: srun starts the launchers.
//
// Two ways to start, told apart by the number of tasks:
//   srun --ntasks-per-node=1 concerto-launch --nproc-per-node K ...   one launcher a node, each starts K ranks
//   srun -n N concerto-launch ...                                     one launcher a rank, each starts that one
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assignment.hpp"

namespace concerto {

/// Nothing where the process does not belong to a job step of srun: outside Slurm, and in a batch script itself.
/// Error{kBadInput} that names the variable for what is missing, malformed or contradicts another.
[[nodiscard]] std::optional<SchedulerView> read_slurm(const EnvironmentVariables& variables);

/// How many nodes the batch script that runs the launcher directly, without srun, has been given; 0 where it is not in
/// one.
[[nodiscard]] std::uint32_t slurm_nodes_without_step(const EnvironmentVariables& variables);

/// "n[1-3,07],m04" -> n1 n2 n3 n07 m04, in order, zeros kept; several brackets in a name multiply. `where` is named in
/// Error{kBadInput}. At most 65,536 names.
[[nodiscard]] std::vector<std::string> expand_host_list(std::string_view text, const std::string& where);

/// "4(x2),3" -> 4 4 3. As above.
[[nodiscard]] std::vector<std::uint32_t> expand_tasks_per_node(std::string_view text, const std::string& where);

}  // namespace concerto
