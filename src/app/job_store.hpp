// The store of the job that this process is a rank of: where the launcher says it is, with the credentials that it
// gave.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/identity.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/store.hpp"
#include "concerto/config/config.hpp"

namespace concerto {

/// Who this process is, from its environment; nothing for a process that no launcher started. Error{kBadInput} that
/// names the variable.
[[nodiscard]] std::optional<JobEnvironment> job_of_this_process();

/// A client of the store, and the network under it.
class JobStore {
 public:
  /// The store that the launcher names, else cluster.store. Error{kBadInput} naming the variable or key where they
  /// contradict each other, or neither names one, or what it takes is missing or wrong; Error{kIo} where etcd does not
  /// answer.
  JobStore(const JobEnvironment& job, const Config& config);
  ~JobStore();
  [[nodiscard]] Store& store() const noexcept { return *store_; }
  /// What this rank shows an embedded store, and the other ranks; nothing: it shows etcd what the configuration names.
  [[nodiscard]] const std::optional<Credentials>& credentials() const noexcept { return credentials_; }

 private:
  std::optional<Credentials> credentials_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Store> store_;
};

}  // namespace concerto
