// What a node does next, when it may, and how a level changes. Runs of many nodes under faults are in tests/sim.
#include "concerto/node/asynchronous.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concerto {
namespace {

/// Two blocks of items, two of users.
std::vector<ReplicatedBlock> blocks(bool is_adding) {
  return {{Side::kItems, 10, is_adding, true},
          {Side::kItems, 10, is_adding, true},
          {Side::kUsers, 10, false, !is_adding},
          {Side::kUsers, 10, false, !is_adding}};
}

AsynchronousOptions options(Rank ranks, TableLevel level, bool is_adding = false) {
  AsynchronousOptions result;
  result.replicator.ranks = ranks;
  result.is_adding = is_adding;
  result.epochs = 3;
  result.levels = {level, level};
  result.weights = {1, 1, 1, 1};
  return result;
}

/// Rank 0 owns the first block of each table, or all.
Membership record(Rank ranks) {
  Membership result;
  result.members.assign(ranks, 1);
  const Rank other = ranks - 1;
  const Rank successor = ranks == 1 ? kNoRank : 1;
  result.places = {{0, successor, 1}, {other, 0, 1}, {0, successor, 1}, {other, 0, 1}};
  if (ranks == 1) {
    for (BlockPlace& place : result.places) place.successor = kNoRank;
  }
  return result;
}

/// The other rank's block as of a sweep.
void put(AsynchronousNode& node, BlockId block, SweepClock clock, AsynchronousEffects& out) {
  ReplicaMessage message;
  message.kind = ReplicaMessageKind::kPut;
  message.block = block;
  message.term = 1;
  message.version = {1, clock};
  message.clock = clock;
  out.clear();
  EXPECT_TRUE(node.received(1, message, std::vector<FrontierEntry>(2), out));
}

/// The other rank holds this version of a block of rank 0's.
void acknowledge(AsynchronousNode& node, BlockId block, std::uint64_t serial, AsynchronousEffects& out) {
  ReplicaMessage message;
  message.block = block;
  message.term = 1;
  message.version = {1, serial};
  out.clear();
  EXPECT_TRUE(node.received(1, message, {}, out));
}

TEST(AsynchronousNode, AloneItDoesSweepAfterSweepItemsFirstAndEnds) {
  AsynchronousNode node(options(1, {Level::kStrong, 0}), blocks(false));
  AsynchronousEffects out;
  node.membership(record(1), out);
  std::vector<std::pair<Side, SweepClock>> steps;
  while (out.step) {
    steps.emplace_back(out.step->table, out.step->clock);
    out.clear();
    node.step_finished(out);
  }
  std::vector<std::pair<Side, SweepClock>> expected;
  for (SweepClock c = 1; c <= 3; ++c) {
    for (const Side side : {Side::kItems, Side::kItems, Side::kUsers, Side::kUsers}) expected.emplace_back(side, c);
  }
  EXPECT_EQ(steps, expected);
  EXPECT_TRUE(out.is_finished);
  EXPECT_EQ(node.phase(), RunPhase::kFinished);
}

TEST(AsynchronousNode, BoundedWaitsForTheBlockThatLagsTooFar) {
  AsynchronousNode node(options(2, {Level::kBounded, 1}), blocks(false));
  AsynchronousEffects out;
  node.membership(record(2), out);
  node.connected(1, 1, out);
  ASSERT_TRUE(out.step);
  const auto finish = [&] {
    out.clear();
    node.step_finished(out);
  };
  finish();  // items 1; users 1 may read the other's items of 0
  ASSERT_TRUE(out.step);
  EXPECT_EQ(out.step->table, Side::kUsers);
  finish();  // items 2 may read users of 0
  ASSERT_TRUE(out.step);
  finish();  // users 2 may not read items of 0
  EXPECT_FALSE(out.step);
  EXPECT_EQ(node.waits_for(), std::optional<BlockId>(1));
  put(node, 1, 1, out);
  ASSERT_TRUE(out.step);
  EXPECT_EQ(out.step->clock, 2U);
}

TEST(AsynchronousNode, EventualNeverWaits) {
  AsynchronousNode node(options(2, {Level::kEventual, 0}), blocks(false));
  AsynchronousEffects out;
  node.membership(record(2), out);
  // It does the other's share too of what ends the run.
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(out.step) << i;
    out.clear();
    node.step_finished(out);
  }
  EXPECT_EQ(node.phase(), RunPhase::kTraining) << "the other has not done anything";
  node.connected(1, 1, out);
  put(node, 1, 1, out);
  EXPECT_EQ(node.phase(), RunPhase::kTraining) << "its users are as they were drawn";
  put(node, 3, 1, out);
  out.clear();
  node.step_finished(out);
  EXPECT_FALSE(out.step);
  EXPECT_EQ(node.phase(), RunPhase::kDraining);
}

TEST(AsynchronousNode, WhatAddsWorksOnAllItemsAndPublishesItsUsersAfterASweep) {
  AsynchronousNode node(options(1, {Level::kEventual, 0}, true), blocks(true));
  AsynchronousEffects out;
  node.membership(record(1), out);
  std::vector<ReplicaEffectKind> kinds;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(out.step);
    EXPECT_EQ(out.step->table, Side::kItems);
    out.clear();
    node.step_finished(out);
    for (const ReplicaEffect& effect : out.replica.list) kinds.push_back(effect.kind);
  }
  EXPECT_THAT(kinds, testing::ElementsAre(ReplicaEffectKind::kMergeWritten, ReplicaEffectKind::kMergeWritten,
                                          ReplicaEffectKind::kReplace, ReplicaEffectKind::kReplace));
  EXPECT_EQ(node.replicator().clock(2), 1U);
}

TEST(AsynchronousNode, ALevelChangesAtASweepThatWasHeld) {
  AsynchronousNode node(options(2, {Level::kEventual, 0}), blocks(false));
  AsynchronousEffects out;
  node.membership(record(2), out);
  node.connected(1, 1, out);
  EXPECT_EQ(node.hold_before(1), 1U) << "too late: sweep 1 has begun";
  EXPECT_EQ(node.hold_before(2), 1U);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(out.step);
    out.clear();
    node.step_finished(out);
  }
  EXPECT_FALSE(out.step) << "sweep 2 is held";
  out.clear();
  node.change_level(Side::kUsers, {Level::kStrong, 0}, 2, out);
  EXPECT_FALSE(out.step) << "strong: nobody else has the own users of sweep 1";
  EXPECT_EQ(node.waits_for(), std::optional<BlockId>(2));
  acknowledge(node, 2, 1, out);
  EXPECT_FALSE(out.step) << "and the other rank's are not here";
  EXPECT_EQ(node.waits_for(), std::optional<BlockId>(3));
  put(node, 3, 1, out);
  ASSERT_TRUE(out.step);
  EXPECT_EQ(out.step->clock, 2U);
}

}  // namespace
}  // namespace concerto
