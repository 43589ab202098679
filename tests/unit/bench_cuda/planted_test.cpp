// Planted ratings in small: what the generator promises, and that a trained model gets close to the planted one.
#include "planted.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "concerto/compute/backends.hpp"

namespace concerto::bench {
namespace {

TEST(Planted, ItemsAscendAndEveryUserTrains) {
  ThreadPool pool(2);
  const PlantedOptions options = PlantedOptions{}.scaled(0.01);
  const PlantedData data = make_planted(options, pool);
  const CompressedRows train = data.by_user.view();
  ASSERT_EQ(train.rows, options.users);
  EntryIndex short_rows = 0;
  for (RowIndex user = 0; user < train.rows; ++user) {
    const auto items = train.row_columns(user);
    if (items.empty()) ++short_rows;
    for (std::size_t k = 0; k < items.size(); ++k) {
      ASSERT_LT(items[k], options.items);
      if (k > 0) {
        ASSERT_LT(items[k - 1], items[k]);
      }
    }
    for (const float value : train.row_values(user)) {
      ASSERT_TRUE(value >= 1.0F && value <= 5.0F && value == std::round(value));
    }
  }
  EXPECT_LT(short_rows, train.rows / 2);
  const double share = static_cast<double>(data.test.entries()) / static_cast<double>(train.entries());
  EXPECT_GT(share, 0.005);
  EXPECT_LT(share, 0.03);
  EXPECT_GT(data.true_rmse, 0.55);  // the noise, and the rounding's 1 / sqrt(12)
  EXPECT_LT(data.true_rmse, 0.75);
}

TEST(Planted, IsAFunctionOfItsOptions) {
  ThreadPool one(1);
  ThreadPool three(3);
  const PlantedOptions options = PlantedOptions{}.scaled(0.005);
  const PlantedData a = make_planted(options, one);
  const PlantedData b = make_planted(options, three);
  EXPECT_EQ(a.by_user.columns, b.by_user.columns);
  EXPECT_EQ(a.by_user.values, b.by_user.values);
  EXPECT_EQ(a.test.known.columns, b.test.known.columns);
  EXPECT_EQ(a.true_rmse, b.true_rmse);
}

}  // namespace
}  // namespace concerto::bench
