// Processes as Linux has them: starting a rank, signalling all that it has started, and leaving nothing behind.
//
// What holds. Each rank leads a process group of its own, and asks the kernel to be killed when the launcher dies
// (PR_SET_PDEATHSIG). When a rank has ended, the rest of its group is killed. The launcher is a child subreaper: a
// process that leaves the group (setsid, a daemon) becomes the launcher's child once its parents are gone, and is
// killed at the end of the job. A second process guards the launcher in the same way (guard.hpp). What does not hold:
// if guard and launcher are killed in the same instant, ranks die, but their own children may stay, as there is nobody
// left to kill them; a container or a scheduler with cgroups covers that.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "concerto/base/result.hpp"
#include "concerto/comm/job_environment.hpp"

#include "descriptor.hpp"
#include "supervisor.hpp"

namespace concerto {

/// The descriptor that a rank finds its credentials at, where it is given any in memory.
inline constexpr int kCredentialsDescriptor = 3;

struct ProcessSpec {
  std::string program;               ///< a path
  std::vector<std::string> command;  ///< with the program's name first
  EnvironmentVariables environment;  ///< the whole of it
  std::vector<int> processors;       ///< to be bound to; empty: as the launcher
  int credentials = -1;              ///< becomes kCredentialsDescriptor; -1: none
};

struct StartedProcess {
  pid_t id = 0;
  Descriptor out;  ///< what it writes, non-blocking
  Descriptor err;
};

/// Where a shell would find the program. kRefused with the reason where it would not.
[[nodiscard]] Result<std::string> find_program(const std::string& name, const std::string& search_path);

/// Starts it in a process group of its own, its standard input empty, its signals as by default. Returns once the
/// program runs. kRefused: the system does not run this file; kAborted: the system gives no process or descriptor.
/// Call from the main thread: the kernel kills the process when the thread that started it ends.
[[nodiscard]] Result<StartedProcess> start_process(const ProcessSpec& spec);

/// Signals the group that `leader` leads. Nothing happens where it is gone.
void signal_group(pid_t leader, int number) noexcept;

struct DeadProcess {
  pid_t id = 0;
  ExitStatus status;
};
/// Reaps children that have ended; those ended by a signal come first. `before_reaping` is called for each while its
/// number is still its own: then a group can be killed without hitting another.
[[nodiscard]] std::vector<DeadProcess> collect_dead_children(const std::function<void(pid_t)>& before_reaping);

/// Orphans among this process's descendants become its children instead of init's.
void become_subreaper();
/// Kills and reaps children, and the orphans that these leave, until there are none, or for `limit_ms`. SIGCHLD must
/// be blocked. Returns whether none is left.
bool kill_descendants(int limit_ms) noexcept;

/// Processors that this process may run on, ascending.
[[nodiscard]] std::vector<int> allowed_processors();
/// Processors that the machine has in use.
[[nodiscard]] std::size_t machine_processors() noexcept;

}  // namespace concerto
