// How a rank learns who it is: a few environment variables that whoever starts ranks sets and ranks read.
//
// A process without them was not started by a launcher and is a run of its own. The names are part of the interface:
// any launcher may set them. Nothing here touches the process's real environment; maps go in and out.
//
//   CONCERTO_JOB          name of the job: letters, digits, '-' and '_', 1 to 64 of them
//   CONCERTO_RANK         0 to CONCERTO_WORLD_SIZE - 1
//   CONCERTO_WORLD_SIZE   ranks of the job
//   CONCERTO_LOCAL_RANK   0 to CONCERTO_LOCAL_SIZE - 1: which of this machine's ranks
//   CONCERTO_LOCAL_SIZE   ranks on this machine
//   CONCERTO_NODE_RANK    which launcher started it, from 0
//   CONCERTO_INCARNATION  which life of the rank, from 1
//   CONCERTO_STORE        "embedded://HOST:PORT" or "etcd://HOST:PORT[,HOST:PORT...]"; absent: ranks cannot meet
//   CONCERTO_CREDENTIALS  absolute path of a file that only its user can read, or "fd:N"; absent: none
//   CONCERTO_STORE_AUTHORITY, _CERTIFICATE, _KEY, _CREDENTIALS
//                         absolute paths: files by which a client shows etcd who it is (stores.hpp); absent: none
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "concerto/base/ids.hpp"

namespace concerto {

using EnvironmentVariables = std::map<std::string, std::string, std::less<>>;

/// Files by which a client shows etcd who it is; empty where there is none.
struct StoreFiles {
  std::string authority;
  std::string certificate;
  std::string private_key;
  std::string credentials;  ///< USER:PASSWORD
  friend bool operator==(const StoreFiles&, const StoreFiles&) = default;
};

struct JobEnvironment {
  std::string job;
  Rank rank = 0;
  Rank world_size = 1;
  std::uint32_t local_rank = 0;
  std::uint32_t local_size = 1;
  std::uint32_t node_rank = 0;
  Incarnation incarnation = 1;
  std::string store;        ///< empty: none
  std::string credentials;  ///< empty: none
  StoreFiles store_files;
  friend bool operator==(const JobEnvironment&, const JobEnvironment&) = default;
};

/// Whether `name` can be a job's: it becomes part of keys, certificates and file names.
[[nodiscard]] bool is_job_name(std::string_view name) noexcept;

/// Whether it is "embedded://HOST:PORT" or "etcd://HOST:PORT[,HOST:PORT...]".
[[nodiscard]] bool is_store_address(std::string_view text) noexcept;

/// Nothing where none of the variables that say who a rank is are set. Error{kBadInput} that names the variable where
/// one is missing, malformed or contradicts another. Other variables are not looked at.
[[nodiscard]] std::optional<JobEnvironment> parse_job_environment(const EnvironmentVariables& variables);

/// The variables of `job`, such that parsing them gives it again. Variables for "none" are left out.
[[nodiscard]] EnvironmentVariables format_job_environment(const JobEnvironment& job);

/// Takes the variables above out of `variables`: those of another job that the caller itself belongs to.
void erase_job_environment(EnvironmentVariables& variables);

/// The descriptor of credentials "fd:N"; nothing where they are a file.
[[nodiscard]] std::optional<int> credentials_descriptor(const JobEnvironment& job);

}  // namespace concerto
