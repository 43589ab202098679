// Drives a supervisor with real processes: performs its effects and tells it what happens, in one thread that waits in
// poll. What to do is the supervisor's business; here is only how.
#pragma once

#include <filesystem>
#include <functional>
#include <map>

#include "descriptor.hpp"
#include "job_services.hpp"
#include "process_posix.hpp"
#include "supervisor.hpp"

namespace concerto {

struct DriveOptions {
  SupervisorOptions supervisor;
  /// What to start for a rank; the credentials of its grant are filled in.
  std::function<ProcessSpec(Rank, const RankGrant&)> process_of;
  std::filesystem::path log_folder;  ///< empty: no files
  std::string name = "concerto-launch";
};

/// Runs the job to its end and returns the exit status; lines of ranks go to standard output and error, each behind
/// "[rank R] ". `guard` hangs up when the guarding process is gone. Signals as run_guarded() leaves them. Error{kIo}
/// where a log file cannot be written.
[[nodiscard]] int drive(const DriveOptions& options, JobServices& services, const Descriptor& guard);

}  // namespace concerto
