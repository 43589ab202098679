// Messages as bytes and back; bytes that nobody wrote are refused.
#include "concerto/replication/message.hpp"

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

ReplicaMessage drawn(Random& random) {
  ReplicaMessage m;
  m.kind = static_cast<ReplicaMessageKind>(random.below(6));
  for (bool* flag :
       {&m.answers_put, &m.answers_delta, &m.answers_fence, &m.is_owner, &m.asks, &m.carries_digest, &m.is_forced}) {
    *flag = random.below(2) == 0;
  }
  m.block = random();
  m.term = random.below(1'000);
  m.version = {random.below(1'000), random.below(std::uint64_t{1} << 60)};
  m.clock = random();
  m.writer = {random.below(9), random.below(std::uint64_t{1} << 50), random()};
  m.stable = random.below(std::uint64_t{1} << 50);
  return m;
}

TEST(ReplicaMessageBytes, ComeBackAsTheyWere) {
  Random random(3);
  for (int i = 0; i < 1'000; ++i) {
    const ReplicaMessage message = drawn(random);
    std::vector<FrontierEntry> frontier(random.below(5));
    for (FrontierEntry& entry : frontier) entry = {random.below(9), random.below(99), random()};
    const std::uint64_t digest = message.carries_digest ? random.below(1'000'000) : 0;
    std::vector<std::byte> bytes = encode(message, frontier, digest);
    const std::size_t size = bytes.size();
    bytes.resize(size + random.below(20), std::byte{7});
    const auto parsed = parse_replica_message(bytes);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->message, message);
    EXPECT_EQ(parsed->frontier, frontier);
    EXPECT_EQ(parsed->digest, digest);
    EXPECT_EQ(parsed->body.size(), bytes.size() - size);
    for (std::size_t cut = 0; cut < size; ++cut) EXPECT_FALSE(parse_replica_message(std::span(bytes).first(cut)));
  }
}

TEST(ReplicaMessageBytes, WhatNobodyWritesIsRefused) {
  const std::vector<std::byte> good = encode({}, {}, 0);
  const auto with = [&](std::size_t at, std::uint8_t value) {
    std::vector<std::byte> bytes = good;
    bytes[at] = std::byte{value};
    return parse_replica_message(bytes).has_value();
  };
  EXPECT_TRUE(with(0, 5));
  EXPECT_FALSE(with(0, 6)) << "no such kind";
  EXPECT_FALSE(with(1, 0x80)) << "no such flag";
  EXPECT_FALSE(with(good.size() - 1, 1)) << "more entries than bytes, and than ranks";
  EXPECT_FALSE(with(good.size() - 5, 1)) << "a digest that it does not say it has";
}

}  // namespace
}  // namespace concerto
