// A job's name in a store that outlives jobs: one first launcher at a time has it, finds it empty and leaves it empty.
//
// Keys: "job/holder" says who has the name; "job/open" is written anew again and again while launchers are still to
// come, so that a launcher that joins knows a living job from what one that died has left.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "concerto/comm/store.hpp"

#include "assignment.hpp"

namespace concerto {

/// What waiting is like: `pause` waits a little, and throws to give up.
struct ClaimLimits {
  std::chrono::milliseconds time_to_live{10'000};  ///< the name is free so long after its holder has died
  std::chrono::milliseconds patience{20'000};      ///< with another holder, who may be dead
  std::chrono::milliseconds announce_every{500};
  std::function<void()> pause;
};

/// The first launcher's.
class JobClaim {
 public:
  /// Takes the name, waiting for the lease of a holder that may be dead, and erases what is left under it. `store`
  /// outlives it. Error{kBadInput} where somebody living has the name; Error{kIo} where the store does not answer.
  JobClaim(Store& store, const Assignment& assignment, const ClaimLimits& limits);
  /// Erases what the job has written, while the name is still its own, and gives the name back.
  ~JobClaim();
  JobClaim(const JobClaim&) = delete;
  JobClaim& operator=(const JobClaim&) = delete;
  /// All launchers have come: from now on the name is only kept.
  void stop_announcing();

 private:
  void take_name(const Assignment& assignment);
  void erase_all();
  void keep(const std::stop_token& stop);
  [[nodiscard]] bool is_announcing();

  Store& store_;
  ClaimLimits limits_;
  std::string shape_;
  std::string holder_;
  LeaseId lease_ = 0;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool is_announcing_ = false;
  std::jthread keeper_;
};

/// Another launcher's: returns when the first one is seen to live. Error{kIo} after `limit`, Error{kBadInput} where it
/// was told of another number of launchers or ranks.
void await_claim(Store& store, const Assignment& assignment, std::chrono::milliseconds limit,
                 const std::function<void()>& pause);

}  // namespace concerto
