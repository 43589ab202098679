// The embedded store as a pure state machine: keys, revisions, leases, locks and a bounded history of changes.
//
// It has no clock, thread or socket: time is told to it by advance(), and what depends on waiting (watches, locks that
// are held by others) is asked for again by its user whenever something has changed. So it can be run through any
// sequence of events in one thread. Who may do what is decided above it (store_service.hpp).
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "concerto/base/result.hpp"
#include "concerto/comm/store.hpp"

namespace concerto::embedded {

/// Time since any fixed moment.
using StoreTime = std::chrono::milliseconds;

struct MachineLimits {
  std::size_t stored_bytes = std::size_t{256} << 20;
  std::size_t history_events = 65'536;
  std::size_t history_bytes = std::size_t{64} << 20;
  std::size_t leases = 65'536;
  std::size_t waiting_for_locks = 65'536;  ///< holders included
  /// Whoever calls advance() at least this often: a longer gap means that the process stood still, so that nobody could
  /// keep a lease alive; leases then end later by that gap. 0: a gap means nothing.
  StoreTime longest_gap{0};
};

class StoreMachine {
 public:
  explicit StoreMachine(const MachineLimits& limits = {}) : limits_(limits) {}

  /// Makes it `now`, which never falls: leases that are due end, in the order of their ends, and their keys (in the
  /// order of keys) and places in locks go.
  void advance(StoreTime now);
  /// When the next lease ends, if any does.
  [[nodiscard]] std::optional<StoreTime> next_end() const;

  /// Of the latest change; 0: none.
  [[nodiscard]] Revision revision() const noexcept { return revision_; }
  /// Changes up to this revision are no longer in the history.
  [[nodiscard]] Revision compacted() const noexcept { return compacted_; }

  // Operations, at the time of the latest advance(). Keys and values have been checked.

  [[nodiscard]] Result<Revision> put(std::string_view key, std::string_view value, LeaseId lease);
  [[nodiscard]] std::optional<StoreEntry> get(std::string_view key) const;
  /// kRefused for more than kMaxStoreListing bytes.
  [[nodiscard]] Result<Store::Listing> list(std::string_view prefix) const;
  [[nodiscard]] Result<SwapOutcome> compare_and_swap(std::string_view key, Revision expected, std::string_view value,
                                                     LeaseId lease);
  bool erase(std::string_view key);

  [[nodiscard]] Result<LeaseId> grant(StoreTime time_to_live);
  [[nodiscard]] Result<StoreTime> keep_alive(LeaseId lease);
  /// True if there was such a lease.
  bool revoke(LeaseId lease);
  [[nodiscard]] bool has_lease(LeaseId lease) const { return leases_.contains(lease); }

  /// Changes of keys with `prefix` after revision `after`, in their order: at least one, if there is one, and no more
  /// than about `max_bytes` of them. They are all there were up to `through`. Nothing: they are compacted.
  struct Changes {
    Revision through = 0;
    std::vector<StoreEvent> events;
  };
  [[nodiscard]] std::optional<Changes> changes(std::string_view prefix, Revision after, std::size_t max_bytes) const;

  /// Takes a place in the queue of the lock and tells its revision, which is the fencing of whoever comes to hold it;
  /// the place that (name, token) has already, if it has one. A token stands for one attempt.
  [[nodiscard]] Result<Revision> enqueue(std::string_view name, std::string_view token, LeaseId lease);
  /// Nothing where there is no such place (its lease has ended).
  [[nodiscard]] std::optional<Revision> place(std::string_view name, std::string_view token) const;
  /// The first place of the queue: its holder's fencing. Nothing: free.
  [[nodiscard]] std::optional<Revision> holder(std::string_view name) const;
  [[nodiscard]] std::optional<LeaseId> lease_of_place(std::string_view name, std::string_view token) const;
  /// Gives the place up, held or not. True if there was one.
  bool leave(std::string_view name, std::string_view token);

 private:
  struct Lease {
    StoreTime time_to_live{};
    StoreTime end{};
    std::set<std::string, std::less<>> keys;
    std::set<std::pair<std::string, std::string>> places;  ///< (lock, token)
  };
  struct Place {
    std::string token;
    LeaseId lease = 0;
    Revision revision = 0;
  };

  void record(StoreEvent event);
  void attach(const std::string& key, LeaseId from, LeaseId to);
  void end_lease(LeaseId lease);
  void postpone_leases(StoreTime by);

  MachineLimits limits_;
  StoreTime now_{};
  bool has_time_ = false;
  Revision revision_ = 0;
  Revision compacted_ = 0;
  std::map<std::string, StoreEntry, std::less<>> entries_;
  std::size_t stored_bytes_ = 0;
  std::deque<StoreEvent> history_;
  std::size_t history_bytes_ = 0;
  LeaseId last_lease_ = 0;
  std::map<LeaseId, Lease> leases_;
  std::set<std::pair<StoreTime, LeaseId>> ends_;
  std::map<std::string, std::deque<Place>, std::less<>> locks_;
  std::size_t places_ = 0;
};

}  // namespace concerto::embedded
