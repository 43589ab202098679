// Headers of operations: their bytes, damage, and what is said when two ranks do not agree.
#include "operation_header.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concerto {
namespace {

using ::testing::HasSubstr;

OperationHeader some_header(Rank sender) {
  return {OperationKind::kAllGather, 3, sender, {1, 2, std::uint64_t{1} << 40, 4}, std::uint64_t{1} << 33, 77, 88};
}

TEST(OperationHeader, ComesBackAsItWas) {
  for (const OperationKind kind : {OperationKind::kAllGather, OperationKind::kBarrier, OperationKind::kReceive}) {
    OperationHeader header = some_header(5);
    header.kind = kind;
    EXPECT_EQ(decode(encode(header)), header);
  }
}

TEST(OperationHeader, AnyBitThatChangesIsNoticed) {
  const HeaderBytes sound = encode(some_header(5));
  for (std::size_t bit = 0; bit < 8 * kHeaderBytes; ++bit) {
    HeaderBytes bytes = sound;
    bytes[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << bit % 8)};
    EXPECT_EQ(decode(bytes), std::nullopt) << bit;
    const auto failure = disagreement(some_header(2), bytes, 5);
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->kind, FailureKind::kCorrupt);
    EXPECT_THAT(failure->message, HasSubstr("rank 5"));
  }
}

TEST(OperationHeader, RanksOfOneOperationAgree) {
  EXPECT_FALSE(disagreement(some_header(2), encode(some_header(5)), 5));
}

TEST(OperationHeader, WhoeverSaysItIsAnotherRankIsNotBelieved) {
  const auto failure = disagreement(some_header(2), encode(some_header(4)), 5);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, FailureKind::kCorrupt);
}

TEST(OperationHeader, AnotherTagOrKindIsNamedWithBothRanks) {
  OperationHeader theirs = some_header(5);
  theirs.tag.index = 9;
  theirs.kind = OperationKind::kBarrier;
  const auto failure = disagreement(some_header(2), encode(theirs), 5);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, FailureKind::kMismatch);
  EXPECT_EQ(
      failure->message,
      "rank 2 is at all-gather (epoch 1, step 1099511627776, table 2, operation 4), rank 5 at barrier (epoch 1, step "
      "1099511627776, table 2, operation 9)");
}

TEST(OperationHeader, WhatDiffersWithinAnOperationIsSaid) {
  const auto said = [](const OperationHeader& theirs) {
    const auto failure = disagreement(some_header(2), encode(theirs), 5);
    return failure && failure->kind == FailureKind::kMismatch ? failure->message : "";
  };
  OperationHeader theirs = some_header(5);
  theirs.bytes = 10;
  EXPECT_THAT(said(theirs), HasSubstr("the sizes are 8589934592 and 10 bytes"));
  theirs = some_header(5);
  theirs.layout = 0;
  EXPECT_THAT(said(theirs), HasSubstr("divided in different ways"));
  theirs = some_header(5);
  theirs.root = 0;
  EXPECT_THAT(said(theirs), HasSubstr("the roots are 3 and 0"));
  theirs = some_header(5);
  theirs.group = 0;
  EXPECT_THAT(said(theirs), HasSubstr("different groups"));
}

TEST(OperationHeader, LayoutsDifferByOwnersPlacesAndOrder) {
  const std::vector<GatherBlock> blocks{{0, 0, 4}, {1, 4, 4}};
  const std::vector<GatherBlock> swapped{{1, 0, 4}, {0, 4, 4}};
  EXPECT_EQ(layout_digest(8, blocks), layout_digest(8, blocks));
  EXPECT_NE(layout_digest(8, blocks), layout_digest(8, swapped));
  EXPECT_NE(layout_digest(8, blocks), layout_digest(9, blocks));
  EXPECT_NE(layout_digest(std::vector<std::size_t>{1, 2}), layout_digest(std::vector<std::size_t>{2, 1}));
}

}  // namespace
}  // namespace concerto
