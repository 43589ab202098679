// One suite for every store: what concerto/comm/store.hpp promises, on a running one of each kind.
#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "stores_under_test.hpp"

namespace concerto::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// The least lease that every store grants.
constexpr auto kShortLease = 1'000ms;
constexpr auto kLongLease = 60'000ms;
/// Nothing takes that long unless it hangs.
constexpr auto kPatience = 30'000ms;

class StoreTest : public ::testing::TestWithParam<StoreCase> {
 protected:
  void SetUp() override {
    const std::string reason = GetParam().why_not();
    if (!reason.empty()) GTEST_SKIP() << reason;
    site_ = GetParam().make();
    store_ = site_->client();
  }

  LeaseId lease(std::chrono::milliseconds time_to_live = kLongLease) { return must(store_->grant_lease(time_to_live)); }

  /// The next `count` changes that the watch tells, in its order; fewer if it does not tell more for a long time.
  static std::vector<StoreEvent> collect(StoreWatch& watch, std::size_t count) {
    std::vector<StoreEvent> seen;
    const auto deadline = Clock::now() + kPatience;
    while (seen.size() < count && Clock::now() < deadline) {
      auto batch = watch.next(1'000ms);
      if (!batch) {
        ADD_FAILURE() << batch.failure().message;
        return seen;
      }
      EXPECT_FALSE(batch.value().is_reset);
      std::ranges::move(batch.value().events, std::back_inserter(seen));
    }
    return seen;
  }

  /// Waits for the deletion of the key.
  static void await_deletion(StoreWatch& watch, const std::string& key) {
    const auto events = collect(watch, 1);
    ASSERT_EQ(events.size(), 1U);
    EXPECT_TRUE(events[0].is_deletion);
    EXPECT_EQ(events[0].entry.key, key);
  }

  std::unique_ptr<StoreWatch> watch(std::string_view prefix, Revision after) {
    return must(store_->watch(prefix, after));
  }

  std::unique_ptr<StoreSite> site_;
  std::unique_ptr<Store> store_;
};

std::vector<std::string> keys_of(const std::vector<StoreEvent>& events) {
  std::vector<std::string> keys;
  for (const StoreEvent& event : events) keys.push_back((event.is_deletion ? "-" : "") + event.entry.key);
  return keys;
}

// ---- Keys and values ------------------------------------------------------------------------------------------------

TEST_P(StoreTest, PutGetListErase) {
  EXPECT_EQ(must(store_->get("a")), std::nullopt);
  EXPECT_FALSE(must(store_->erase("a")));
  const Revision first = must(store_->put("a", "one"));
  EXPECT_EQ(must(store_->get("a")), (StoreEntry{"a", "one", first, first, 0}));
  const Revision second = must(store_->put("a", "two"));
  EXPECT_GT(second, first);
  EXPECT_EQ(must(store_->get("a")), (StoreEntry{"a", "two", first, second, 0}));
  const auto listing = must(store_->list(""));
  EXPECT_GE(listing.revision, second);
  EXPECT_EQ(listing.entries, (std::vector<StoreEntry>{{"a", "two", first, second, 0}}));
  EXPECT_TRUE(must(store_->erase("a")));
  EXPECT_FALSE(must(store_->erase("a")));
  EXPECT_EQ(must(store_->get("a")), std::nullopt);
  const Revision third = must(store_->put("a", "three"));
  EXPECT_EQ(must(store_->get("a"))->created, third);
  EXPECT_FALSE(store_->description().empty());
}

TEST_P(StoreTest, WhatOneWritesAllRead) {
  const auto other = site_->client();
  const Revision revision = must(store_->put("a", "one"));
  EXPECT_EQ(must(other->get("a")), (StoreEntry{"a", "one", revision, revision, 0}));
  ASSERT_TRUE(must(other->erase("a")));
  EXPECT_EQ(must(store_->get("a")), std::nullopt);
}

TEST_P(StoreTest, ListsAreInOrderOfKeysAndPrefixesAreExact) {
  for (const char* key : {"b", "a/2", "a/10", "a", "ab", "a/", "a/\xff", "A"}) ASSERT_TRUE(store_->put(key, key).ok());
  const auto keys = [&](std::string_view prefix) {
    std::vector<std::string> found;
    for (const auto& entry : must(store_->list(prefix)).entries) found.push_back(entry.key);
    return found;
  };
  EXPECT_EQ(keys("a/"), (std::vector<std::string>{"a/", "a/10", "a/2", "a/\xff"}));
  EXPECT_EQ(keys("a"), (std::vector<std::string>{"a", "a/", "a/10", "a/2", "a/\xff", "ab"}));
  EXPECT_EQ(keys("a/\xff"), (std::vector<std::string>{"a/\xff"}));
  EXPECT_EQ(keys("").size(), 8U);
  EXPECT_EQ(keys("c").size(), 0U);
}

TEST_P(StoreTest, ManyKeysAreListedWhole) {
  for (int i = 0; i < 270; ++i) ASSERT_TRUE(store_->put("k/" + std::to_string(1'000 + i), std::to_string(i)).ok());
  const auto listing = must(store_->list("k/"));
  ASSERT_EQ(listing.entries.size(), 270U);
  for (int i = 0; i < 270; ++i) EXPECT_EQ(listing.entries[i].value, std::to_string(i));
}

TEST_P(StoreTest, KeysAndValuesAreAnyBytes) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  ASSERT_TRUE(store_->put(all, all).ok());
  EXPECT_EQ(must(store_->get(all))->value, all);
  EXPECT_EQ(must(store_->list(all.substr(0, 3))).entries.at(0).key, all);
  ASSERT_TRUE(store_->put("empty", "").ok());
  EXPECT_EQ(must(store_->get("empty"))->value, "");
}

TEST_P(StoreTest, LargeValuesAndLimits) {
  const std::string large(kMaxStoreValue, '\x7f');
  const std::string longest(kMaxStoreKey, 'k');
  const Revision before = must(store_->list("")).revision;
  ASSERT_TRUE(store_->put(longest, large).ok());
  EXPECT_EQ(must(store_->get(longest))->value, large);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(store_->put("large/" + std::to_string(i), large).ok());
  const auto listing = must(store_->list("large/"));
  ASSERT_EQ(listing.entries.size(), 5U);
  EXPECT_EQ(listing.entries[4].value, large);
  const auto events = collect(*watch("", before), 6);
  ASSERT_EQ(events.size(), 6U);
  EXPECT_EQ(events[0].entry.key, longest);
  EXPECT_EQ(events[5].entry.value, large);

  const auto is_refused = [](const auto& result) { return !result && result.failure().kind == FailureKind::kRefused; };
  EXPECT_TRUE(is_refused(store_->put("", "x")));
  EXPECT_TRUE(is_refused(store_->put(longest + "k", "x")));
  EXPECT_TRUE(is_refused(store_->put("k", large + "x")));
  EXPECT_TRUE(is_refused(store_->compare_and_swap("k", 0, large + "x")));
  EXPECT_TRUE(is_refused(store_->get("")));
  EXPECT_TRUE(is_refused(store_->erase("")));
  EXPECT_TRUE(is_refused(store_->list(longest + "k")));
  EXPECT_TRUE(is_refused(store_->watch(longest + "k", 0)));
  EXPECT_TRUE(is_refused(store_->grant_lease(0ms)));
  EXPECT_EQ(must(store_->get("k")), std::nullopt);
}

TEST_P(StoreTest, JobsDoNotSeeEachOther) {
  const auto other = site_->client_of_another_job();
  if (!other) GTEST_SKIP() << "each job has a store of its own";
  ASSERT_TRUE(store_->put("a", "mine").ok());
  EXPECT_EQ(must(other->get("a")), std::nullopt);
  ASSERT_TRUE(other->put("a", "theirs").ok());
  EXPECT_TRUE(must(other->list("")).entries.size() == 1);
  EXPECT_EQ(must(store_->get("a"))->value, "mine");
  const auto held = store_->lock("l", lease(), 0ms + kPatience);
  ASSERT_TRUE(held.ok());
  EXPECT_TRUE(other->lock("l", must(other->grant_lease(kLongLease)), kPatience).ok());
  EXPECT_TRUE(must(other->erase("a")));
  EXPECT_EQ(must(store_->list("")).entries.size(), 1U) << "locks are no keys";
}

// ---- Compare and swap -----------------------------------------------------------------------------------------------

TEST_P(StoreTest, CompareAndSwap) {
  const SwapOutcome made = must(store_->compare_and_swap("a", 0, "one"));
  EXPECT_TRUE(made.swapped);
  EXPECT_EQ(made.present, std::nullopt);
  const StoreEntry one{"a", "one", made.revision, made.revision, 0};
  EXPECT_EQ(must(store_->get("a")), one);
  const SwapOutcome taken = must(store_->compare_and_swap("a", 0, "two"));
  EXPECT_FALSE(taken.swapped);
  EXPECT_EQ(taken.present, one);
  const SwapOutcome next = must(store_->compare_and_swap("a", made.revision, "two"));
  EXPECT_TRUE(next.swapped);
  EXPECT_GT(next.revision, made.revision);
  EXPECT_FALSE(must(store_->compare_and_swap("a", made.revision, "three")).swapped) << "once only";
  const SwapOutcome absent = must(store_->compare_and_swap("b", made.revision, "x"));
  EXPECT_FALSE(absent.swapped);
  EXPECT_EQ(absent.present, std::nullopt);
  EXPECT_EQ(must(store_->get("b")), std::nullopt);
}

TEST_P(StoreTest, NoIncrementIsLost) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 15;
  std::vector<std::unique_ptr<Store>> stores;
  for (int i = 0; i < kThreads / 2; ++i) stores.push_back(site_->client());
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&store = *stores[i / 2]] {  // two threads share a client
      for (int round = 0; round < kRounds; ++round) {
        while (true) {
          const auto present = must(store.get("counter"));
          const int count = present ? std::stoi(present->value) : 0;
          const auto outcome =
              store.compare_and_swap("counter", present ? present->modified : 0, std::to_string(count + 1));
          ASSERT_TRUE(outcome.ok()) << outcome.failure().message;
          if (outcome.value().swapped) break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(must(store_->get("counter"))->value, std::to_string(kThreads * kRounds));
}

// ---- Leases ---------------------------------------------------------------------------------------------------------

TEST_P(StoreTest, AnEndedLeaseTakesItsKeysAlong) {
  const LeaseId ending = lease(kShortLease);
  ASSERT_TRUE(store_->put("a", "x", ending).ok());
  ASSERT_TRUE(must(store_->compare_and_swap("b", 0, "x", ending)).swapped);
  ASSERT_TRUE(store_->put("kept", "x", ending).ok());
  const Revision before = must(store_->put("kept", "y"));  // no longer bound to it
  EXPECT_EQ(must(store_->get("a"))->lease, ending);
  const auto events = collect(*watch("", before), 2);
  EXPECT_EQ(keys_of(events), (std::vector<std::string>{"-a", "-b"}));
  for (const StoreEvent& event : events) {
    EXPECT_GT(event.entry.modified, before);
    EXPECT_EQ(event.entry, (StoreEntry{event.entry.key, "", 0, event.entry.modified, 0}));
  }
  EXPECT_EQ(must(store_->get("a")), std::nullopt);
  EXPECT_EQ(must(store_->get("kept"))->value, "y");
  EXPECT_EQ(store_->keep_alive(ending).failure().kind, FailureKind::kLost);
  EXPECT_EQ(store_->put("a", "x", ending).failure().kind, FailureKind::kLost);
  EXPECT_EQ(store_->compare_and_swap("a", 0, "x", ending).failure().kind, FailureKind::kLost);
  EXPECT_TRUE(store_->revoke(ending).ok()) << "has ended already";
}

TEST_P(StoreTest, AKeptLeaseLivesOn) {
  // The other lease is granted later and kept alive by nobody: when it has ended, the first would have long ago.
  const LeaseId kept = lease(kShortLease);
  ASSERT_TRUE(store_->put("kept", "", kept).ok());
  const LeaseId ending = lease(2 * kShortLease);
  const Revision before = must(store_->put("ending", "", ending));
  const auto watching = watch("ending", before);
  const auto deadline = Clock::now() + kPatience;
  while (Clock::now() < deadline) {
    const auto left = store_->keep_alive(kept);
    ASSERT_TRUE(left.ok()) << left.failure().message;
    EXPECT_GT(left.value(), 0ms);
    if (!must(watching->next(200ms)).events.empty()) break;
  }
  EXPECT_EQ(must(store_->get("ending")), std::nullopt);
  EXPECT_TRUE(must(store_->get("kept")).has_value());
  ASSERT_TRUE(store_->revoke(kept).ok());
  EXPECT_EQ(must(store_->get("kept")), std::nullopt);
}

TEST_P(StoreTest, ALeaseLostWhileItsOwnerWasPaused) {
  const LeaseId lost = lease(kShortLease);
  const auto held = store_->lock("l", lost, kPatience);
  ASSERT_TRUE(held.ok()) << held.failure().message;
  const Revision before = must(store_->put("owner", "first", lost));
  // The owner does nothing more. Others go on when its lease has ended.
  const auto other = site_->client();
  const auto taken = other->lock("l", must(other->grant_lease(kLongLease)), kPatience);
  ASSERT_TRUE(taken.ok()) << taken.failure().message;
  EXPECT_GT(taken.value()->fencing(), held.value()->fencing());
  await_deletion(*watch("owner", before), "owner");
  EXPECT_TRUE(must(other->compare_and_swap("owner", 0, "second")).swapped);
  // The owner comes back, and is told.
  EXPECT_EQ(store_->keep_alive(lost).failure().kind, FailureKind::kLost);
  EXPECT_EQ(store_->put("owner", "first", lost).failure().kind, FailureKind::kLost);
  EXPECT_EQ(must(other->get("owner"))->value, "second");
}

// ---- Watches --------------------------------------------------------------------------------------------------------

TEST_P(StoreTest, AWatchTellsWhatWasAndWhatComes) {
  const Revision before = must(store_->put("w/a", "0"));
  ASSERT_TRUE(store_->put("w/a", "1").ok());
  ASSERT_TRUE(store_->put("x", "1").ok());
  ASSERT_TRUE(store_->erase("w/a").ok());
  ASSERT_TRUE(store_->erase("w/none").ok());
  const auto watching = watch("w/", before);
  const auto past = collect(*watching, 2);
  ASSERT_EQ(keys_of(past), (std::vector<std::string>{"w/a", "-w/a"}));
  EXPECT_EQ(past[0].entry.value, "1");
  EXPECT_EQ(past[0].entry.created, before);
  EXPECT_TRUE(must(watching->next(20ms)).events.empty());
  ASSERT_TRUE(site_->client()->put("w/b", "2").ok());
  EXPECT_EQ(keys_of(collect(*watching, 1)), (std::vector<std::string>{"w/b"}));
  const auto listing = must(store_->list("w/"));
  ASSERT_TRUE(store_->put("w/c", "3").ok());
  EXPECT_EQ(keys_of(collect(*watch("w/", listing.revision), 1)), (std::vector<std::string>{"w/c"}))
      << "from where a listing ended";
}

TEST_P(StoreTest, AllWatchesTellAllChangesInOneOrder) {
  constexpr std::size_t kWriters = 3;
  constexpr std::size_t kWrites = 20;
  const Revision before = must(store_->put("start", ""));
  std::vector<std::future<std::vector<StoreEvent>>> watchers;
  std::vector<std::unique_ptr<StoreWatch>> watches;
  for (int i = 0; i < 2; ++i) {
    watches.push_back(watch("w/", before));
    watchers.push_back(std::async(std::launch::async,
                                  [&watching = *watches.back()] { return collect(watching, kWriters * kWrites); }));
  }
  std::vector<std::thread> writers;
  for (std::size_t i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      for (std::size_t k = 0; k < kWrites; ++k)
        ASSERT_TRUE(store_->put("w/" + std::to_string(i), std::to_string(k)).ok());
    });
  }
  for (std::thread& writer : writers) writer.join();
  const auto first = watchers[0].get();
  EXPECT_EQ(first, watchers[1].get());
  ASSERT_EQ(first.size(), kWriters * kWrites);
  std::map<std::string, int> next;
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].entry.value, std::to_string(next[first[i].entry.key]++)) << "each writer's order";
    if (i > 0) {
      EXPECT_GT(first[i].entry.modified, first[i - 1].entry.modified);
    }
  }
}

TEST_P(StoreTest, AWatchResumesAfterTheStoreWasAway) {
  const Revision before = must(store_->put("w/0", ""));
  const auto watching = watch("w/", before - 1);
  EXPECT_EQ(keys_of(collect(*watching, 1)), (std::vector<std::string>{"w/0"}));
  ASSERT_TRUE(store_->put("w/1", "").ok());
  site_->interrupt();
  const auto away = watching->next(50ms);
  ASSERT_TRUE(away.ok()) << "a store that is away is no failure: " << away.failure().message;
  site_->restore();
  const auto other = site_->client();
  ASSERT_TRUE(other->put("w/2", "").ok());
  ASSERT_TRUE(other->erase("w/0").ok());
  std::vector<StoreEvent> seen = away.value().events;
  std::ranges::move(collect(*watching, 3 - seen.size()), std::back_inserter(seen));
  EXPECT_EQ(keys_of(seen), (std::vector<std::string>{"w/1", "w/2", "-w/0"}));
  EXPECT_TRUE(must(watching->next(20ms)).events.empty()) << "none twice";
}

TEST_P(StoreTest, AWatchFromBeforeTheHistoryIsReset) {
  const Revision before = must(store_->put("w/gone", ""));
  const Revision kept = must(store_->put("w/kept", "1"));
  ASSERT_TRUE(store_->put("w/a", "2").ok());
  ASSERT_TRUE(store_->erase("w/gone").ok());
  site_->compact();
  const auto watching = watch("w/", before);
  const auto deadline = Clock::now() + kPatience;
  StoreWatch::Batch batch;
  while (!batch.is_reset && Clock::now() < deadline) {
    batch = must(watching->next(1'000ms));
    EXPECT_TRUE(batch.is_reset || batch.events.empty());
  }
  EXPECT_EQ(keys_of(batch.events), (std::vector<std::string>{"w/kept", "w/a"})) << "contents, by revision";
  EXPECT_EQ(batch.events.at(0).entry, (StoreEntry{"w/kept", "1", kept, kept, 0}));
  ASSERT_TRUE(store_->put("w/new", "").ok());
  EXPECT_EQ(keys_of(collect(*watching, 1)), (std::vector<std::string>{"w/new"})) << "and goes on from there";
}

TEST_P(StoreTest, CompactionUnderAWatchLosesNothing) {
  const Revision before = must(store_->put("w/0", "0"));
  const auto watching = watch("w/", before);
  EXPECT_TRUE(must(watching->next(20ms)).events.empty());
  site_->interrupt();
  site_->restore();
  ASSERT_TRUE(store_->put("w/0", "1").ok());
  ASSERT_TRUE(store_->put("w/1", "1").ok());
  site_->compact();
  ASSERT_TRUE(store_->put("w/2", "1").ok());
  // With the changes or with a reset: in the end it knows what is there.
  std::map<std::string, std::string> seen;
  const auto deadline = Clock::now() + kPatience;
  while (seen.size() < 3 && Clock::now() < deadline) {
    const auto batch = watching->next(1'000ms);
    ASSERT_TRUE(batch.ok()) << batch.failure().message;
    if (batch.value().is_reset) seen.clear();
    for (const StoreEvent& event : batch.value().events) seen[event.entry.key] = event.entry.value;
  }
  EXPECT_EQ(seen, (std::map<std::string, std::string>{{"w/0", "1"}, {"w/1", "1"}, {"w/2", "1"}}));
}

TEST_P(StoreTest, AnInterruptedWatchReturnsAndLosesNothing) {
  const auto store = site_->client();
  const auto watching = must(store->watch("w/", must(store->list("w/")).revision));
  // Before it waits, and while it may be waiting.
  watching->interrupt();
  EXPECT_TRUE(must(watching->next(kPatience)).events.empty());
  auto waiting = std::async(std::launch::async, [&] { return must(watching->next(kPatience)); });
  watching->interrupt();
  EXPECT_TRUE(waiting.get().events.empty());
  must(store->put("w/0", "after"));
  EXPECT_EQ(collect(*watching, 1).size(), 1U);
}

TEST_P(StoreTest, AWatchEndsWithItsClient) {
  auto store = site_->client();
  const auto watching = must(store->watch("w/", 0));
  ASSERT_TRUE(watching->next(10ms).ok());
  auto waiting = std::async(std::launch::async, [&] {
    while (true) {
      auto batch = watching->next(kPatience);
      if (!batch) return batch.failure().kind;
    }
  });
  store.reset();
  EXPECT_EQ(waiting.get(), FailureKind::kAborted);
}

// ---- Locks ----------------------------------------------------------------------------------------------------------

TEST_P(StoreTest, OneHolderAtATimeInOrderOfAsking) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 4;
  std::atomic<int> holders = 0;
  std::vector<Revision> fencings;  // guarded by the lock that is tested
  std::vector<std::unique_ptr<Store>> stores;
  for (int i = 0; i < kThreads; ++i) stores.push_back(site_->client());
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const LeaseId lease = must(stores[i]->grant_lease(kLongLease));
      for (int round = 0; round < kRounds; ++round) {
        const auto held = stores[i]->lock("l", lease, kPatience);
        ASSERT_TRUE(held.ok()) << held.failure().message;
        EXPECT_EQ(++holders, 1);
        fencings.push_back(held.value()->fencing());
        std::this_thread::yield();
        EXPECT_EQ(--holders, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // The fencing is the revision of asking: those who asked first were first.
  ASSERT_EQ(fencings.size(), std::size_t{kThreads} * kRounds);
  EXPECT_TRUE(std::ranges::is_sorted(fencings, std::less_equal<>()) &&
              std::ranges::adjacent_find(fencings) == fencings.end());
}

TEST_P(StoreTest, WhoGivesUpWaitingIsNotInTheWay) {
  const LeaseId mine = lease();
  auto held = store_->lock("l", mine, kPatience);
  ASSERT_TRUE(held.ok());
  EXPECT_EQ(store_->lock("l", mine, 100ms).failure().kind, FailureKind::kTimeout) << "the same lease is no key to it";
  const auto other = site_->client();
  const LeaseId theirs = must(other->grant_lease(kLongLease));
  EXPECT_EQ(other->lock("l", theirs, 100ms).failure().kind, FailureKind::kTimeout);
  EXPECT_TRUE(other->lock("l/a", theirs, kPatience).ok()) << "another lock";
  EXPECT_TRUE(other->lock("m", theirs, kPatience).ok()) << "another lock";
  held = Failure{};  // destroyed
  const auto next = other->lock("l", theirs, kPatience);
  ASSERT_TRUE(next.ok()) << next.failure().message;
}

TEST_P(StoreTest, ALockNeedsALeaseThatLives) {
  const LeaseId mine = lease(kShortLease);
  ASSERT_TRUE(store_->revoke(mine).ok());
  EXPECT_EQ(store_->lock("l", mine, kPatience).failure().kind, FailureKind::kLost);
  EXPECT_EQ(store_->lock("l", 0, kPatience).failure().kind, FailureKind::kLost);
}

TEST_P(StoreTest, AWaiterWhoseLeaseEndsIsTold) {
  const auto held = store_->lock("l", lease(), kPatience);
  ASSERT_TRUE(held.ok());
  const auto other = site_->client();
  const LeaseId ending = must(other->grant_lease(kShortLease));
  EXPECT_EQ(other->lock("l", ending, kPatience).failure().kind, FailureKind::kLost);
}

TEST_P(StoreTest, AWaiterKeepsItsPlaceWhileTheStoreIsAway) {
  const LeaseId mine = lease();
  auto held = store_->lock("l", mine, kPatience);
  ASSERT_TRUE(held.ok());
  const auto other = site_->client();
  const LeaseId theirs = must(other->grant_lease(kLongLease));
  auto waiting = std::async(std::launch::async, [&] { return other->lock("l", theirs, kPatience); });
  EXPECT_EQ(waiting.wait_for(50ms), std::future_status::timeout);
  site_->interrupt();
  EXPECT_EQ(waiting.wait_for(50ms), std::future_status::timeout);
  site_->restore();
  const Revision fencing = held.value()->fencing();
  held = Failure{};  // destroyed
  const auto next = waiting.get();
  ASSERT_TRUE(next.ok()) << next.failure().message;
  EXPECT_GT(next.value()->fencing(), fencing);
}

// ---- A store that is away -------------------------------------------------------------------------------------------

TEST_P(StoreTest, CallsSucceedWhenTheStoreComesBack) {
  const LeaseId kept = lease();
  ASSERT_TRUE(store_->put("a", "1", kept).ok());
  site_->interrupt();
  auto waiting = std::async(std::launch::async, [&] { return store_->get("a"); });
  EXPECT_EQ(waiting.wait_for(50ms), std::future_status::timeout);
  site_->restore();
  const auto found = waiting.get();
  ASSERT_TRUE(found.ok()) << found.failure().message;
  EXPECT_EQ(found.value()->value, "1");
  EXPECT_TRUE(store_->keep_alive(kept).ok()) << "leases outlive connections";
  EXPECT_TRUE(store_->put("a", "2", kept).ok());
}

TEST_P(StoreTest, WhoCannotBeReachedIsUnreachable) {
  const auto hasty = site_->client({200ms, 10'000ms});
  ASSERT_TRUE(hasty->put("a", "1").ok());
  site_->interrupt();
  // The first call may still find the connection that has just been lost.
  (void)hasty->get("a").ok();
  EXPECT_EQ(hasty->get("a").failure().kind, FailureKind::kUnreachable);
  EXPECT_EQ(hasty->put("a", "2").failure().kind, FailureKind::kUnreachable);
  EXPECT_EQ(hasty->lock("l", 1, 100ms).failure().kind, FailureKind::kUnreachable);
  site_->restore();
  EXPECT_EQ(must(store_->get("a"))->value, "1");
  EXPECT_TRUE(store_->put("a", "3").ok());
}

TEST_P(StoreTest, WhoDoesNotAnswerIsATimeout) {
  const auto hasty = site_->client({300ms, 10'000ms});
  ASSERT_TRUE(hasty->put("a", "1").ok());
  site_->freeze();
  const auto write = hasty->put("a", "2");
  site_->thaw();
  ASSERT_FALSE(write.ok());
  EXPECT_EQ(write.failure().kind, FailureKind::kTimeout) << write.failure().message;
  const auto value = must(store_->get("a"))->value;
  EXPECT_TRUE(value == "1" || value == "2") << "it may have had its effect";
  const auto patient = site_->client();
  EXPECT_TRUE(patient->put("a", "3").ok());
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreTest, ::testing::ValuesIn(store_cases()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace concerto::test
