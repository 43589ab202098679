// The baselines' kernels and the generators on the host machine, against plain loops.
#include "baselines.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "device/half.cuh"

namespace concerto::bench {
namespace {

template <class T>
std::vector<T> host_copy(const cuda::Stream& stream, const cuda::DeviceArray<T>& array) {
  std::vector<T> values(array.size());
  cuda::copy_to_host(stream, values.data(), array.data(), array.bytes());
  return values;
}

class Baselines : public ::testing::Test {
 protected:
  cuda::Stream stream;
  cuda::MemoryPool pool;
};

TEST(Half, ConvertsAsTheFormatSays) {
  EXPECT_EQ(half_bits(1.0F), 0x3c00);
  EXPECT_EQ(half_bits(-2.0F), 0xc000);
  EXPECT_EQ(half_bits(65504.0F), 0x7bff);
  EXPECT_EQ(half_bits(65520.0F), 0x7c00);
  EXPECT_EQ(half_bits(0x1p-24F), 1);
  EXPECT_EQ(half_bits(0x1p-25F), 0);              // a tie, to even
  EXPECT_EQ(half_bits(1.0F + 0x1p-11F), 0x3c00);  // a tie, to even
  EXPECT_EQ(half_bits(1.0F + 0x3p-11F), 0x3c02);  // a tie, to even
  EXPECT_EQ(half_bits(1.99999F), 0x4000);
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    EXPECT_EQ(half_bits(half_value(static_cast<std::uint16_t>(bits))), bits);
  }
}

TEST_F(Baselines, OrientationsHoldTheShuffledRatings) {
  const RatingsShape shape{37, 23, 300};
  const DeviceRatings ratings = make_ratings(stream, pool, shape);
  std::vector<std::tuple<RowIndex, RowIndex, float>> drawn;
  for (const Rating& rating : host_copy(stream, make_shuffled(stream, pool, shape))) {
    ASSERT_LT(rating.user, shape.users);
    ASSERT_LT(rating.item, shape.items);
    drawn.emplace_back(rating.user, rating.item, rating.value);
  }
  std::ranges::sort(drawn);
  for (const bool by_user : {true, false}) {
    const CompressedMatrix matrix = copy_to_host(stream, by_user ? *ratings.by_user : *ratings.by_item);
    std::vector<std::tuple<RowIndex, RowIndex, float>> found;
    for (RowIndex r = 0; r < matrix.rows; ++r) {
      for (EntryIndex k = matrix.offsets[r]; k < matrix.offsets[r + 1]; ++k) {
        if (k > matrix.offsets[r]) {
          EXPECT_LE(matrix.columns[k - 1], matrix.columns[k]);
        }
        const RowIndex c = matrix.columns[k];
        found.emplace_back(by_user ? r : c, by_user ? c : r, matrix.values[k]);
      }
    }
    std::ranges::sort(found);
    EXPECT_EQ(found, drawn);
  }
}

/// CG of implicit's method for one row, in double.
std::vector<double> by_definition(const CompressedMatrix& matrix, RowIndex row, const std::vector<float>& fixed,
                                  const std::vector<float>& gram, std::vector<double> x, unsigned steps, double alpha) {
  const std::size_t f = x.size();
  const auto product = [&](const std::vector<double>& v, bool is_residual) {
    std::vector<double> out(f);
    for (std::size_t i = 0; i < f; ++i) {
      for (std::size_t j = 0; j < f; ++j) out[i] += gram[i * f + j] * v[j] * (is_residual ? -1.0 : 1.0);
    }
    for (EntryIndex k = matrix.offsets[row]; k < matrix.offsets[row + 1]; ++k) {
      const float* y = fixed.data() + matrix.columns[k] * f;
      double score = 0.0;
      for (std::size_t i = 0; i < f; ++i) score += y[i] * v[i];
      const double c = alpha * std::fabs(matrix.values[k]);
      const double weight = is_residual ? (matrix.values[k] > 0.0F ? c : 0.0) - (c - 1.0) * score : (c - 1.0) * score;
      for (std::size_t i = 0; i < f; ++i) out[i] += weight * y[i];
    }
    return out;
  };
  const auto dot = [&](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < f; ++i) sum += a[i] * b[i];
    return sum;
  };
  std::vector<double> r = product(x, true);
  std::vector<double> p = r;
  for (unsigned s = 0; s < steps; ++s) {
    const std::vector<double> q = product(p, false);
    const double before = dot(r, r);
    const double length = before / dot(p, q);
    for (std::size_t i = 0; i < f; ++i) {
      x[i] += length * p[i];
      r[i] -= length * q[i];
    }
    const double turn = dot(r, r) / before;
    for (std::size_t i = 0; i < f; ++i) p[i] = r[i] + turn * p[i];
  }
  return x;
}

TEST_F(Baselines, MatrixFreeRowsAreConjugateGradient) {
  for (const std::uint32_t rank : {32U, 64U, 128U}) {
    const RatingsShape shape{19, 40, 120};
    const DeviceRatings ratings = make_ratings(stream, pool, shape);
    std::vector<float> fixed(shape.items * rank);
    std::vector<float> start(shape.users * rank);
    for (std::size_t i = 0; i < fixed.size(); ++i) fixed[i] = 0.2F * std::sin(static_cast<float>(i * i % 997));
    for (std::size_t i = 0; i < start.size(); ++i) start[i] = 0.1F * std::cos(static_cast<float>(i * 7 % 991));
    const cuda::DeviceArray<float> fixed_on_device(pool, stream, std::span<const float>(fixed), "fixed");
    cuda::DeviceArray<float> target(pool, stream, std::span<const float>(start), "target");
    cuda::DeviceArray<float> gram(pool, std::size_t{rank} * rank, "gram");
    cuda::Dense dense(stream);
    dense.grams(1, shape.items, rank, {fixed_on_device.data(), cuda::Element::kFp32, rank}, gram.data());
    add_to_diagonal(stream, gram.data(), rank, 0.1F);
    MatrixFreeStep step;
    step.ratings = ratings.by_user.get();
    step.fixed = fixed_on_device.data();
    step.gram = gram.data();
    step.target = target.data();
    step.rank = rank;
    step.alpha = 0.7F;
    solve_matrix_free(stream, step);
    const CompressedMatrix matrix = copy_to_host(stream, *ratings.by_user);
    const std::vector<float> found = host_copy(stream, target);
    const std::vector<float> products = host_copy(stream, gram);
    for (RowIndex row = 0; row < shape.users; ++row) {
      if (matrix.offsets[row] == matrix.offsets[row + 1]) {
        for (std::size_t i = 0; i < rank; ++i) EXPECT_EQ(found[row * rank + i], 0.0F);
        continue;
      }
      std::vector<double> x(start.begin() + row * rank, start.begin() + (row + 1) * rank);
      x = by_definition(matrix, row, fixed, products, x, 3, 0.7);
      for (std::size_t i = 0; i < rank; ++i) EXPECT_NEAR(found[row * rank + i], x[i], 2e-4) << row << " " << i;
    }
  }
}

TEST_F(Baselines, AHogwildWarpUpdatesInOrder) {
  constexpr RowIndex kRows = 6;
  const std::vector<Rating> ratings = {{0, 1, 3.0F}, {2, 4, 5.0F}, {0, 4, 1.0F}};
  const cuda::DeviceArray<Rating> on_device(pool, stream, std::span<const Rating>(ratings), "ratings");
  cuda::DeviceArray<std::uint16_t> users(pool, kRows * kHogwildRank, "users");
  cuda::DeviceArray<std::uint16_t> items(pool, kRows * kHogwildRank, "items");
  fill_random_half(stream, users.data(), users.size(), 1, 0.3F);
  fill_random_half(stream, items.data(), items.size(), 2, 0.3F);
  std::vector<std::uint16_t> p = host_copy(stream, users);
  std::vector<std::uint16_t> q = host_copy(stream, items);
  HogwildStep step{on_device.data(), ratings.size(), users.data(), items.data(), 0.01F, 0.05F, 5, 1};
  hogwild_epoch(stream, step);
  const std::vector<std::uint16_t> found_users = host_copy(stream, users);
  const std::vector<std::uint16_t> found_items = host_copy(stream, items);

  // The start of the one run is one of the three ratings; the run goes round. The one that fits must fit everywhere.
  bool fits_any = false;
  for (std::size_t start = 0; start < ratings.size(); ++start) {
    std::vector<std::uint16_t> users_now = p;
    std::vector<std::uint16_t> items_now = q;
    for (unsigned k = 0; k < kHogwildRun; ++k) {
      const Rating& rating = ratings[(start + k) % ratings.size()];
      std::uint16_t* user = users_now.data() + rating.user * kHogwildRank;
      std::uint16_t* item = items_now.data() + rating.item * kHogwildRank;
      float error = rating.value;
      for (unsigned i = 0; i < kHogwildRank; ++i) error -= half_value(user[i]) * half_value(item[i]);
      for (unsigned i = 0; i < kHogwildRank; ++i) {
        const float x = half_value(user[i]);
        const float y = half_value(item[i]);
        user[i] = half_bits(x + 0.01F * (error * y - 0.05F * x));
        item[i] = half_bits(y + 0.01F * (error * x - 0.05F * y));
      }
    }
    bool fits = true;
    for (std::size_t i = 0; i < users_now.size(); ++i) {
      fits = fits && std::fabs(half_value(users_now[i]) - half_value(found_users[i])) < 3e-3F &&
             std::fabs(half_value(items_now[i]) - half_value(found_items[i])) < 3e-3F;
    }
    fits_any = fits_any || fits;
  }
  EXPECT_TRUE(fits_any);
}

TEST_F(Baselines, HogwildLearns) {
  const RatingsShape shape{40, 20, 400};
  const auto ratings = make_shuffled(stream, pool, shape);
  cuda::DeviceArray<std::uint16_t> users(pool, shape.users * kHogwildRank, "users");
  cuda::DeviceArray<std::uint16_t> items(pool, shape.items * kHogwildRank, "items");
  cuda::DeviceArray<double> sum(pool, 1, "sum");
  fill_random_half(stream, users.data(), users.size(), 1, 0.2F);
  fill_random_half(stream, items.data(), items.size(), 2, 0.2F);
  HogwildStep step{ratings.data(), ratings.size(), users.data(), items.data(), 0.01F, 0.05F, 5, 3};
  squared_error(stream, step, sum.data());
  const double before = host_copy(stream, sum)[0];
  for (int epoch = 0; epoch < 5; ++epoch, ++step.seed) hogwild_epoch(stream, step);
  squared_error(stream, step, sum.data());
  EXPECT_LT(host_copy(stream, sum)[0], 0.7 * before);
}

}  // namespace
}  // namespace concerto::bench
