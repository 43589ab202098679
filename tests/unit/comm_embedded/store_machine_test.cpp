// The store's state machine: revisions, leases, history and locks, each promise by itself.
#include "store_machine.hpp"

#include <gtest/gtest.h>

namespace concerto::embedded {
namespace {

constexpr std::size_t kAllBytes = std::size_t{1} << 30;

StoreTime ms(std::int64_t count) {
  return StoreTime{count};
}

TEST(StoreMachine, EveryChangeGetsTheNextRevision) {
  StoreMachine machine;
  EXPECT_EQ(machine.revision(), 0U);
  EXPECT_EQ(machine.put("a", "1", 0).value(), 1U);
  EXPECT_EQ(machine.put("b", "", 0).value(), 2U);
  EXPECT_EQ(machine.put("a", "2", 0).value(), 3U);
  EXPECT_EQ(machine.get("a"), (StoreEntry{"a", "2", 1, 3, 0}));
  EXPECT_TRUE(machine.erase("a"));
  EXPECT_FALSE(machine.erase("a"));
  EXPECT_EQ(machine.revision(), 4U);
  EXPECT_EQ(machine.get("a"), std::nullopt);
  EXPECT_EQ(machine.put("a", "3", 0).value(), 5U);
  EXPECT_EQ(machine.get("a")->created, 5U) << "made anew";
}

TEST(StoreMachine, ListingIsByKeyAndByPrefix) {
  StoreMachine machine;
  for (const char* key : {"b", "a/2", "a/1", "a", "ab", "a/\xff"}) ASSERT_TRUE(machine.put(key, key, 0).ok());
  const auto listing = machine.list("a/").value();
  ASSERT_EQ(listing.entries.size(), 3U);
  EXPECT_EQ(listing.entries[0].key, "a/1");
  EXPECT_EQ(listing.entries[1].key, "a/2");
  EXPECT_EQ(listing.entries[2].key, "a/\xff");
  EXPECT_EQ(listing.revision, 6U);
  EXPECT_EQ(machine.list("").value().entries.size(), 6U);
}

TEST(StoreMachine, AListingThatNoMessageHoldsIsRefused) {
  StoreMachine machine;
  const std::string value(kMaxStoreValue, 'x');
  for (int i = 0; i < 15; ++i) ASSERT_TRUE(machine.put("k" + std::to_string(i), value, 0).ok());
  EXPECT_TRUE(machine.list("k").ok());
  ASSERT_TRUE(machine.put("k15", value, 0).ok());
  EXPECT_EQ(machine.list("k").failure().kind, FailureKind::kRefused);
  EXPECT_EQ(machine.list("k1").value().entries.size(), 7U);
}

TEST(StoreMachine, CompareAndSwapLooksAtTheLastWrite) {
  StoreMachine machine;
  EXPECT_TRUE(machine.compare_and_swap("a", 0, "1", 0).value().swapped);
  const SwapOutcome taken = machine.compare_and_swap("a", 0, "2", 0).value();
  EXPECT_FALSE(taken.swapped);
  EXPECT_EQ(taken.present, (StoreEntry{"a", "1", 1, 1, 0}));
  EXPECT_EQ(machine.compare_and_swap("a", 1, "2", 0).value().revision, 2U);
  const SwapOutcome absent = machine.compare_and_swap("b", 1, "2", 0).value();
  EXPECT_FALSE(absent.swapped);
  EXPECT_EQ(absent.present, std::nullopt);
}

TEST(StoreMachine, ALeaseEndsAndTakesItsKeysAlongInOrder) {
  StoreMachine machine;
  machine.advance(ms(1'000));
  const LeaseId lease = machine.grant(ms(500)).value();
  ASSERT_TRUE(machine.put("z", "", lease).ok());
  ASSERT_TRUE(machine.put("b", "", lease).ok());
  ASSERT_TRUE(machine.put("left", "", lease).ok());
  ASSERT_TRUE(machine.put("left", "", 0).ok()) << "written without it: no longer its own";
  ASSERT_TRUE(machine.put("free", "", 0).ok());
  EXPECT_EQ(machine.next_end(), ms(1'500));
  machine.advance(ms(1'499));
  EXPECT_TRUE(machine.has_lease(lease));
  EXPECT_EQ(machine.keep_alive(lease).value(), ms(500));
  machine.advance(ms(1'998));
  EXPECT_TRUE(machine.has_lease(lease));
  const Revision before = machine.revision();
  machine.advance(ms(1'999));
  EXPECT_FALSE(machine.has_lease(lease));
  EXPECT_EQ(machine.next_end(), std::nullopt);
  EXPECT_EQ(machine.list("").value().entries.size(), 2U);
  const auto changes = machine.changes("", before, kAllBytes);
  ASSERT_TRUE(changes && changes->events.size() == 2);
  EXPECT_EQ(changes->events[0], (StoreEvent{true, {"b", "", 0, before + 1, 0}}));
  EXPECT_EQ(changes->events[1], (StoreEvent{true, {"z", "", 0, before + 2, 0}}));
  EXPECT_EQ(machine.keep_alive(lease).failure().kind, FailureKind::kLost);
  EXPECT_EQ(machine.put("b", "", lease).failure().kind, FailureKind::kLost);
  EXPECT_EQ(machine.compare_and_swap("b", 0, "", lease).failure().kind, FailureKind::kLost);
  EXPECT_EQ(machine.enqueue("lock", "t", lease).failure().kind, FailureKind::kLost);
  EXPECT_FALSE(machine.revoke(lease));
}

TEST(StoreMachine, AProcessThatStoodStillDoesNotEndLeases) {
  MachineLimits limits;
  limits.longest_gap = ms(2'000);
  StoreMachine machine(limits);
  machine.advance(ms(10'000));
  const LeaseId lease = machine.grant(ms(3'000)).value();
  machine.advance(ms(11'000));
  machine.advance(ms(60'000));
  EXPECT_TRUE(machine.has_lease(lease));
  EXPECT_EQ(machine.next_end(), ms(62'000)) << "as much is left as before";
  machine.advance(ms(61'999));
  EXPECT_TRUE(machine.has_lease(lease));
  machine.advance(ms(62'000));
  EXPECT_FALSE(machine.has_lease(lease)) << "time that passed in small steps counts";
}

TEST(StoreMachine, HistoryIsBoundedAndSaysWhatItLost) {
  MachineLimits limits;
  limits.history_events = 3;
  StoreMachine machine(limits);
  for (int i = 1; i <= 5; ++i) ASSERT_TRUE(machine.put("k", std::to_string(i), 0).ok());
  EXPECT_EQ(machine.compacted(), 2U);
  EXPECT_EQ(machine.changes("k", 1, kAllBytes), std::nullopt);
  const auto changes = machine.changes("k", 2, kAllBytes);
  ASSERT_TRUE(changes && changes->events.size() == 3);
  EXPECT_EQ(changes->events[0].entry.value, "3");
  EXPECT_EQ(changes->through, 5U);

  limits = {};
  limits.history_bytes = 3'000;
  StoreMachine by_bytes(limits);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(by_bytes.put("k", std::string(1'000, 'x'), 0).ok());
  EXPECT_EQ(by_bytes.compacted(), 8U);
}

TEST(StoreMachine, ChangesComeInPartsAndNoneIsTooLarge) {
  StoreMachine machine;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(machine.put("a/k", std::string(1'000, 'x'), 0).ok());
  ASSERT_TRUE(machine.put("b/k", "", 0).ok());
  auto changes = machine.changes("a/", 0, 10);
  ASSERT_TRUE(changes && changes->events.size() == 1) << "one is given even if it is larger than asked for";
  EXPECT_EQ(changes->through, 1U);
  changes = machine.changes("a/", changes->through, 2'500);
  ASSERT_TRUE(changes && changes->events.size() == 2);
  EXPECT_EQ(changes->through, 3U);
  changes = machine.changes("a/", changes->through, 2'500);
  ASSERT_TRUE(changes && changes->events.size() == 1);
  EXPECT_EQ(changes->through, 5U) << "nothing more up to the last change";
  EXPECT_EQ(machine.changes("a/", 9, 2'500)->through, 9U) << "a revision that is yet to come";
}

TEST(StoreMachine, AFullStoreRefusesAndRoomComesBack) {
  MachineLimits limits;
  limits.stored_bytes = 3'000;
  StoreMachine machine(limits);
  const std::string value(1'000, 'x');
  ASSERT_TRUE(machine.put("a", value, 0).ok());
  ASSERT_TRUE(machine.put("b", value, 0).ok());
  EXPECT_EQ(machine.put("c", value, 0).failure().kind, FailureKind::kRefused);
  EXPECT_EQ(machine.get("c"), std::nullopt);
  EXPECT_EQ(machine.revision(), 2U);
  EXPECT_TRUE(machine.put("b", value, 0).ok()) << "in place of what stands there";
  machine.erase("a");
  EXPECT_TRUE(machine.put("c", value, 0).ok());
}

TEST(StoreMachine, LocksGoInOrderOfAskingAndFencingRises) {
  StoreMachine machine;
  machine.advance(ms(0));
  const LeaseId first = machine.grant(ms(100)).value();
  const LeaseId second = machine.grant(ms(1'000)).value();
  EXPECT_EQ(machine.holder("l"), std::nullopt);
  const Revision a = machine.enqueue("l", "a", first).value();
  const Revision b = machine.enqueue("l", "b", second).value();
  const Revision c = machine.enqueue("l", "c", second).value();
  EXPECT_LT(a, b);
  EXPECT_LT(b, c);
  EXPECT_EQ(machine.enqueue("l", "b", second).value(), b) << "asking again changes nothing";
  EXPECT_NE(machine.enqueue("other", "b", second).value(), b);
  EXPECT_EQ(machine.holder("l"), a);
  machine.advance(ms(100));
  EXPECT_EQ(machine.holder("l"), b) << "the holder's lease has ended";
  EXPECT_EQ(machine.place("l", "a"), std::nullopt);
  EXPECT_TRUE(machine.leave("l", "b"));
  EXPECT_FALSE(machine.leave("l", "b"));
  EXPECT_EQ(machine.holder("l"), c);
  const Revision again = machine.enqueue("l", "b2", second).value();
  EXPECT_GT(again, c);
  EXPECT_TRUE(machine.revoke(second));
  EXPECT_EQ(machine.holder("l"), std::nullopt);
  EXPECT_EQ(machine.holder("other"), std::nullopt);
}

}  // namespace
}  // namespace concerto::embedded
