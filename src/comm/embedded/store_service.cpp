// Rights, answers and waiting of the embedded store.
#include "store_service.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

namespace concerto::embedded {
namespace {

/// Requests of one connection that may wait at a time.
constexpr std::size_t kMaxWaiting = 1024;
/// Of an answer to a Poll; a single change may be larger.
constexpr std::size_t kChangesBytes = std::size_t{1} << 20;
/// Longer leases make no sense in a job, and their ends would overflow.
constexpr std::uint64_t kLongestLeaseMs = std::uint64_t{7} * 24 * 3600 * 1000;

AnswerBody failed(const Failure& failure) {
  return Failed{failure.kind, failure.message.substr(0, kMaxFailureMessage)};
}
AnswerBody failed(FailureKind kind, std::string message) {
  return failed(Failure{kind, std::move(message)});
}

}  // namespace

StoreService::StoreService(std::string job, std::string store, const MachineLimits& limits)
    : job_(std::move(job)), store_(std::move(store)), history_events_(limits.history_events), machine_(limits) {}

void StoreService::connect(ClientId client, const Identity& identity) {
  clients_[client].identity = identity;
}

void StoreService::disconnect(ClientId client) {
  clients_.erase(client);
  std::erase_if(polls_, [&](const WaitingPoll& poll) { return poll.client == client; });
  std::erase_if(locks_, [&](const WaitingLock& lock) { return lock.client == client; });
}

std::vector<Outgoing> StoreService::handle(ClientId client, Request request, StoreTime now) {
  std::vector<Outgoing> out = tick(now);
  if (!clients_.contains(client)) return out;
  if (auto body = answer(client, request)) out.push_back({client, {request.id, std::move(*body)}});
  serve_waiting(out);
  return out;
}

std::vector<Outgoing> StoreService::tick(StoreTime now) {
  std::vector<Outgoing> out;
  machine_.advance(now);
  forget_ended_leases();
  serve_waiting(out);
  return out;
}

void StoreService::forget_ended_leases() {
  std::erase_if(lease_owners_, [&](const auto& owned) { return !machine_.has_lease(owned.first); });
}

std::optional<Failure> StoreService::may_use(const Client& client, LeaseId lease) const {
  const auto owner = lease_owners_.find(lease);
  if (lease == 0 || owner == lease_owners_.end()) return std::nullopt;  // the machine says that there is no such lease
  if (client.identity.role == Role::kLauncher || owner->second == client.identity) return std::nullopt;
  return Failure{FailureKind::kRefused, fmt::format("{} may not use lease {}, which {} was granted",
                                                    to_string(client.identity), lease, to_string(owner->second))};
}

std::optional<Failure> StoreService::may_write_with(const Client& client, std::string_view key, LeaseId lease) const {
  if (!may_write(client.identity, key))
    return Failure{FailureKind::kRefused, fmt::format("{} may not write '{}'", to_string(client.identity), key)};
  return may_use(client, lease);
}

StoreService::Reply StoreService::reply(const Caller& caller, Hello& hello) {
  if (hello.version != kProtocolVersion)
    return failed(FailureKind::kMismatch, fmt::format("the store speaks version {} of its protocol, the client {}",
                                                      kProtocolVersion, hello.version));
  caller.client.is_greeted = true;
  return Welcome{kProtocolVersion, store_};
}

StoreService::Reply StoreService::reply(const Caller&, Ping&) {
  return Done{};
}

StoreService::Reply StoreService::reply(const Caller& caller, Put& put) {
  if (const auto refusal = may_write_with(caller.client, put.key, put.lease)) return failed(*refusal);
  const auto written = machine_.put(put.key, put.value, put.lease);
  if (!written) return failed(written.failure());
  return Written{written.value()};
}

StoreService::Reply StoreService::reply(const Caller&, Get& get) {
  return Found{machine_.get(get.key)};
}

StoreService::Reply StoreService::reply(const Caller&, List& list) {
  auto listing = machine_.list(list.prefix);
  if (!listing) return failed(listing.failure());
  return Listed{listing.value().revision, std::move(listing.value().entries)};
}

StoreService::Reply StoreService::reply(const Caller& caller, Swap& swap) {
  if (const auto refusal = may_write_with(caller.client, swap.key, swap.lease)) return failed(*refusal);
  auto outcome = machine_.compare_and_swap(swap.key, swap.expected, swap.value, swap.lease);
  if (!outcome) return failed(outcome.failure());
  SwapOutcome& found = outcome.value();
  return Swapped{found.swapped, found.revision, std::move(found.present)};
}

StoreService::Reply StoreService::reply(const Caller& caller, Erase& erase) {
  if (const auto refusal = may_write_with(caller.client, erase.key, 0)) return failed(*refusal);
  return Erased{machine_.erase(erase.key)};
}

StoreService::Reply StoreService::reply(const Caller& caller, Grant& grant) {
  if (grant.time_to_live_ms == 0 || grant.time_to_live_ms > kLongestLeaseMs)
    return failed(FailureKind::kRefused, fmt::format("a lease of {} ms", grant.time_to_live_ms));
  const auto lease = machine_.grant(StoreTime(grant.time_to_live_ms));
  if (!lease) return failed(lease.failure());
  lease_owners_[lease.value()] = caller.client.identity;
  return Granted{lease.value()};
}

StoreService::Reply StoreService::reply(const Caller& caller, KeepAlive& keep_alive) {
  if (const auto refusal = may_use(caller.client, keep_alive.lease)) return failed(*refusal);
  const auto left = machine_.keep_alive(keep_alive.lease);
  if (!left) return failed(left.failure());
  return Kept{static_cast<std::uint64_t>(left.value().count())};
}

StoreService::Reply StoreService::reply(const Caller& caller, Revoke& revoke) {
  if (const auto refusal = may_use(caller.client, revoke.lease)) return failed(*refusal);
  machine_.revoke(revoke.lease);
  return Done{};
}

bool StoreService::may_wait(Client& client) {
  if (client.waiting >= kMaxWaiting) return false;
  ++client.waiting;
  return true;
}

StoreService::Reply StoreService::changes_of(WaitingPoll& poll) const {
  auto changes = machine_.changes(poll.prefix, poll.checked, kChangesBytes);
  if (!changes) {
    auto listing = machine_.list(poll.prefix);
    if (!listing) return failed(listing.failure());
    Changed reset{true, listing.value().revision, {}};
    for (StoreEntry& entry : listing.value().entries) reset.events.push_back({false, std::move(entry)});
    std::ranges::sort(reset.events, {}, [](const StoreEvent& event) { return event.entry.modified; });
    return reset;
  }
  poll.checked = changes->through;
  // Without events too, before the history has moved past the revision that a new connection would ask from.
  if (changes->events.empty() && changes->through - poll.after <= history_events_ / 2) return std::nullopt;
  return Changed{false, changes->through, std::move(changes->events)};
}

StoreService::Reply StoreService::reply(const Caller& caller, Poll& poll) {
  WaitingPoll waiting{caller.id, caller.request, std::move(poll.prefix), poll.after, poll.after};
  if (auto changed = changes_of(waiting)) return changed;
  if (!may_wait(caller.client)) return failed(FailureKind::kRefused, "too many requests of one client wait");
  polls_.push_back(std::move(waiting));
  return std::nullopt;
}

StoreService::Reply StoreService::reply(const Caller& caller, Cancel& cancel) {
  caller.client.waiting -= std::erase_if(
      polls_, [&](const WaitingPoll& poll) { return poll.client == caller.id && poll.request == cancel.request; });
  return Done{};
}

StoreService::Reply StoreService::turn_of(const WaitingLock& lock) const {
  const auto place = machine_.place(lock.name, lock.token);
  if (!place)
    return failed(FailureKind::kLost,
                  fmt::format("no longer in the queue of lock '{}': given up, or the lease has ended", lock.name));
  if (machine_.holder(lock.name) == place) return Locked{*place};
  return std::nullopt;
}

StoreService::Reply StoreService::reply(const Caller& caller, Lock& lock) {
  if (const auto refusal = may_write_with(caller.client, "locks/" + lock.name, lock.lease)) return failed(*refusal);
  const auto place = machine_.enqueue(lock.name, lock.token, lock.lease);
  if (!place) return failed(place.failure());
  WaitingLock waiting{caller.id, caller.request, std::move(lock.name), std::move(lock.token)};
  if (auto locked = turn_of(waiting)) return locked;
  if (!may_wait(caller.client)) {
    machine_.leave(waiting.name, waiting.token);
    return failed(FailureKind::kRefused, "too many requests of one client wait");
  }
  locks_.push_back(std::move(waiting));
  return std::nullopt;
}

StoreService::Reply StoreService::reply(const Caller& caller, Unlock& unlock) {
  if (const auto refusal = may_write_with(caller.client, "locks/" + unlock.name, 0)) return failed(*refusal);
  const auto lease = machine_.lease_of_place(unlock.name, unlock.token);
  if (!lease) return Done{};  // its lease has ended, or it is said for the second time
  if (const auto refusal = may_use(caller.client, *lease)) return failed(*refusal);
  machine_.leave(unlock.name, unlock.token);
  return Done{};
}

StoreService::Reply StoreService::answer(ClientId id, Request& request) {
  Client& client = clients_.at(id);
  if (client.identity.job != job_)
    return failed(FailureKind::kRefused, fmt::format("this is the store of job '{}'", job_));
  if (!client.is_greeted && !std::holds_alternative<Hello>(request.body))
    return failed(FailureKind::kRefused, "a request before the greeting");
  return std::visit([&](auto& body) { return reply(Caller{id, request.id, client}, body); }, request.body);
}

template <class Waiting, class Turn>
void StoreService::serve(std::vector<Waiting>& list, std::vector<Outgoing>& out, const Turn& turn) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (auto body = turn(list[i])) {
      --clients_.at(list[i].client).waiting;
      out.push_back({list[i].client, {list[i].request, std::move(*body)}});
    } else if (kept++ != i) {
      list[kept - 1] = std::move(list[i]);
    }
  }
  list.resize(kept);
}

void StoreService::serve_waiting(std::vector<Outgoing>& out) {
  serve(locks_, out, [&](const WaitingLock& lock) { return turn_of(lock); });
  serve(polls_, out,
        [&](WaitingPoll& poll) { return poll.checked < machine_.revision() ? changes_of(poll) : std::nullopt; });
}

}  // namespace concerto::embedded
