// Factor tables: layout, zero padding, and a start that depends on nothing but its key.
#include "concerto/model/factors.hpp"

#include <cmath>
#include <cstdint>

#include <gtest/gtest.h>

namespace concerto {
namespace {

TEST(FactorTable, StrideIsTheRankRoundedUpToSixteen) {
  EXPECT_EQ(FactorTable::padded(1), 16U);
  EXPECT_EQ(FactorTable::padded(16), 16U);
  EXPECT_EQ(FactorTable::padded(67), 80U);
  const FactorTable table({7, 67, true});
  EXPECT_EQ(table.stride(), 80U);
  EXPECT_EQ(table.row(6).data(), table.data() + 480);
  EXPECT_EQ(table.row(6).size(), 67U);
  EXPECT_EQ(table.biases().size(), 7U);
}

TEST(FactorTable, RowsAreAlignedAndZero) {
  const FactorTable table({5, 3, false});
  for (RowIndex r = 0; r < 5; ++r) EXPECT_EQ(reinterpret_cast<std::uintptr_t>(table.row(r).data()) % 64, 0U);
  for (std::size_t i = 0; i < 5 * table.stride(); ++i) ASSERT_EQ(table.data()[i], 0.0F);
  EXPECT_TRUE(table.biases().empty());
  EXPECT_EQ(table.bias(4), 0.0F);
}

TEST(FactorTable, BytesAre64Bit) {
  EXPECT_EQ(FactorTable::bytes({4000000000U, 128, true}), 4000000000ULL * (128 + 1) * 4);
  EXPECT_EQ(FactorTable::bytes({3, 17, false}), 3ULL * 32 * 4);
}

TEST(FactorTable, ARowlessTableIsEmpty) {
  FactorTable table({0, 4, true});
  initialize(table, Side::kUsers, 1, 0.1);
  EXPECT_EQ(table.rows(), 0U);
  EXPECT_TRUE(table.biases().empty());
}

TEST(Initialize, HasTheStatedSpreadAndKeepsPaddingZero) {
  FactorTable table({2000, 25, true});
  table.biases()[3] = 5.0F;
  initialize(table, Side::kItems, 7, 0.5);
  double sum = 0.0;
  double squares = 0.0;
  for (RowIndex r = 0; r < table.rows(); ++r) {
    for (const float x : table.row(r)) {
      sum += x;
      squares += static_cast<double>(x) * x;
    }
    for (std::size_t c = 25; c < table.stride(); ++c) ASSERT_EQ(table.data()[r * table.stride() + c], 0.0F);
  }
  const double count = 2000.0 * 25.0;
  EXPECT_NEAR(sum / count, 0.0, 4 * 0.1 / std::sqrt(count));
  EXPECT_NEAR(std::sqrt(squares / count), 0.1, 0.002);
  EXPECT_EQ(table.bias(3), 0.0F);
}

TEST(Initialize, ARowDoesNotDependOnTheTablesSizeButOnSeedAndSide) {
  FactorTable small({10, 8, false});
  FactorTable large({100, 8, false});
  FactorTable other_side({10, 8, false});
  FactorTable other_seed({10, 8, false});
  initialize(small, Side::kUsers, 3, 0.1);
  initialize(large, Side::kUsers, 3, 0.1);
  initialize(other_side, Side::kItems, 3, 0.1);
  initialize(other_seed, Side::kUsers, 4, 0.1);
  for (std::uint32_t c = 0; c < 8; ++c) EXPECT_EQ(small.row(9)[c], large.row(9)[c]);
  EXPECT_NE(small.row(9)[0], other_side.row(9)[0]);
  EXPECT_NE(small.row(9)[0], other_seed.row(9)[0]);
}

}  // namespace
}  // namespace concerto
