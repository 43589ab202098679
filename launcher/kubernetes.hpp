// What Kubernetes tells a pod of an Indexed Job in its environment. Pure.
//
//   JOB_COMPLETION_INDEX   set by Kubernetes: which pod this is
//   CONCERTO_NNODES        set by the job's description, equal to its `completions`
//   CONCERTO_RENDEZVOUS    set by it, too: HOST:PORT of pod 0, whose host name is JOB-0.SERVICE
#pragma once

#include <optional>

#include "assignment.hpp"

namespace concerto {

/// Nothing where JOB_COMPLETION_INDEX is not set. Error{kBadInput} that names the variable for what is missing or
/// makes no sense.
[[nodiscard]] std::optional<SchedulerView> read_kubernetes(const EnvironmentVariables& variables);

}  // namespace concerto
