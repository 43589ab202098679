// The services of a job for real: its certificate authority and store in the first launcher, and the way to them in the
// others.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "assignment.hpp"
#include "job_services.hpp"

namespace concerto {

struct ServiceOptions {
  Assignment assignment;  ///< without the job's name where launcher 0 alone knows it
  std::filesystem::path join_file;
  std::string join_token;  ///< of the environment; goes before the file
  StoreFiles store_files;
  bool is_trusted_fabric = false;
  std::chrono::milliseconds join_limit{300'000};
  std::chrono::milliseconds lost_after{10'000};
  /// Called between two attempts to find launcher 0: waits a little, and throws to give up.
  std::function<void()> pause;
};

/// With etcd: launcher 0 claims the job's name and clears what an earlier run has left under it, the others wait for
/// it; each talks to etcd alone. Without, in launcher 0: makes the authority and starts the store, which only this
/// machine reaches where there is one launcher, and writes the join file where there are more. In the others: waits for
/// the join file and connects, at most for join_limit. Starts threads. Errors: kIo where an address or file is not to
/// be had, or nobody answers; kBadInput for a join file of another job.
[[nodiscard]] std::unique_ptr<JobServices> make_job_services(const ServiceOptions& options);

}  // namespace concerto
