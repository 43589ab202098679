// Orders to the fake NCCL: how it has to misbehave.
#pragma once

#include <functional>
#include <map>

namespace concerto {

/// Read by every call; written by tests, between uses. Ranks are those of the group.
struct FakeNcclOrders {
  int version = 22'809;
  /// Of a rank: after how many launches of work its communicators report an error of a remote rank.
  std::map<int, int> error_after;
  /// Of a rank: after how many launches work that is taken is never done.
  std::map<int, int> swallow_after;
  /// How many times each state is asked before it is not "in progress" any more.
  int slow_polls = 0;
  int refused_rank = -1;    ///< this one's init is an invalid argument
  int never_connects = -1;  ///< this one's init stays in progress
  bool hang_abort = false;  ///< until it is set to false
  bool hang_finalize = false;
};

/// What the fake has seen.
struct FakeNcclReport {
  int made = 0;
  int destroyed = 0;
  int aborted = 0;
  int misused = 0;  ///< calls on a communicator in progress, of other sizes than the peer's, after its end
};

/// The library's only function besides NCCL's: `fake_nccl_access(body)` calls body under the lock with both.
using FakeNcclAccess = void (*)(const std::function<void(FakeNcclOrders&, FakeNcclReport&)>& body);

}  // namespace concerto
