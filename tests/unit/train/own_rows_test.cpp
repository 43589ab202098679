// What each rank takes of a run's data: from opened data the same as from whole data, all ranks' shares together are
// everything, and the popularity baseline of the shares is that of one process.
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/compute/backends.hpp"
#include "concerto/train/sharded.hpp"
#include "concerto/train/sharded_popularity.hpp"

#include "small_data.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;
using test::planted_data;

class OwnRows : public testing::Test {
 protected:
  OwnRows()
      : path_(fs::temp_directory_path() / ("concerto-own-rows-" + std::to_string(::getpid()))),
        data_(planted_data(700, 300)),
        test_(test::held_out_of(700, 300, test::planted_entries(700, 300, 0.03, 9))) {
    test_.unknown = {{kNoRow, 3, 4.0F}, {5, kNoRow, 2.0F}, {kNoRow, kNoRow, 3.0F}, {699, kNoRow, 1.0F}};
    test_.unknown_users = 2;
    data_.write(path_, &test_, {});
    options_.inner = InnerSolver::kCholesky;
    options_.rank = 4;
    options_.metrics = {parse_metric("rmse"), parse_metric("mae"), parse_metric("recall@5"),
                        parse_metric("coverage@5")};
  }
  ~OwnRows() override { fs::remove_all(path_); }

  std::vector<std::unique_ptr<ShardedTrainer>> trainers(const Dataset& data, const SharedHeldOut& test, Rank ranks) {
    std::vector<std::unique_ptr<ShardedTrainer>> made;
    for (Rank r = 0; r < ranks; ++r) {
      made.push_back(std::make_unique<ShardedTrainer>(*backend_, data, test, SharedHeldOut(), options_, std::nullopt,
                                                      ShardedOptions{r, ranks, 4, 1}));
    }
    return made;
  }

  ThreadPool pool_{1};
  std::unique_ptr<Backend> backend_ = make_cpu_backend(pool_);
  fs::path path_;
  Dataset data_;
  HeldOut test_;
  TrainOptions options_;
};

void expect_equal(const CompressedRows& a, const CompressedRows& b) {
  EXPECT_TRUE(std::ranges::equal(a.offsets, b.offsets));
  EXPECT_TRUE(std::ranges::equal(a.columns, b.columns));
  EXPECT_TRUE(std::ranges::equal(a.values, b.values));
}

TEST_F(OwnRows, OfOpenedDataAreThoseOfWholeData) {
  for (const Rank ranks : {1U, 3U, 4U}) {
    const Dataset::Opened opened = Dataset::open(path_, pool_);
    const auto from_opened = trainers(opened.dataset, opened.held_out, ranks);
    const auto from_whole = trainers(data_, &test_, ranks);
    EntryIndex users = 0;
    EntryIndex items = 0;
    EntryIndex held_out = 0;
    for (Rank r = 0; r < ranks; ++r) {
      const RankShare share = from_opened[r]->share();
      const RankShare expected = from_whole[r]->share();
      expect_equal(share.by_user, expected.by_user);
      expect_equal(share.by_item, expected.by_item);
      expect_equal(share.test->known.view(), expected.test->known.view());
      EXPECT_EQ(share.test->unknown.size(), expected.test->unknown.size());
      EXPECT_EQ(share.whole_test, test_.facts());
      users += share.by_user.entries();
      items += share.by_item.entries();
      held_out += share.test->entries();
    }
    EXPECT_EQ(users, data_.entries());
    EXPECT_EQ(items, data_.entries());
    EXPECT_EQ(held_out, test_.entries());
  }
}

TEST_F(OwnRows, PopularityOfSharesIsThatOfOneProcess) {
  const MetricValues alone =
      evaluate_popularity(test_, data_.by_user(), data_.by_item(), data_.items().rank_order(), options_.metrics);
  const Dataset::Opened opened = Dataset::open(path_, pool_);
  for (const Rank ranks : {1U, 2U, 4U}) {
    const auto trainers_of_ranks = trainers(opened.dataset, opened.held_out, ranks);
    std::vector<ShardedPopularity> parts;
    for (Rank r = 0; r < ranks; ++r) {
      parts.emplace_back(opened.dataset, trainers_of_ranks[r]->plan(), r, trainers_of_ranks[r]->share(),
                         options_.metrics);
    }
    const auto exchange = [&](Exchange (ShardedPopularity::*step)()) {
      std::vector<Exchange> exchanges;
      for (ShardedPopularity& part : parts) exchanges.push_back((part.*step)());
      for (Rank to = 0; to < ranks; ++to) {
        ASSERT_EQ(exchanges[to].blocks, exchanges[0].blocks);
        for (const GatherBlock& block : exchanges[0].blocks) {
          if (block.owner == to) continue;
          std::memcpy(exchanges[to].buffer.data() + block.offset, exchanges[block.owner].buffer.data() + block.offset,
                      block.bytes);
        }
      }
    };
    exchange(&ShardedPopularity::item_sums);
    exchange(&ShardedPopularity::user_sums);
    for (const ShardedPopularity& part : parts) {
      const MetricValues values = part.values();
      ASSERT_EQ(values.values.size(), alone.values.size());
      for (std::size_t m = 0; m < alone.values.size(); ++m) {
        EXPECT_EQ(values.values[m].first, alone.values[m].first);
        EXPECT_NEAR(values.values[m].second, alone.values[m].second, 1e-12) << alone.values[m].first;
      }
      EXPECT_EQ(values.users_evaluated, alone.users_evaluated);
      EXPECT_EQ(values.users_skipped, alone.users_skipped);
      EXPECT_EQ(values.unknown_entries, 4U);
      EXPECT_EQ(values.unknown_users, 2U);
    }
  }
}

}  // namespace
}  // namespace concerto
