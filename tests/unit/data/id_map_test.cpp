// Id maps: both directions in all three kinds, the row order, and byte images with and without damage.
#include "concerto/data/id_map.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

IdMap sample(IdKind kind) {
  if (kind == IdKind::kIndex) return IdMap::indices(7, kRowOrderSeed, 0);
  if (kind == IdKind::kInteger) return IdMap::integers({3, 17, 4294967294U, 1ULL << 40}, kRowOrderSeed, 0);
  return IdMap::labels({"", "12", "a", "aa", "b c", "\xc3\xa9"}, kRowOrderSeed, 1);
}

class IdMapKinds : public testing::TestWithParam<IdKind> {};

TEST_P(IdMapKinds, TextAndFindAreInverse) {
  const IdMap map = sample(GetParam());
  std::set<std::string> texts;
  for (RowIndex row = 0; row < map.size(); ++row) {
    texts.insert(map.text(row));
    EXPECT_EQ(map.find(map.text(row)), row);
  }
  EXPECT_EQ(texts.size(), map.size());
}

TEST_P(IdMapKinds, SurvivesItsImage) {
  const IdMap map = sample(GetParam());
  const std::vector<std::byte> image = map.serialize();
  const IdMap copy = IdMap::deserialize(image, "users.ids");
  EXPECT_EQ(copy.kind(), map.kind());
  ASSERT_EQ(copy.size(), map.size());
  for (RowIndex row = 0; row < map.size(); ++row) EXPECT_EQ(copy.text(row), map.text(row));
  EXPECT_EQ(copy.serialize(), image);
}

TEST_P(IdMapKinds, EveryTruncationIsCorruptAndNamed) {
  const std::vector<std::byte> image = sample(GetParam()).serialize();
  for (std::size_t length = 0; length < image.size(); ++length) {
    try {
      (void)IdMap::deserialize(std::span(image).first(length), "users.ids");
      FAIL() << "accepted " << length << " of " << image.size() << " bytes";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_EQ(error.where(), "users.ids");
    }
  }
}

TEST_P(IdMapKinds, FlippedBytesNeverGiveAMapThatContradictsItself) {
  const std::vector<std::byte> image = sample(GetParam()).serialize();
  for (std::size_t place = 0; place < image.size(); ++place) {
    std::vector<std::byte> damaged = image;
    damaged[place] ^= std::byte{0x55};
    try {
      const IdMap map = IdMap::deserialize(damaged, "users.ids");
      for (RowIndex row = 0; row < map.size(); ++row) ASSERT_EQ(map.find(map.text(row)), row);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    }
  }
}

TEST_P(IdMapKinds, BytesBehindTheEndAreRefused) {
  std::vector<std::byte> image = sample(GetParam()).serialize();
  image.push_back(std::byte{0});
  EXPECT_THROW((void)IdMap::deserialize(image, "x"), Error);
}

INSTANTIATE_TEST_SUITE_P(All, IdMapKinds, testing::Values(IdKind::kIndex, IdKind::kInteger, IdKind::kLabel));

TEST(IdMap, RowsAreTheSeededPermutation) {
  const std::vector<std::uint32_t> order = random_permutation(7, kRowOrderSeed, 1);
  const IdMap map = IdMap::indices(7, kRowOrderSeed, 1);
  for (std::uint64_t id = 0; id < 7; ++id) EXPECT_EQ(map.find(id), order[id]);
  EXPECT_TRUE(std::ranges::equal(map.row_order(), order));
}

TEST(IdMap, UnknownIdsAreNotFound) {
  const IdMap index = sample(IdKind::kIndex);
  EXPECT_FALSE(index.find(std::uint64_t{7}));
  for (const char* text : {"7", "", "-1", "+1", "1x", " 1", "99999999999999999999999"})
    EXPECT_FALSE(index.find(text)) << text;
  EXPECT_EQ(index.find("003"), index.find(std::uint64_t{3}));
  const IdMap integer = sample(IdKind::kInteger);
  EXPECT_FALSE(integer.find(std::uint64_t{4}));
  EXPECT_FALSE(integer.find(~std::uint64_t{0}));
  const IdMap label = sample(IdKind::kLabel);
  EXPECT_FALSE(label.find("ab"));
  EXPECT_FALSE(label.find("zz"));
  EXPECT_TRUE(label.find(""));
  EXPECT_EQ(label.find(std::uint64_t{12}), label.find("12"));
}

TEST(IdMap, AnEmptyMapKnowsNothing) {
  const IdMap map;
  EXPECT_EQ(map.size(), 0U);
  EXPECT_FALSE(map.find("0"));
  EXPECT_EQ(IdMap::deserialize(map.serialize(), "x").size(), 0U);
}

}  // namespace
}  // namespace concerto
