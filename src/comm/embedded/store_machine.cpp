// Keys, leases, history and locks of the embedded store.
#include "store_machine.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

namespace concerto::embedded {
namespace {

/// What an entry or a change costs beside its key and value: links, revisions, allocations.
constexpr std::size_t kOverhead = 128;

std::size_t size_of(const StoreEntry& entry) {
  return entry.key.size() + entry.value.size() + kOverhead;
}

Failure lease_has_ended(LeaseId lease) {
  return {FailureKind::kLost, fmt::format("lease {} has ended", lease)};
}

}  // namespace

void StoreMachine::advance(StoreTime now) {
  CONCERTO_CHECK(!has_time_ || now >= now_, "time has fallen");
  if (has_time_ && limits_.longest_gap > StoreTime{0} && now - now_ > limits_.longest_gap) postpone_leases(now - now_);
  now_ = now;
  has_time_ = true;
  while (!ends_.empty() && ends_.begin()->first <= now_) end_lease(ends_.begin()->second);
}

void StoreMachine::postpone_leases(StoreTime by) {
  ends_.clear();
  for (auto& [id, lease] : leases_) {
    lease.end += by;
    ends_.emplace(lease.end, id);
  }
}

std::optional<StoreTime> StoreMachine::next_end() const {
  if (ends_.empty()) return std::nullopt;
  return ends_.begin()->first;
}

void StoreMachine::record(StoreEvent event) {
  history_bytes_ += size_of(event.entry);
  history_.push_back(std::move(event));
  while (!history_.empty() && (history_.size() > limits_.history_events || history_bytes_ > limits_.history_bytes)) {
    compacted_ = history_.front().entry.modified;
    history_bytes_ -= size_of(history_.front().entry);
    history_.pop_front();
  }
}

void StoreMachine::attach(const std::string& key, LeaseId from, LeaseId to) {
  if (from == to) return;
  if (from != 0) leases_.at(from).keys.erase(key);
  if (to != 0) leases_.at(to).keys.insert(key);
}

Result<Revision> StoreMachine::put(std::string_view key, std::string_view value, LeaseId lease) {
  if (lease != 0 && !leases_.contains(lease)) return lease_has_ended(lease);
  const auto found = entries_.find(key);
  const std::size_t freed = found == entries_.end() ? 0 : size_of(found->second);
  const std::size_t needed = stored_bytes_ - freed + key.size() + value.size() + kOverhead;
  if (needed > limits_.stored_bytes)
    return Failure{FailureKind::kRefused, fmt::format("the store is full: {} bytes", limits_.stored_bytes)};
  stored_bytes_ = needed;
  ++revision_;
  StoreEntry& entry = found == entries_.end() ? entries_[std::string(key)] : found->second;
  if (entry.created == 0) {
    entry.key = key;
    entry.created = revision_;
  }
  entry.modified = revision_;
  entry.value = value;
  attach(entry.key, entry.lease, lease);
  entry.lease = lease;
  record({false, entry});
  return revision_;
}

std::optional<StoreEntry> StoreMachine::get(std::string_view key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

Result<Store::Listing> StoreMachine::list(std::string_view prefix) const {
  Store::Listing listing;
  listing.revision = revision_;
  std::size_t bytes = 0;
  for (auto at = entries_.lower_bound(prefix); at != entries_.end() && at->first.starts_with(prefix); ++at) {
    bytes += size_of(at->second);
    if (bytes > kMaxStoreListing)
      return Failure{FailureKind::kRefused,
                     fmt::format("the keys under '{}' hold more than {} bytes", prefix, kMaxStoreListing)};
    listing.entries.push_back(at->second);
  }
  return listing;
}

Result<SwapOutcome> StoreMachine::compare_and_swap(std::string_view key, Revision expected, std::string_view value,
                                                   LeaseId lease) {
  SwapOutcome outcome;
  const auto found = entries_.find(key);
  const Revision modified = found == entries_.end() ? 0 : found->second.modified;
  if (modified != expected) {
    if (found != entries_.end()) outcome.present = found->second;
    return outcome;
  }
  const Result<Revision> written = put(key, value, lease);
  if (!written) return written.failure();
  outcome.swapped = true;
  outcome.revision = written.value();
  return outcome;
}

bool StoreMachine::erase(std::string_view key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  StoreEvent event{true, {}};
  event.entry.key = found->first;
  event.entry.modified = ++revision_;
  attach(found->first, found->second.lease, 0);
  stored_bytes_ -= size_of(found->second);
  entries_.erase(found);
  record(std::move(event));
  return true;
}

Result<LeaseId> StoreMachine::grant(StoreTime time_to_live) {
  if (leases_.size() >= limits_.leases)
    return Failure{FailureKind::kRefused, fmt::format("the store has {} leases already", leases_.size())};
  const LeaseId id = ++last_lease_;
  Lease& lease = leases_[id];
  lease.time_to_live = time_to_live;
  lease.end = now_ + time_to_live;
  ends_.emplace(lease.end, id);
  return id;
}

Result<StoreTime> StoreMachine::keep_alive(LeaseId lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return lease_has_ended(lease);
  ends_.erase({found->second.end, lease});
  found->second.end = now_ + found->second.time_to_live;
  ends_.emplace(found->second.end, lease);
  return found->second.time_to_live;
}

bool StoreMachine::revoke(LeaseId lease) {
  if (!leases_.contains(lease)) return false;
  end_lease(lease);
  return true;
}

void StoreMachine::end_lease(LeaseId lease) {
  const auto found = leases_.find(lease);
  const auto keys = found->second.keys;
  const auto places = found->second.places;
  for (const std::string& key : keys) erase(key);
  for (const auto& [name, token] : places) leave(name, token);
  ends_.erase({found->second.end, lease});
  leases_.erase(found);
}

std::optional<StoreMachine::Changes> StoreMachine::changes(std::string_view prefix, Revision after,
                                                           std::size_t max_bytes) const {
  if (after < compacted_) return std::nullopt;
  Changes found;
  found.through = std::max(after, revision_);
  const auto begin =
      std::ranges::upper_bound(history_, after, {}, [](const StoreEvent& e) { return e.entry.modified; });
  std::size_t bytes = 0;
  for (auto event = begin; event != history_.end(); ++event) {
    if (!event->entry.key.starts_with(prefix)) continue;
    bytes += size_of(event->entry);
    if (bytes > max_bytes && !found.events.empty()) {
      found.through = found.events.back().entry.modified;
      break;
    }
    found.events.push_back(*event);
  }
  return found;
}

Result<Revision> StoreMachine::enqueue(std::string_view name, std::string_view token, LeaseId lease) {
  if (const auto known = place(name, token)) return *known;
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return lease_has_ended(lease);
  if (places_ >= limits_.waiting_for_locks)
    return Failure{FailureKind::kRefused, fmt::format("{} processes wait for locks already", places_)};
  ++places_;
  found->second.places.emplace(name, token);
  locks_[std::string(name)].push_back({std::string(token), lease, ++revision_});
  return revision_;
}

namespace {

template <class Places>
auto find_place(Places& places, std::string_view token) {
  return std::ranges::find_if(places, [&](const auto& place) { return place.token == token; });
}

}  // namespace

std::optional<Revision> StoreMachine::place(std::string_view name, std::string_view token) const {
  const auto queue = locks_.find(name);
  if (queue == locks_.end()) return std::nullopt;
  const auto found = find_place(queue->second, token);
  if (found == queue->second.end()) return std::nullopt;
  return found->revision;
}

std::optional<LeaseId> StoreMachine::lease_of_place(std::string_view name, std::string_view token) const {
  const auto queue = locks_.find(name);
  if (queue == locks_.end()) return std::nullopt;
  const auto found = find_place(queue->second, token);
  if (found == queue->second.end()) return std::nullopt;
  return found->lease;
}

std::optional<Revision> StoreMachine::holder(std::string_view name) const {
  const auto queue = locks_.find(name);
  if (queue == locks_.end()) return std::nullopt;
  return queue->second.front().revision;
}

bool StoreMachine::leave(std::string_view name, std::string_view token) {
  const auto queue = locks_.find(name);
  if (queue == locks_.end()) return false;
  const auto found = find_place(queue->second, token);
  if (found == queue->second.end()) return false;
  leases_.at(found->lease).places.erase({std::string(name), std::string(token)});
  queue->second.erase(found);
  if (queue->second.empty()) locks_.erase(queue);
  --places_;
  return true;
}

}  // namespace concerto::embedded
