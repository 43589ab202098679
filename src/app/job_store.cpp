// Reaching the job's store.
#include "job_store.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/networks.hpp"
#include "concerto/comm/stores.hpp"
#include "concerto/comm/trust.hpp"

namespace concerto {

std::optional<JobEnvironment> job_of_this_process() {
  EnvironmentVariables variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return parse_job_environment(variables);
}

JobStore::JobStore(const JobEnvironment& job) {
  constexpr std::string_view kEmbedded = "embedded://";
  const auto refuse = [](ErrorCode code, const std::string& what, const char* where) {
    throw Error(code, what, where);
  };
  if (job.store.empty()) {
    refuse(ErrorCode::kBadInput,
           fmt::format("rank {} of {} has no store to meet the others in; start ranks with concerto-launch", job.rank,
                       job.world_size),
           "CONCERTO_STORE");
  }
  if (!job.store.starts_with(kEmbedded)) {
    refuse(ErrorCode::kUnsupported, fmt::format("{}: ranks meet in the launcher's own store only, as yet", job.store),
           "CONCERTO_STORE");
  }
  if (job.credentials.empty()) {
    refuse(ErrorCode::kBadInput, "the launcher's store asks for credentials, and there are none",
           "CONCERTO_CREDENTIALS");
  }
  network_ = make_tls_network(read_credentials(job.credentials), {});
  const Identity server{job.job, Role::kLauncher, 0, 0};
  store_ = make_embedded_store(*network_, job.store.substr(kEmbedded.size()), server);
}

JobStore::~JobStore() = default;

}  // namespace concerto
