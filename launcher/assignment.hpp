// Which part of a job a launcher has to start: from its options, else from the scheduler that started it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/comm/job_environment.hpp"

#include "options.hpp"

namespace concerto {

/// What a scheduler says. Launchers are numbered, not machines: with one scheduler task for each rank, several
/// launchers share a machine and each starts one rank.
struct SchedulerView {
  std::string name;                       ///< "Slurm job 17", for messages
  std::string job;                        ///< a name for the job that all of its launchers arrive at; may be empty
  std::uint32_t nodes = 1;                ///< launchers
  std::uint32_t node_rank = 0;            ///< of this launcher
  std::string first_host;                 ///< where launcher 0 is; may be empty
  std::optional<std::string> rendezvous;  ///< said outright
  std::uint32_t port = 0;                 ///< for a rendezvous on first_host
  /// One launcher for each rank: place of that rank among those on its machine.
  struct OneRank {
    std::uint32_t local_rank = 0;
    std::uint32_t local_size = 1;
  };
  std::optional<OneRank> one_rank;
};

/// The port where launcher 0 is met unless something else is said.
inline constexpr std::uint32_t kDefaultPort = 29'500;

struct Assignment {
  std::string job;  ///< may be empty: any name will do
  std::uint32_t nodes = 1;
  std::uint32_t node_rank = 0;
  std::uint32_t ranks_per_node = 1;
  std::uint32_t local_rank = 0;  ///< of the first rank here
  std::uint32_t local_size = 1;  ///< ranks on this machine, also of other launchers
  std::string rendezvous;        ///< "HOST:PORT" of launcher 0, "etcd://..."; empty: with one launcher
  std::vector<std::string> notices;

  [[nodiscard]] Rank world_size() const noexcept { return nodes * ranks_per_node; }
  [[nodiscard]] Rank first_rank() const noexcept { return node_rank * ranks_per_node; }
};

/// Options win over what the scheduler says; where they contradict it there is a notice. Error{kBadInput} that names
/// the option or variable for what makes no sense.
[[nodiscard]] Assignment assign(const LauncherOptions& options, const EnvironmentVariables& variables);

}  // namespace concerto
