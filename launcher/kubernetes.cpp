// An Indexed Job's variables.
#include "kubernetes.hpp"

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "variables.hpp"

namespace concerto {

std::optional<SchedulerView> read_kubernetes(const EnvironmentVariables& variables) {
  constexpr const char* kIndex = "JOB_COMPLETION_INDEX";
  constexpr const char* kNodes = "CONCERTO_NNODES";
  constexpr const char* kMeeting = "CONCERTO_RENDEZVOUS";
  if (!text_of(variables, kIndex)) return std::nullopt;
  SchedulerView view;
  view.name = "Kubernetes";
  view.nodes = required_number(variables, kNodes,
                               "JOB_COMPLETION_INDEX is: set it to the job's completions in its description", 1);
  view.node_rank = required_number(variables, kIndex, "", 0, view.nodes - 1);
  view.rendezvous = text_of(variables, kMeeting);
  if (view.nodes > 1 && !view.rendezvous) {
    throw Error(ErrorCode::kBadInput, "is not set, though CONCERTO_NNODES is above 1: set it to JOB-0.SERVICE:PORT",
                kMeeting);
  }
  if (const auto job = text_of(variables, "CONCERTO_JOB")) {
    if (!is_job_name(*job)) {
      throw Error(ErrorCode::kBadInput, fmt::format("must be 1 to 64 letters, digits, '-' and '_', not '{}'", *job),
                  "CONCERTO_JOB");
    }
    view.job = *job;
  }
  return view;
}

}  // namespace concerto
