// The store's state machine against a model that is too simple to be wrong, over thousands of drawn sequences.
//
// The model keeps every change that ever was and answers by going through all of them. A sequence is a function of its
// seed; a failure names it.
#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

#include "store_machine.hpp"

namespace concerto::embedded {
namespace {

const std::vector<std::string> kKeys{"a", "a/1", "a/2", "ab", "b/1", "b/\xff", "c"};
const std::vector<std::string> kPrefixes{"", "a", "a/", "b/", "c", "nobody"};
const std::vector<std::string> kLocks{"l", "m"};

/// A watch that remembers all it was told.
struct Watcher {
  std::string prefix;
  Revision after = 0;
  std::map<std::string, StoreEntry> seen;  ///< what the keys hold, by what was told
};

class Model {
 public:
  struct Lease {
    StoreTime time_to_live{};
    StoreTime end{};
  };
  struct Place {
    std::string lock;
    std::string token;
    LeaseId lease = 0;
    Revision revision = 0;
  };

  void advance(StoreTime now, StoreTime longest_gap) {
    if (longest_gap.count() > 0 && now - now_ > longest_gap) {
      for (auto& [id, lease] : leases) lease.end += now - now_;
    }
    now_ = now;
    while (true) {
      const std::pair<const LeaseId, Lease>* due = nullptr;
      for (const auto& lease : leases) {
        if (lease.second.end <= now && (due == nullptr || lease.second.end < due->second.end)) due = &lease;
      }
      if (due == nullptr) return;
      end_lease(due->first);
    }
  }

  void end_lease(LeaseId id) {
    const auto before = entries;
    for (const auto& [key, entry] : before) {
      if (entry.lease == id) erase(key);
    }
    std::erase_if(places, [&](const Place& place) { return place.lease == id; });
    leases.erase(id);
  }

  void put(const std::string& key, const std::string& value, LeaseId lease) {
    ++revision;
    const Revision created = entries.contains(key) ? entries[key].created : revision;
    entries[key] = {key, value, created, revision, lease};
    log.push_back({false, entries[key]});
  }

  bool erase(const std::string& key) {
    if (entries.erase(key) == 0) return false;
    log.push_back({true, {key, "", 0, ++revision, 0}});
    return true;
  }

  [[nodiscard]] std::vector<StoreEvent> changes(const std::string& prefix, Revision after, Revision through) const {
    std::vector<StoreEvent> found;
    for (const StoreEvent& event : log) {
      const Revision at = event.entry.modified;
      if (at > after && at <= through && event.entry.key.starts_with(prefix)) found.push_back(event);
    }
    return found;
  }

  Revision revision = 0;
  std::map<std::string, StoreEntry> entries;
  std::vector<StoreEvent> log;
  std::map<LeaseId, Lease> leases;
  std::vector<Place> places;

 private:
  StoreTime now_{};
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : random_(seed) {
    limits_.history_events = 1 + random_.below(40);
    limits_.longest_gap = StoreTime(random_.below(2) == 0 ? 0 : 500);
    machine_ = StoreMachine(limits_);
    machine_.advance(now_);
    model_.advance(now_, StoreTime{0});
    for (const std::string& prefix : kPrefixes) watchers_.push_back({prefix, 0, {}});
  }

  void run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      const Revision before = machine_.revision();
      one_step();
      EXPECT_GE(machine_.revision(), before) << "revisions never fall";
      EXPECT_EQ(machine_.revision(), model_.revision);
      check_locks();
    }
    for (Watcher& watcher : watchers_) {
      while (watch(watcher)) {
      }
      check_contents(watcher);
    }
  }

  [[nodiscard]] int resets() const { return resets_; }
  [[nodiscard]] int holders() const { return holders_; }

 private:
  template <class Items>
  const auto& any_of(const Items& items) {
    return items[random_.below(items.size())];
  }

  LeaseId any_lease() { return random_.below(3) == 0 ? 0 : 1 + random_.below(leases_given_ + 2); }

  void one_step() {
    switch (random_.below(12)) {
      case 0:
      case 1:
        return put();
      case 2:
        return swap();
      case 3:
        return check_get();
      case 4: {
        const std::string& key = any_of(kKeys);
        EXPECT_EQ(machine_.erase(key), model_.erase(key));
        return;
      }
      case 5:
        return pass_time();
      case 6:
        return grant();
      case 7:
        return keep_or_revoke();
      case 8:
        return enqueue();
      case 9:
        return leave();
      default:
        (void)watch(watchers_[random_.below(watchers_.size())]);
        return;
    }
  }

  void put() {
    const std::string& key = any_of(kKeys);
    const LeaseId lease = any_lease();
    const std::string value = std::to_string(random_.below(1'000));
    const auto written = machine_.put(key, value, lease);
    ASSERT_EQ(written.ok(), lease == 0 || model_.leases.contains(lease));
    if (!written) return;
    model_.put(key, value, lease);
    EXPECT_EQ(written.value(), model_.revision);
  }

  void swap() {
    const std::string& key = any_of(kKeys);
    const LeaseId lease = any_lease();
    const auto present = model_.entries.find(key);
    const Revision modified = present == model_.entries.end() ? 0 : present->second.modified;
    const Revision expected = random_.below(3) == 0 ? random_.below(model_.revision + 1) : modified;
    const auto outcome = machine_.compare_and_swap(key, expected, "swapped", lease);
    if (expected != modified) {
      ASSERT_TRUE(outcome.ok() && !outcome.value().swapped);
      EXPECT_EQ(outcome.value().present.has_value(), modified != 0);
      return;
    }
    ASSERT_EQ(outcome.ok(), lease == 0 || model_.leases.contains(lease));
    if (!outcome) return;
    model_.put(key, "swapped", lease);
    EXPECT_TRUE(outcome.value().swapped);
    EXPECT_EQ(outcome.value().revision, model_.revision);
  }

  void check_get() {
    const std::string& key = any_of(kKeys);
    const auto found = model_.entries.find(key);
    EXPECT_EQ(machine_.get(key), found == model_.entries.end() ? std::nullopt : std::optional(found->second));
  }

  void pass_time() {
    now_ += StoreTime(random_.below(random_.below(5) == 0 ? 2'000 : 100));
    machine_.advance(now_);
    model_.advance(now_, limits_.longest_gap);
  }

  void grant() {
    const StoreTime time_to_live(1 + random_.below(1'000));
    const LeaseId lease = machine_.grant(time_to_live).value();
    EXPECT_EQ(lease, ++leases_given_) << "never one that was given before";
    model_.leases[lease] = {time_to_live, now_ + time_to_live};
  }

  void keep_or_revoke() {
    const LeaseId lease = any_lease();
    const bool is_there = model_.leases.contains(lease);
    if (random_.below(3) == 0) {
      EXPECT_EQ(machine_.revoke(lease), is_there);
      if (is_there) model_.end_lease(lease);
      return;
    }
    EXPECT_EQ(machine_.keep_alive(lease).ok(), is_there);
    if (is_there) model_.leases[lease].end = now_ + model_.leases[lease].time_to_live;
  }

  void enqueue() {
    const std::string& lock = any_of(kLocks);
    const LeaseId lease = any_lease();
    const std::string token = std::to_string(++tokens_);
    const auto place = machine_.enqueue(lock, token, lease);
    ASSERT_EQ(place.ok(), model_.leases.contains(lease));
    if (!place) return;
    EXPECT_EQ(place.value(), ++model_.revision);
    model_.places.push_back({lock, token, lease, model_.revision});
  }

  void leave() {
    if (model_.places.empty()) return;
    const auto at = model_.places.begin() + static_cast<std::ptrdiff_t>(random_.below(model_.places.size()));
    EXPECT_TRUE(machine_.leave(at->lock, at->token));
    model_.places.erase(at);
  }

  /// At most one holder, the longest waiting; a later holder's fencing is higher.
  void check_locks() {
    for (const std::string& lock : kLocks) {
      const auto first =
          std::ranges::find_if(model_.places, [&](const Model::Place& place) { return place.lock == lock; });
      const auto holder = machine_.holder(lock);
      ASSERT_EQ(holder.has_value(), first != model_.places.end()) << lock;
      if (!holder) continue;
      EXPECT_EQ(*holder, first->revision) << lock;
      EXPECT_GE(*holder, fencing_[lock]) << lock;
      if (*holder > fencing_[lock]) ++holders_;
      fencing_[lock] = *holder;
    }
  }

  /// Every change exactly once, in order. True if there was any.
  bool watch(Watcher& watcher) {
    const auto changes = machine_.changes(watcher.prefix, watcher.after, 1 + random_.below(600));
    EXPECT_EQ(changes.has_value(), watcher.after >= machine_.compacted());
    if (!changes) {
      ++resets_;
      const auto listing = machine_.list(watcher.prefix).value();
      watcher.seen.clear();
      for (const StoreEntry& entry : listing.entries) watcher.seen[entry.key] = entry;
      watcher.after = listing.revision;
      check_contents(watcher);
      return true;
    }
    EXPECT_EQ(changes->events, model_.changes(watcher.prefix, watcher.after, changes->through));
    EXPECT_GE(changes->through, watcher.after);
    if (changes->events.empty()) {
      EXPECT_EQ(changes->through, std::max(watcher.after, model_.revision));
    }
    for (const StoreEvent& event : changes->events) {
      if (event.is_deletion) {
        EXPECT_EQ(watcher.seen.erase(event.entry.key), 1U);
      } else {
        watcher.seen[event.entry.key] = event.entry;
      }
    }
    watcher.after = changes->through;
    return !changes->events.empty();
  }

  void check_contents(const Watcher& watcher) {
    std::map<std::string, StoreEntry> present;
    for (const auto& [key, entry] : model_.entries) {
      if (key.starts_with(watcher.prefix)) present[key] = entry;
    }
    EXPECT_EQ(watcher.seen, present) << "as told to the watch of '" << watcher.prefix << "'";
  }

  Random random_;
  MachineLimits limits_;
  StoreMachine machine_;
  Model model_;
  StoreTime now_{1'000};
  std::vector<Watcher> watchers_;
  std::map<std::string, Revision> fencing_;
  LeaseId leases_given_ = 0;
  int tokens_ = 0;
  int resets_ = 0;
  int holders_ = 0;
};

TEST(StoreMachineSimulation, AgreesWithTheModelOverThousandsOfSequences) {
  int resets = 0;
  int holders = 0;
  for (std::uint64_t seed = 1; seed <= 3'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(seed);
    simulation.run(120);
    resets += simulation.resets();
    holders += simulation.holders();
    ASSERT_FALSE(HasFailure());
  }
  // What is claimed to be tested did happen.
  EXPECT_GT(resets, 1'000);
  EXPECT_GT(holders, 5'000);
}

}  // namespace
}  // namespace concerto::embedded
