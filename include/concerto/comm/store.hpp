// The store: where the processes of a job find each other and agree. A small, consistent map from keys to values with
// revisions, leases, watches and locks; the embedded one lives in the first launcher, the other is etcd.
//
// Every change gets the next revision of the whole store. Keys are job-relative paths ("members/3"); an implementation
// puts them under the job's prefix and nobody reaches outside. Calls block up to the client's time limit and are
// thread-safe; a call that failed with kTimeout or kLost may or may not have had its effect, and callers use
// compare-and-swap where that matters. kUnreachable: there was no connection within the limit, so that it had none.
// kRefused: a certificate, a role, a key or a size that the store does not take. Keys and values are bytes: a key has 1
// to kMaxStoreKey of them, a value at most kMaxStoreValue.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/result.hpp"

namespace concerto {

/// Rises by one or more with each change of the store; 0: before all.
using Revision = std::uint64_t;
/// 0: none.
using LeaseId = std::uint64_t;

inline constexpr std::size_t kMaxStoreKey = 512;
inline constexpr std::size_t kMaxStoreValue = std::size_t{1} << 20;
/// About the most bytes (keys, values, some for each entry) that one list() gives; a prefix that holds more is refused.
inline constexpr std::size_t kMaxStoreListing = std::size_t{16} << 20;

struct StoreEntry {
  std::string key;
  std::string value;
  Revision created = 0;   ///< when the key was last made
  Revision modified = 0;  ///< when its value was last written
  LeaseId lease = 0;
  friend bool operator==(const StoreEntry&, const StoreEntry&) = default;
};

/// A change that a watch reports. Of a deletion (by a call or because its lease ended) only key and `modified` are set.
struct StoreEvent {
  bool is_deletion = false;
  StoreEntry entry;
  friend bool operator==(const StoreEvent&, const StoreEvent&) = default;
};

/// What compare_and_swap found.
struct SwapOutcome {
  bool swapped = false;
  Revision revision = 0;              ///< of the write, where swapped
  std::optional<StoreEntry> present;  ///< where not swapped: what the key holds, if anything
};

/// A stream of changes, resumed by itself over lost connections from the last revision seen: none is lost and none is
/// seen twice. Where the store no longer has the changes since then (compaction), the watch reads the prefix anew and
/// reports `is_reset`.
class StoreWatch {
 public:
  struct Batch {
    /// Changes before these were lost to compaction: the events are the whole present contents of the prefix, and keys
    /// not among them are gone.
    bool is_reset = false;
    std::vector<StoreEvent> events;  ///< in the order of revisions; empty: the time passed without any
  };
  virtual ~StoreWatch() = default;
  /// Waits up to `limit` for changes. A store that cannot be reached for a while is no failure: the time passes without
  /// events. kRefused, or kLost when the store is gone for good: it has lost its contents, or the client is closed.
  /// From one thread at a time.
  [[nodiscard]] virtual Result<Batch> next(std::chrono::milliseconds limit) = 0;
  /// The next() that waits, or else the one to come, returns soon and without events. From any thread.
  virtual void interrupt() noexcept = 0;
};

/// A held lock. `fencing` is the create revision of its key: a later holder's is higher, so that whoever is shown a
/// lower one than before refuses. Destroying it releases the lock, as the end of its lease does; it waits for the store
/// for the time of a call, and where that was in vain the release follows when its lease is next kept alive. After its
/// client is destroyed only the lease ends it.
class StoreLock {
 public:
  virtual ~StoreLock() = default;
  [[nodiscard]] virtual Revision fencing() const noexcept = 0;
};

class Store {
 public:
  virtual ~Store() = default;
  /// "embedded at 10.0.0.1:4711", "etcd at https://..."
  [[nodiscard]] virtual std::string description() const = 0;

  [[nodiscard]] virtual Result<Revision> put(std::string_view key, std::string_view value, LeaseId lease = 0) = 0;
  [[nodiscard]] virtual Result<std::optional<StoreEntry>> get(std::string_view key) = 0;
  /// All keys that begin with `prefix`, in the order of keys, and the revision at which they were read.
  struct Listing {
    Revision revision = 0;
    std::vector<StoreEntry> entries;
  };
  [[nodiscard]] virtual Result<Listing> list(std::string_view prefix) = 0;
  /// Writes if the key's `modified` is `expected`; 0: if there is no such key.
  [[nodiscard]] virtual Result<SwapOutcome> compare_and_swap(std::string_view key, Revision expected,
                                                             std::string_view value, LeaseId lease = 0) = 0;
  /// True if there was one.
  [[nodiscard]] virtual Result<bool> erase(std::string_view key) = 0;

  /// A lease ends `time_to_live` after it was granted or last kept alive, or a little later (a store may round up, to
  /// its own least time); its keys are then deleted. Writing with a lease that has ended is kLost.
  [[nodiscard]] virtual Result<LeaseId> grant_lease(std::chrono::milliseconds time_to_live) = 0;
  /// What is left of it from now on; kLost if it has ended.
  [[nodiscard]] virtual Result<std::chrono::milliseconds> keep_alive(LeaseId lease) = 0;
  /// Ends the lease now. One that has ended already is no failure.
  [[nodiscard]] virtual Result<void> revoke(LeaseId lease) = 0;

  /// Changes of keys with `prefix` after revision `after` (as list() gave it).
  [[nodiscard]] virtual Result<std::unique_ptr<StoreWatch>> watch(std::string_view prefix, Revision after) = 0;

  /// Waits up to `limit` to be the holder of the lock `name`, in the order in which holders asked; kTimeout if it is
  /// not by then, kLost if the lease ends. The lock ends with `lease`, and whoever lets the lease end learns of it only
  /// by being refused for its fencing. Locks have names of their own: they are no keys.
  [[nodiscard]] virtual Result<std::unique_ptr<StoreLock>> lock(std::string_view name, LeaseId lease,
                                                                std::chrono::milliseconds limit) = 0;
};

}  // namespace concerto
