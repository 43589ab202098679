// Making communicators: threads of one process (inproc), processes over TCP (gloo), devices (nccl).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/communicator.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

/// What a test does to the ranks of an inproc group. Thread-safe.
class InprocFaults {
 public:
  virtual ~InprocFaults() = default;
  /// The rank's messages, in both directions, stay where they are until resume(), as those of a stopped process do.
  virtual void pause(Rank rank) = 0;
  virtual void resume(Rank rank) = 0;
  /// The rank's connections end, as those of a killed process do.
  virtual void cut(Rank rank) = 0;
};

struct InprocGroup {
  std::vector<std::unique_ptr<Communicator>> ranks;  ///< by rank; each may be used in a thread of its own
  std::shared_ptr<InprocFaults> faults;
};

/// `size` communicators of one process that share memory; messages are copied by the threads that meet. For one process
/// and for tests: same schedules, headers and failures as over a network.
[[nodiscard]] InprocGroup make_inproc_group(Rank size, const CommLimits& limits);

struct GlooOptions {
  std::string network_interface;  ///< "eth0"; empty: by address
  /// What other ranks reach this one at, name or number; where both are empty this machine's name is looked up.
  std::string address;
  /// Below which the group's ranks meet in the store: another one for each membership epoch, used once.
  std::string prefix = "collectives/0";
};

/// Connects rank `rank` of `size` with all others over TCP; blocks until all have come, at most for limits.connect.
/// Nothing is encrypted and nobody is asked who they are: for networks that are trusted. kTimeout naming the ranks that
/// did not come; kUnreachable; kConflict where the rank is taken; what the store answers. Error{kBadInput} for an
/// interface or address that is not this machine's. Two threads, one more for each direction of each peer that is sent
/// to or received from.
[[nodiscard]] Result<std::unique_ptr<Communicator>> make_gloo_communicator(Store& store, Rank rank, Rank size,
                                                                           const GlooOptions& options,
                                                                           const CommLimits& limits);

}  // namespace concerto
