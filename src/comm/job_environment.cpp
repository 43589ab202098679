// Reads and writes the environment variables that tell a rank who it is.
#include "concerto/comm/job_environment.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

constexpr const char* kJob = "CONCERTO_JOB";
constexpr const char* kRank = "CONCERTO_RANK";
constexpr const char* kWorldSize = "CONCERTO_WORLD_SIZE";
constexpr const char* kLocalRank = "CONCERTO_LOCAL_RANK";
constexpr const char* kLocalSize = "CONCERTO_LOCAL_SIZE";
constexpr const char* kNodeRank = "CONCERTO_NODE_RANK";
constexpr const char* kIncarnation = "CONCERTO_INCARNATION";
constexpr const char* kStore = "CONCERTO_STORE";
constexpr const char* kCredentials = "CONCERTO_CREDENTIALS";

struct FileVariable {
  const char* name;
  std::string StoreFiles::*file;
};
constexpr std::array kStoreFiles = {FileVariable{"CONCERTO_STORE_AUTHORITY", &StoreFiles::authority},
                                    FileVariable{"CONCERTO_STORE_CERTIFICATE", &StoreFiles::certificate},
                                    FileVariable{"CONCERTO_STORE_KEY", &StoreFiles::private_key},
                                    FileVariable{"CONCERTO_STORE_CREDENTIALS", &StoreFiles::credentials}};

/// Those that say who a rank is: all are there, or none.
constexpr std::array kIdentity = {kJob, kRank, kWorldSize, kLocalRank, kLocalSize, kNodeRank, kIncarnation};

constexpr std::string_view kDescriptor = "fd:";

Error bad(const char* name, std::string message) {
  return {ErrorCode::kBadInput, std::move(message), name};
}

const std::string& required(const EnvironmentVariables& variables, const char* name) {
  const auto found = variables.find(name);
  if (found != variables.end()) return found->second;
  const auto* const other = std::ranges::find_if(kIdentity, [&](const char* key) { return variables.contains(key); });
  throw bad(name, fmt::format("missing, though {} is set: a launcher sets both", *other));
}

std::string optional_text(const EnvironmentVariables& variables, const char* name) {
  const auto found = variables.find(name);
  return found == variables.end() ? std::string() : found->second;
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

std::uint64_t number_of(const EnvironmentVariables& variables, const char* name, std::uint64_t lowest,
                        std::uint64_t highest) {
  const std::string& text = required(variables, name);
  const auto number = whole_number(text);
  if (!number || *number < lowest || *number > highest) {
    throw bad(name, fmt::format("must be a whole number from {} to {}, not '{}'", lowest, highest, text));
  }
  return *number;
}

std::uint32_t small_number_of(const EnvironmentVariables& variables, const char* name, std::uint32_t lowest,
                              std::uint32_t highest) {
  return static_cast<std::uint32_t>(number_of(variables, name, lowest, highest));
}

bool is_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view host = text.substr(0, colon);
  const auto port = whole_number(text.substr(colon + 1));
  const bool is_bracketed = host.front() == '[' && host.back() == ']' && host.size() > 2;
  return port && *port >= 1 && *port <= 65535 && (is_bracketed || host.find_first_of(":[]/, ") == std::string::npos);
}

void check_store(const std::string& store) {
  if (is_store_address(store)) return;
  throw bad(kStore, fmt::format("must be embedded://HOST:PORT or etcd://HOST:PORT[,HOST:PORT...], not '{}'", store));
}

void check_credentials(const std::string& credentials) {
  const std::string_view text = credentials;
  if (text.starts_with('/')) return;
  if (text.starts_with(kDescriptor)) {
    const auto number = whole_number(text.substr(kDescriptor.size()));
    if (number && *number > 2 && *number <= static_cast<std::uint64_t>(std::numeric_limits<int>::max())) return;
  }
  throw bad(kCredentials, fmt::format("must be an absolute path or fd:N with N above 2, not '{}'", credentials));
}

}  // namespace

bool is_job_name(std::string_view name) noexcept {
  constexpr std::size_t kLongest = 64;
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= kLongest && std::ranges::all_of(name, is_allowed);
}

bool is_store_address(std::string_view text) noexcept {
  constexpr std::string_view kEmbedded = "embedded://";
  constexpr std::string_view kEtcd = "etcd://";
  if (text.starts_with(kEmbedded)) return is_address(text.substr(kEmbedded.size()));
  if (!text.starts_with(kEtcd)) return false;
  for (std::string_view rest = text.substr(kEtcd.size());;) {
    const auto comma = rest.find(',');
    if (!is_address(rest.substr(0, comma))) return false;
    if (comma == std::string_view::npos) return true;
    rest.remove_prefix(comma + 1);
  }
}

std::optional<JobEnvironment> parse_job_environment(const EnvironmentVariables& variables) {
  if (std::ranges::none_of(kIdentity, [&](const char* name) { return variables.contains(name); })) return std::nullopt;
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max() - 1;
  JobEnvironment job;
  job.job = required(variables, kJob);
  if (!is_job_name(job.job)) {
    throw bad(kJob, fmt::format("must be 1 to 64 letters, digits, '-' and '_', not '{}'", job.job));
  }
  job.world_size = small_number_of(variables, kWorldSize, 1, kMost);
  job.rank = small_number_of(variables, kRank, 0, job.world_size - 1);
  job.local_size = small_number_of(variables, kLocalSize, 1, job.world_size);
  job.local_rank = small_number_of(variables, kLocalRank, 0, job.local_size - 1);
  job.node_rank = small_number_of(variables, kNodeRank, 0, job.world_size - 1);
  job.incarnation = number_of(variables, kIncarnation, 1, std::numeric_limits<Incarnation>::max());
  job.store = optional_text(variables, kStore);
  if (!job.store.empty()) check_store(job.store);
  job.credentials = optional_text(variables, kCredentials);
  if (!job.credentials.empty()) check_credentials(job.credentials);
  for (const auto& [name, file] : kStoreFiles) {
    job.store_files.*file = optional_text(variables, name);
    const std::string& path = job.store_files.*file;
    if (!path.empty() && !path.starts_with('/'))
      throw bad(name, fmt::format("must be an absolute path, not '{}'", path));
  }
  return job;
}

EnvironmentVariables format_job_environment(const JobEnvironment& job) {
  EnvironmentVariables variables = {
      {kJob, job.job},
      {kRank, std::to_string(job.rank)},
      {kWorldSize, std::to_string(job.world_size)},
      {kLocalRank, std::to_string(job.local_rank)},
      {kLocalSize, std::to_string(job.local_size)},
      {kNodeRank, std::to_string(job.node_rank)},
      {kIncarnation, std::to_string(job.incarnation)},
  };
  if (!job.store.empty()) variables.emplace(kStore, job.store);
  if (!job.credentials.empty()) variables.emplace(kCredentials, job.credentials);
  for (const auto& [name, file] : kStoreFiles) {
    if (!(job.store_files.*file).empty()) variables.emplace(name, job.store_files.*file);
  }
  return variables;
}

void erase_job_environment(EnvironmentVariables& variables) {
  for (const char* name : kIdentity) variables.erase(name);
  variables.erase(kStore);
  variables.erase(kCredentials);
  for (const FileVariable& variable : kStoreFiles) variables.erase(variable.name);
}

std::optional<int> credentials_descriptor(const JobEnvironment& job) {
  const std::string_view text = job.credentials;
  if (!text.starts_with(kDescriptor)) return std::nullopt;
  const auto number = whole_number(text.substr(kDescriptor.size()));
  return number ? std::optional<int>(static_cast<int>(*number)) : std::nullopt;
}

}  // namespace concerto
