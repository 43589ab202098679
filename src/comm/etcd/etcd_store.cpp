// The Store on etcd. Keys lie under "/concerto/JOB/keys/", places in the queues of locks under "/concerto/JOB/locks/".
//
// A lock is the recipe that etcd's own clients use: each who asks writes a key of its own, bound to its lease; whose
// key was created first holds the lock, everybody else waits for the key created just before. The create revision is
// the fencing.
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/store_keys.hpp"
#include "concerto/comm/stores.hpp"

#include "cluster.hpp"
#include "etcd_watch.hpp"

namespace concerto {
namespace {

using namespace etcd;  // NOLINT: the gateway's bodies by their names

constexpr const char* kPut = "/v3/kv/put";
constexpr const char* kErase = "/v3/kv/deleterange";
constexpr const char* kTransaction = "/v3/kv/txn";

Failure not_an_answer(const std::string& what) {
  return {FailureKind::kCorrupt, what + ": not an answer of etcd"};
}

std::string checked_prefix(const std::string& job) {
  // As in identity.hpp: a name with a slash would reach into another job.
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  if (job.empty() || job.size() > 64 || job.find_first_not_of(kLetters) != std::string::npos)
    throw Error(ErrorCode::kBadInput, "is not 1 to 64 letters, digits, '-' and '_'", "the job's name");
  return "/concerto/" + job + "/";
}

/// A lock's name as a part of a key: without a slash, so that no lock lies within another.
std::string escaped(std::string_view name) {
  std::string text;
  for (const char letter : name) {
    if (letter == '/' || letter == '%') {
      text += letter == '/' ? "%2F" : "%25";
    } else {
      text += letter;
    }
  }
  return text;
}

std::string random_token() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}", device(), device(), device());
}

/// Places in queues of locks that could not be given up: tried again each time that their lease is kept alive, since
/// they last no longer than it. Shared with the locks, which may outlive their store.
class Leftovers {
 public:
  void add(LeaseId lease, std::string key) {
    const std::lock_guard guard(mutex_);
    keys_[lease].push_back(std::move(key));
  }
  [[nodiscard]] std::vector<std::string> take(LeaseId lease) {
    const std::lock_guard guard(mutex_);
    const auto node = keys_.extract(lease);
    return node ? std::move(node.mapped()) : std::vector<std::string>{};
  }

 private:
  std::mutex mutex_;
  std::map<LeaseId, std::vector<std::string>> keys_;
};

/// A place in the queue of a lock, from before it is asked for until it is given up.
class Place {
 public:
  Place(std::shared_ptr<Cluster> cluster, std::shared_ptr<Leftovers> leftovers, std::string key, LeaseId lease)
      : cluster_(std::move(cluster)), leftovers_(std::move(leftovers)), key_(std::move(key)), lease_(lease) {}
  ~Place() {
    if (key_.empty()) return;
    const auto gone = cluster_->call(kErase, erase_body(key_), deadline_after(cluster_->limits().call), Repeat::kSafe,
                                     "give a lock up");
    if (!gone) leftovers_->add(lease_, std::move(key_));
  }
  Place(Place&& other) noexcept
      : cluster_(std::move(other.cluster_)),
        leftovers_(std::move(other.leftovers_)),
        key_(std::exchange(other.key_, {})),
        lease_(other.lease_) {}
  Place& operator=(Place&&) = delete;
  [[nodiscard]] const std::string& key() const noexcept { return key_; }

 private:
  std::shared_ptr<Cluster> cluster_;
  std::shared_ptr<Leftovers> leftovers_;
  std::string key_;
  LeaseId lease_;
};

class EtcdLock final : public StoreLock {
 public:
  EtcdLock(Place place, Revision fencing) : place_(std::move(place)), fencing_(fencing) {}
  [[nodiscard]] Revision fencing() const noexcept override { return fencing_; }

 private:
  Place place_;
  Revision fencing_;
};

class EtcdStore final : public Store {
 public:
  explicit EtcdStore(const EtcdConfig& config)
      : cluster_(std::make_shared<Cluster>(config)),
        leftovers_(std::make_shared<Leftovers>()),
        keys_(checked_prefix(config.job) + "keys/"),
        locks_(checked_prefix(config.job) + "locks/"),
        nonce_(random_token()) {}
  ~EtcdStore() override { cluster_->close(); }
  EtcdStore(const EtcdStore&) = delete;
  EtcdStore& operator=(const EtcdStore&) = delete;

  [[nodiscard]] std::string description() const override { return cluster_->description(); }

  [[nodiscard]] Result<Revision> put(std::string_view key, std::string_view value, LeaseId lease) override {
    if (auto refusal = refused_entry(key, value)) return *refusal;
    const auto what = fmt::format("put '{}'", key);
    const auto body = call(kPut, put_body(full(key), value, lease), Repeat::kNever, what);
    if (!body) return body.failure();
    const auto revision = parse_revision(body.value());
    if (!revision) return not_an_answer(what);
    return *revision;
  }

  [[nodiscard]] Result<std::optional<StoreEntry>> get(std::string_view key) override {
    if (auto refusal = refused_key(key)) return *refusal;
    const auto what = fmt::format("get '{}'", key);
    const auto body = call("/v3/kv/range", range_body({full(key), {}}), Repeat::kSafe, what);
    if (!body) return body.failure();
    auto answer = parse_range(body.value());
    if (!answer) return not_an_answer(what);
    if (answer->entries.empty()) return std::optional<StoreEntry>{};
    return std::optional(shown(std::move(answer->entries.front())));
  }

  [[nodiscard]] Result<Listing> list(std::string_view prefix) override {
    if (auto refusal = refused_prefix(prefix)) return *refusal;
    auto listing = list_keys(*cluster_, full(prefix), deadline_after(cluster_->limits().call));
    if (listing) {
      for (StoreEntry& entry : listing.value().entries) entry.key.erase(0, keys_.size());
    }
    return listing;
  }

  [[nodiscard]] Result<SwapOutcome> compare_and_swap(std::string_view key, Revision expected, std::string_view value,
                                                     LeaseId lease) override {
    if (auto refusal = refused_entry(key, value)) return *refusal;
    const auto what = fmt::format("compare and swap '{}'", key);
    const auto body =
        call(kTransaction, put_if_body(full(key), Compared::kModified, expected, value, lease), Repeat::kNever, what);
    if (!body) return body.failure();
    auto answer = parse_transaction(body.value());
    if (!answer) return not_an_answer(what);
    SwapOutcome outcome;
    outcome.swapped = answer->succeeded;
    if (outcome.swapped) outcome.revision = answer->revision;
    if (!outcome.swapped && !answer->entries.empty()) outcome.present = shown(std::move(answer->entries.front()));
    return outcome;
  }

  [[nodiscard]] Result<bool> erase(std::string_view key) override {
    if (auto refusal = refused_key(key)) return *refusal;
    const auto what = fmt::format("erase '{}'", key);
    const auto body = call(kErase, erase_body(full(key)), Repeat::kNever, what);
    if (!body) return body.failure();
    const auto erased = parse_erased(body.value());
    if (!erased) return not_an_answer(what);
    return *erased > 0;
  }

  [[nodiscard]] Result<LeaseId> grant_lease(std::chrono::milliseconds time_to_live) override {
    const std::string what = "grant a lease";
    if (time_to_live.count() <= 0)
      return Failure{FailureKind::kRefused, fmt::format("{} of {} ms", what, time_to_live.count())};
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(time_to_live).count();
    // Asked twice it leaves a lease that nobody keeps alive.
    const auto body = call("/v3/lease/grant", grant_body(seconds), Repeat::kSafe, what);
    if (!body) return body.failure();
    const auto answer = parse_grant(body.value());
    if (!answer || answer->lease == 0) return not_an_answer(what);
    return answer->lease;
  }

  [[nodiscard]] Result<std::chrono::milliseconds> keep_alive(LeaseId lease) override {
    const std::string what = "keep a lease alive";
    give_up_leftovers(lease);
    const auto body = call("/v3/lease/keepalive", lease_body(lease), Repeat::kSafe, what);
    if (!body) return body.failure();
    const auto answer = parse_keep_alive(body.value());
    if (!answer) return not_an_answer(what);
    if (answer->seconds <= 0) return Failure{FailureKind::kLost, fmt::format("{}: lease {} has ended", what, lease)};
    return std::chrono::milliseconds(std::chrono::seconds(answer->seconds));
  }

  [[nodiscard]] Result<void> revoke(LeaseId lease) override {
    (void)leftovers_->take(lease);
    const auto body = call("/v3/lease/revoke", lease_body(lease), Repeat::kSafe, "revoke a lease");
    // kLost from a server that answers: there is no such lease any more.
    if (!body && body.failure().kind != FailureKind::kLost) return body.failure();
    return {};
  }

  [[nodiscard]] Result<std::unique_ptr<StoreWatch>> watch(std::string_view prefix, Revision after) override {
    if (auto refusal = refused_prefix(prefix)) return *refusal;
    return std::unique_ptr<StoreWatch>(std::make_unique<EtcdWatch>(cluster_, full(prefix), keys_.size(), after));
  }

  [[nodiscard]] Result<std::unique_ptr<StoreLock>> lock(std::string_view name, LeaseId lease,
                                                        std::chrono::milliseconds limit) override {
    if (auto refusal = refused_key(name)) return *refusal;
    const auto what = fmt::format("lock '{}'", name);
    if (lease == 0) return Failure{FailureKind::kLost, what + ": there is no lease 0"};
    const auto deadline = deadline_after(limit);
    const std::string queue = locks_ + escaped(name) + "/";
    Place place(cluster_, leftovers_, fmt::format("{}{}-{}", queue, nonce_, ++places_), lease);
    const auto fencing = enqueue(place.key(), lease, deadline, what);
    if (!fencing) return fencing.failure();
    const Result<void> held = wait_for_turn(queue, place.key(), fencing.value(), deadline, what);
    if (!held) return held.failure();
    return std::unique_ptr<StoreLock>(std::make_unique<EtcdLock>(std::move(place), fencing.value()));
  }

 private:
  [[nodiscard]] std::string full(std::string_view key) const { return keys_ + std::string(key); }
  [[nodiscard]] StoreEntry shown(StoreEntry entry) const {
    entry.key.erase(0, keys_.size());
    return entry;
  }

  Result<std::string> call(std::string_view path, const std::string& body, Repeat repeat, const std::string& what) {
    return cluster_->call(path, body, deadline_after(cluster_->limits().call), repeat, what);
  }

  void give_up_leftovers(LeaseId lease) {
    for (std::string& key : leftovers_->take(lease)) {
      if (!call(kErase, erase_body(key), Repeat::kSafe, "give a lock up")) leftovers_->add(lease, std::move(key));
    }
  }

  /// Writes the place's key, which may be done again: it is nobody else's. Its create revision.
  Result<Revision> enqueue(const std::string& key, LeaseId lease, Clock::time_point deadline, const std::string& what) {
    const auto body =
        cluster_->call(kTransaction, put_if_body(key, Compared::kCreated, 0, {}, lease), deadline, Repeat::kSafe, what);
    if (!body) return body.failure();
    const auto answer = parse_transaction(body.value());
    if (!answer || (!answer->succeeded && answer->entries.empty())) return not_an_answer(what);
    return answer->succeeded ? answer->revision : answer->entries.front().created;
  }

  /// Until no place in the queue is older than `mine`.
  Result<void> wait_for_turn(const std::string& queue, const std::string& key, Revision mine,
                             Clock::time_point deadline, const std::string& what) {
    // A waiter looks again at least this often: its own lease may have ended.
    constexpr std::chrono::milliseconds kLookAgain{1'000};
    const std::string body = range_if_body(key, mine, {queue, prefix_end(queue), 1, 0, mine});
    std::string watched;
    std::unique_ptr<EtcdWatch> watch;
    while (true) {
      const auto looked = cluster_->call(kTransaction, body, deadline, Repeat::kSafe, what);
      if (!looked) return looked.failure();
      const auto answer = parse_transaction(looked.value());
      if (!answer) return not_an_answer(what);
      if (!answer->succeeded) return Failure{FailureKind::kLost, what + ": the lease has ended"};
      if (answer->entries.empty()) return {};
      const std::string& before = answer->entries.front().key;
      if (watched != before) watch = std::make_unique<EtcdWatch>(cluster_, before, before.size(), answer->revision);
      watched = before;
      const auto changed = watch->next(std::min(left_until(deadline), kLookAgain));
      if (!changed) return Failure{changed.failure().kind, fmt::format("{}: {}", what, changed.failure().message)};
      if (left_until(deadline).count() == 0)
        return Failure{FailureKind::kTimeout, what + ": held by others until the time limit"};
    }
  }

  std::shared_ptr<Cluster> cluster_;
  std::shared_ptr<Leftovers> leftovers_;
  std::string keys_;
  std::string locks_;
  std::string nonce_;
  std::atomic<std::uint64_t> places_ = 0;
};

}  // namespace

std::unique_ptr<Store> make_etcd_store(const EtcdConfig& config) {
  return std::make_unique<EtcdStore>(config);
}

}  // namespace concerto
