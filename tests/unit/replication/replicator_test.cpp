// The replicator's promises one by one, on a few blocks. What holds under every fault is the simulation's to show
// (tests/sim).
#include "concerto/replication/replicator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

#include "support/allocations.hpp"
#include "support/replicator_group.hpp"

namespace concerto {
namespace {

using test::ReplicatorGroup;

std::vector<ReplicatedBlock> blocks_of(std::uint32_t count, bool has_many_writers) {
  return std::vector<ReplicatedBlock>(count, {Side::kItems, 100, has_many_writers, true});
}

std::vector<ReplicaEffectKind> kinds(const std::vector<ReplicaEffect>& effects) {
  std::vector<ReplicaEffectKind> result;
  for (const ReplicaEffect& effect : effects) result.push_back(effect.kind);
  return result;
}

/// The rank of the group that does not own the block, the first after `after`.
Rank other_than(ReplicatorGroup& group, BlockId block, Rank after = 0) {
  return group.at(0).owner(block) == after ? after + 1 : after;
}

TEST(Replicator, PutsWhatIsPublishedToAllWithItsClock) {
  const auto blocks = blocks_of(4, false);
  ReplicatorGroup group(3, blocks, 1'000);
  const Rank owner = group.at(0).owner(2);
  group.act(owner, [&](Replicator& m, ReplicaEffects& out) { m.published(2, 7, out); });
  group.deliver_all();
  for (Rank r = 0; r < 3; ++r) {
    EXPECT_EQ(group.at(r).version(2), (Version{1, 1}));
    EXPECT_EQ(group.at(r).clock(2), 7U);
  }
  EXPECT_TRUE(group.at(owner).is_settled());
}

TEST(Replicator, MergesADeltaOnceAndKeepsItUntilItIsStableAndHere) {
  const auto blocks = blocks_of(1, true);
  ReplicatorGroup group(3, blocks, 1'000);
  const Rank owner = group.at(0).owner(0);
  const Rank writer = other_than(group, 0);
  group.keep_effects(true);
  group.act(writer, [&](Replicator& m, ReplicaEffects& out) { m.wrote(0, 1, out); });
  EXPECT_TRUE(group.at(writer).has_sealed(0)) << "what can be sent is";
  EXPECT_TRUE(group.at(writer).shows_sealed(0));
  group.deliver_all();
  EXPECT_FALSE(group.at(writer).has_sealed(0));
  EXPECT_TRUE(group.at(writer).is_drained());
  EXPECT_THAT(kinds(group.effects(owner)), testing::ElementsAre(ReplicaEffectKind::kMergeReceived));
  EXPECT_THAT(kinds(group.effects(writer)),
              testing::ElementsAre(ReplicaEffectKind::kAddToOpen, ReplicaEffectKind::kSeal, ReplicaEffectKind::kInstall,
                                   ReplicaEffectKind::kDropSealed));
  EXPECT_EQ(group.at(owner).frontier(0)[writer], (FrontierEntry{1, 1, 1}));
}

TEST(Replicator, WritingAddsToTheOpenDeltaWhileOneIsSealed) {
  const auto blocks = blocks_of(1, true);
  ReplicatorGroup group(2, blocks, 1'000);
  const Rank owner = group.at(0).owner(0);
  const Rank writer = 1 - owner;
  group.deafen(owner, true);
  for (SweepClock c = 1; c <= 5; ++c) {
    group.act(writer, [&](Replicator& m, ReplicaEffects& out) { m.wrote(0, c, out); });
  }
  EXPECT_TRUE(group.at(writer).has_sealed(0));
  EXPECT_TRUE(group.at(writer).has_open(0));
  EXPECT_EQ(group.at(writer).written(0), 5U);
  group.deafen(owner, false);
  group.deliver_all();
  EXPECT_EQ(group.at(owner).frontier(0)[writer], (FrontierEntry{1, 2, 5})) << "two deltas for five writes";
  EXPECT_TRUE(group.at(writer).is_drained());
}

/// A step of `rank` that ends before anybody hears of it.
void contribute(ReplicatorGroup& group, Rank rank, SweepClock clock) {
  group.act(rank, [&](Replicator& m, ReplicaEffects& out) { m.wrote(0, clock, out); });
}
void read(ReplicatorGroup& group, Rank rank) {
  group.act(rank, [](Replicator& m, ReplicaEffects&) { m.reads(0); });
}

TEST(Replicator, AMergeKnowsHowMuchOfOthersItWasComputedWithout) {
  const auto blocks = blocks_of(1, true);
  ReplicatorGroup group(4, blocks, 1'000);
  const Rank owner = group.at(0).owner(0);
  group.keep_effects(true);
  const auto merged = [&] {
    std::vector<std::uint32_t> unseen;
    for (const ReplicaEffect& effect : group.effects(owner)) {
      const bool is_merge =
          effect.kind == ReplicaEffectKind::kMergeReceived || effect.kind == ReplicaEffectKind::kMergeWritten;
      if (is_merge) unseen.push_back(effect.unseen);
    }
    group.effects(owner).clear();
    return unseen;
  };
  // All at once: the second misses one, the third two, ...
  for (Rank r = 0; r < 4; ++r) read(group, r);
  for (Rank r = 0; r < 4; ++r) contribute(group, r, 1);
  group.deliver_all();
  EXPECT_THAT(merged(), testing::UnorderedElementsAre(0, 1, 2, 3));
  // One after another: nothing is missed.
  for (Rank r = 0; r < 4; ++r) {
    read(group, r);
    contribute(group, r, 2);
    group.deliver_all();
  }
  EXPECT_THAT(merged(), testing::ElementsAre(0, 0, 0, 0));
}

TEST(Replicator, WhatAWriterDidItselfItHasSeen) {
  const auto blocks = blocks_of(1, true);
  ReplicatorGroup group(2, blocks, 1'000);
  const Rank owner = group.at(0).owner(0);
  const Rank writer = 1 - owner;
  group.keep_effects(true);
  group.deafen(owner, true);
  for (SweepClock c = 1; c <= 3; ++c) {  // one is sealed and on its way, then two in the open one
    read(group, writer);
    contribute(group, writer, c);
  }
  group.deafen(owner, false);
  group.deliver_all();
  std::vector<std::uint32_t> unseen;
  for (const ReplicaEffect& effect : group.effects(owner)) {
    if (effect.kind == ReplicaEffectKind::kMergeReceived) unseen.push_back(effect.unseen);
  }
  EXPECT_THAT(unseen, testing::ElementsAre(0, 0));
}

TEST(Replicator, ClockOfABlockIsThatOfItsSlowestWriter) {
  const auto blocks = blocks_of(1, true);
  ReplicatorGroup group(3, blocks, 1'000);
  for (Rank r = 0; r < 3; ++r) {
    for (SweepClock c = 1; c <= 2 + r; ++c) {
      group.act(r, [&](Replicator& m, ReplicaEffects& out) { m.wrote(0, c, out); });
    }
  }
  group.deliver_all();
  for (Rank r = 0; r < 3; ++r) EXPECT_EQ(group.at(r).clock(0), 2U);
  EXPECT_TRUE(group.at(0).may_read(0, 4, {Level::kBounded, 2}));
  EXPECT_FALSE(group.at(0).may_read(0, 5, {Level::kBounded, 2}));
  EXPECT_FALSE(group.at(0).may_read(0, 3, {Level::kStrong, 0}));
  EXPECT_TRUE(group.at(0).may_read(0, 100, {Level::kEventual, 0}));
}

TEST(Replicator, ASlowReceiverCostsNoMoreThanOneWindow) {
  constexpr std::uint32_t kBlocks = 64;
  const auto blocks = blocks_of(kBlocks, false);
  ReplicatorGroup group(2, blocks, 300);
  group.deafen(1, true);
  for (SweepClock c = 1; c <= 50; ++c) {
    for (BlockId b = 0; b < kBlocks; ++b) {
      if (!group.at(0).owns(b)) continue;
      group.act(0, [&](Replicator& m, ReplicaEffects& out) { m.published(b, c, out); });
      EXPECT_LE(group.at(0).in_flight_bytes(1), 300U);
    }
  }
  EXPECT_FALSE(group.at(0).is_settled());
  const std::uint64_t before = group.delivered();
  group.deafen(1, false);
  group.deliver_all();
  EXPECT_TRUE(group.at(0).is_settled());
  for (BlockId b = 0; b < kBlocks; ++b) {
    if (group.at(0).owns(b)) {
      EXPECT_EQ(group.at(1).clock(b), 50U);
    }
  }
  // At most what was in flight and then each block once, each answered.
  EXPECT_LE(group.delivered() - before, 2 * (kBlocks + 3));
}

TEST(Replicator, ANewOwnerTakesTheHighestVersionAndRefusesTheFormerOnes) {
  const auto blocks = blocks_of(1, false);
  ReplicatorGroup group(3, blocks, 1'000);
  const Rank owner = group.at(0).owner(0);
  const Rank successor = group.record().places[0].successor;
  const Rank third = 3 - owner - successor;
  // The third rank has version 2, the successor only 1.
  group.act(owner, [&](Replicator& m, ReplicaEffects& out) { m.published(0, 1, out); });
  group.deliver_all();
  group.deafen(successor, true);
  group.act(owner, [&](Replicator& m, ReplicaEffects& out) { m.published(0, 2, out); });
  group.deliver_all();
  EXPECT_EQ(group.at(third).version(0), (Version{1, 2}));

  auto members = group.record().members;
  members[owner] = 0;
  const Membership record = next_membership(group.record(), group.placed(), members);
  ASSERT_EQ(record.places[0].owner, successor);
  for (const Rank r : {successor, third}) {
    group.act(r, [&](Replicator& m, ReplicaEffects&) { m.disconnected(owner); });
    group.act(r, [&](Replicator& m, ReplicaEffects& out) { m.membership(record, out); });
  }
  group.deafen(successor, false);
  group.deliver_all();
  EXPECT_TRUE(group.at(successor).owns(0));
  EXPECT_EQ(group.at(successor).version(0), (Version{2, 1}));
  EXPECT_EQ(group.at(successor).clock(0), 2U);
  EXPECT_EQ(group.at(third).version(0), (Version{2, 1}));

  ReplicaMessage late;
  late.kind = ReplicaMessageKind::kPut;
  late.term = 1;
  late.version = {1, 9};
  late.clock = 9;
  const std::vector<FrontierEntry> frontier(3);
  group.act(third, [&](Replicator& m, ReplicaEffects& out) {
    m.connected(owner, 1, out);
    EXPECT_TRUE(m.received(owner, late, frontier, out));
  });
  EXPECT_EQ(group.at(third).version(0), (Version{2, 1}));
}

TEST(Replicator, WhatNoPeerSendsIsRefused) {
  const auto blocks = blocks_of(2, true);
  ReplicatorGroup group(2, blocks, 1'000);
  const std::vector<FrontierEntry> frontier(2);
  group.act(0, [&](Replicator& m, ReplicaEffects& out) {
    ReplicaMessage message;
    message.block = 2;
    EXPECT_FALSE(m.received(1, message, {}, out)) << "no such block";
    message.block = 0;
    EXPECT_FALSE(m.received(2, message, {}, out)) << "no such rank";
    EXPECT_FALSE(m.received(0, message, {}, out)) << "itself";
    EXPECT_FALSE(m.received(1, message, frontier, out)) << "a status has no frontier";
    message.kind = ReplicaMessageKind::kPut;
    EXPECT_FALSE(m.received(1, message, std::span(frontier).first(1), out)) << "a frontier of another run";
  });
}

TEST(Replicator, DifferentBytesOfOneVersionAreSentAgainByTheOwner) {
  const auto blocks = blocks_of(1, false);
  ReplicatorGroup group(2, blocks, 1'000);
  const Rank owner = group.at(0).owner(0);
  group.act(owner, [&](Replicator& m, ReplicaEffects& out) { m.published(0, 1, out); });
  group.deliver_all();
  group.keep_effects(true);
  group.act(1 - owner, [&](Replicator& m, ReplicaEffects& out) { m.compare_digests(1, out); });
  group.deliver_all();
  ASSERT_THAT(kinds(group.effects(owner)), testing::ElementsAre(ReplicaEffectKind::kCompareDigest));
  group.act(owner, [&](Replicator& m, ReplicaEffects& out) { m.digest_compared(1 - owner, 0, {1, 1}, false, out); });
  group.deliver_all();
  EXPECT_THAT(kinds(group.effects(owner)),
              testing::ElementsAre(ReplicaEffectKind::kCompareDigest, ReplicaEffectKind::kDamaged));
  EXPECT_THAT(kinds(group.effects(1 - owner)), testing::ElementsAre(ReplicaEffectKind::kInstall));
}

TEST(Replicator, AllocatesNothingInTheSteadyState) {
  constexpr std::uint32_t kBlocks = 256;
  const auto blocks = blocks_of(kBlocks, true);
  ReplicatorGroup group(4, blocks, 1'600);
  Random random(1);
  const auto work = [&](int writes) {
    for (int i = 0; i < writes; ++i) {
      const auto rank = static_cast<Rank>(random.below(4));
      const auto block = static_cast<BlockId>(random.below(kBlocks));
      group.act(rank, [&](Replicator& m, ReplicaEffects& out) { m.wrote(block, m.written(block) + 1, out); });
      group.deliver_some();
    }
  };
  work(50'000);
  const std::size_t before = test::allocations();
  const std::uint64_t messages = group.delivered();
  work(50'000);
  EXPECT_GT(group.delivered() - messages, 100'000U);
  EXPECT_EQ(test::allocations(), before);
  group.deliver_all();
  EXPECT_TRUE(group.is_sound());
  for (Rank r = 0; r < 4; ++r) EXPECT_TRUE(group.at(r).is_drained());
}

}  // namespace
}  // namespace concerto
