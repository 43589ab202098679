// Two processes instead of one, so that no single death leaves anything behind: the one that the user started guards
// the launcher proper, its child, and both inherit the orphans of a job.
//
// The guard passes signals on and gives the launcher's exit status as its own. When the launcher is killed, the guard
// kills what is left of the job. When the guard is killed, the launcher sees the end of a pipe and kills the job. The
// launcher is in a process group of its own: Ctrl-C on a terminal reaches it once, through the guard.
#pragma once

#include <functional>

#include "descriptor.hpp"

namespace concerto {

/// Runs `body` in a child process and returns there with its result; in the guarding process it returns when the child
/// has ended and nothing is left of its descendants: the child's status, or 128 + signal. `body` is given the end of a
/// pipe that shows a hang-up when the guard is gone. SIGINT, SIGTERM, SIGHUP (unless ignored) and SIGCHLD are blocked
/// from the call on, for signalfd or sigwaitinfo. Call before any thread is started. `report` is told one line when
/// the launcher was killed.
[[nodiscard]] int run_guarded(const std::function<int(Descriptor guard)>& body,
                              const std::function<void(const char* line)>& report);

}  // namespace concerto
