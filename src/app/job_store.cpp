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

namespace {

constexpr std::string_view kEmbedded = "embedded://";
constexpr const char* kStoreVariable = "CONCERTO_STORE";

[[noreturn]] void refuse(const std::string& what, const char* where) {
  throw Error(ErrorCode::kBadInput, what, where);
}

/// One store a job: what launchers know of their ranks and what ranks know of each other belongs together.
std::string store_of(const JobEnvironment& job, const ClusterConfig& cluster) {
  const bool is_configured = cluster.store != "embedded";
  if (job.store.empty() && !is_configured) {
    refuse(fmt::format("rank {} of {} has no store to meet the others in; start ranks with concerto-launch", job.rank,
                       job.world_size),
           kStoreVariable);
  }
  if (job.store.empty()) return cluster.store;
  if (is_configured && cluster.store != job.store) {
    refuse(fmt::format("is {}, but the launcher's is {}; start the job with concerto-launch --rendezvous {}",
                       cluster.store, job.store, cluster.store),
           "cluster.store");
  }
  return job.store;
}

/// The configuration's files where it names any, else those of the launcher.
std::unique_ptr<Store> open_etcd(const std::string& address, const JobEnvironment& job, const Config& config) {
  const SecurityConfig& security = config.security;
  StoreFiles files = job.store_files;
  if (!security.authority.empty()) files.authority = security.authority;
  if (!security.certificate.empty()) {
    files.certificate = security.certificate;
    files.private_key = security.private_key;
  }
  if (!security.credentials.empty()) files.credentials = security.credentials;
  StorePlaces places;
  places.address = job.store.empty() ? "cluster.store" : kStoreVariable;
  const bool is_launchers = security.credentials.empty() && !files.credentials.empty();
  places.credentials = is_launchers ? "CONCERTO_STORE_CREDENTIALS" : "security.credentials";
  return open_etcd_store(etcd_config(address, job.job, files, security.trusted_fabric), places);
}

}  // namespace

JobStore::JobStore(const JobEnvironment& job, const Config& config) {
  const std::string address = store_of(job, config.cluster);
  if (!address.starts_with(kEmbedded)) {
    store_ = open_etcd(address, job, config);
    return;
  }
  if (job.credentials.empty()) {
    refuse("the launcher's store asks for credentials, and there are none", "CONCERTO_CREDENTIALS");
  }
  credentials_ = read_credentials(job.credentials);
  network_ = make_tls_network(*credentials_, {});
  const Identity server{job.job, Role::kLauncher, 0, 0};
  store_ = make_embedded_store(*network_, address.substr(kEmbedded.size()), server);
}

JobStore::~JobStore() = default;

}  // namespace concerto
