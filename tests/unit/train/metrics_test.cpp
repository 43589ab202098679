// Metrics against values computed by hand: ties, masks, unknown users and items, caps, fall-backs.
#include "concerto/train/metrics.hpp"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

#include "small_data.hpp"

namespace concerto {
namespace {

using test::Entry;

std::vector<Metric> metrics(std::initializer_list<const char*> names) {
  std::vector<Metric> parsed;
  for (const char* name : names) parsed.push_back(parse_metric(name));
  return parsed;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// Four users with factor 1 and five items of scores 0.5, 0.9, 0.9, 0.1, 0.7: everyone's order is 1, 2, 4, 0, 3.
class RankingTest : public testing::Test {
 protected:
  RankingTest() : host_users_({4, 1, false}), host_items_({5, 1, false}) {
    const std::vector<float> scores = {0.5F, 0.9F, 0.9F, 0.1F, 0.7F};
    for (RowIndex r = 0; r < 4; ++r) host_users_.row(r)[0] = 1.0F;
    for (RowIndex r = 0; r < 5; ++r) host_items_.row(r)[0] = scores[r];
    users_ = backend_->create_table(host_users_.shape());
    items_ = backend_->create_table(host_items_.shape());
    backend_->write_rows(*users_, {0, 4}, host_users_);
    backend_->write_rows(*items_, {0, 5}, host_items_);
    // User 0 has seen item 1. User 2 has nothing held out.
    train_ = test::matrix_of(4, 5, {{0, 1, 1}, {2, 0, 1}, {2, 1, 1}, {1, 3, 1}, {3, 3, 1}});
    held_out_ = test::held_out_of(4, 5, {{0, 3, 1}, {0, 4, 1}, {1, 1, 1}, {3, 2, 1}});
    held_out_.unknown.push_back({0, kNoRow, 1.0F});
    held_out_.unknown.push_back({kNoRow, 2, 1.0F});
    held_out_.unknown_users = 1;
  }

  MetricValues measure(std::initializer_list<const char*> names) {
    Scorer scorer;
    scorer.backend = backend_.get();
    scorer.users = users_.get();
    scorer.items = items_.get();
    return evaluate(scorer, held_out_, train_.view(), metrics(names));
  }

  std::unique_ptr<Backend> backend_ = make_reference_backend();
  FactorTable host_users_;
  FactorTable host_items_;
  std::unique_ptr<Buffer> users_;
  std::unique_ptr<Buffer> items_;
  CompressedMatrix train_;
  HeldOut held_out_;
};

// Lists of two: user 0 gets 2, 4 (1 is masked), holds out 3, 4 and an unknown item: a hit in place 2 of three.
// User 1 gets 1, 2 and holds out 1. User 3 gets 1, 2 (the tie goes to the lower row) and holds out 2: place 2.
TEST_F(RankingTest, ValuesByHand) {
  const double second = 1.0 / std::log2(3.0);
  const MetricValues values =
      measure({"recall@2", "recall_capped@2", "precision@2", "ndcg@2", "hr@2", "coverage@2", "ndcg@1", "hr@1"});
  EXPECT_NEAR(values.at("recall@2"), (1.0 / 3 + 1 + 1) / 3, 1e-12);
  EXPECT_NEAR(values.at("recall_capped@2"), (0.5 + 1 + 1) / 3, 1e-12);
  EXPECT_NEAR(values.at("precision@2"), 0.5, 1e-12);
  EXPECT_NEAR(values.at("ndcg@2"), (second / (1 + second) + 1 + second) / 3, 1e-12);
  EXPECT_NEAR(values.at("hr@2"), 1.0, 1e-12);
  EXPECT_NEAR(values.at("coverage@2"), 3.0 / 5, 1e-12);
  EXPECT_NEAR(values.at("ndcg@1"), 1.0 / 3, 1e-12);
  EXPECT_NEAR(values.at("hr@1"), 1.0 / 3, 1e-12);
  EXPECT_EQ(values.users_evaluated, 3U);
  EXPECT_EQ(values.users_skipped, 1U);
  EXPECT_EQ(values.unknown_users, 1U);
}

TEST_F(RankingTest, ListsLongerThanTheCatalogue) {
  const MetricValues values = measure({"recall@50", "precision@50", "coverage@50", "ndcg@50"});
  EXPECT_NEAR(values.at("recall@50"), (2.0 / 3 + 1 + 1) / 3, 1e-12);
  EXPECT_NEAR(values.at("precision@50"), (2.0 + 1 + 1) / 50 / 3, 1e-12);
  EXPECT_NEAR(values.at("coverage@50"), 1.0, 1e-12);
  // User 0 sees 2, 4, 0, 3: hits in places 2 and 4, of an ideal of three places although the catalogue knows two.
  const double gain = 1.0 / std::log2(3.0) + 1.0 / std::log2(5.0);
  const double ideal = 1.0 + 1.0 / std::log2(3.0) + 0.5;
  EXPECT_NEAR(values.at("ndcg@50"), (gain / ideal + 1 + 1.0 / std::log2(3.0)) / 3, 1e-12);
}

TEST_F(RankingTest, AUserWithUnknownItemsOnlyIsAMiss) {
  held_out_ = test::held_out_of(4, 5, {{1, 1, 1}});
  held_out_.unknown.push_back({3, kNoRow, 1.0F});
  const MetricValues values = measure({"recall@2"});
  EXPECT_EQ(values.users_evaluated, 2U);
  EXPECT_NEAR(values.at("recall@2"), 0.5, 1e-12);
}

TEST_F(RankingTest, NothingToMeasureIsAnError) {
  held_out_ = test::held_out_of(4, 5, {});
  EXPECT_THAT(message_of([&] { (void)measure({"rmse"}); }), testing::HasSubstr("no held-out entries"));
  held_out_.unknown.push_back({kNoRow, 1, 1.0F});
  EXPECT_THAT(message_of([&] { (void)measure({"recall@2"}); }), testing::HasSubstr("nobody can be ranked"));
}

TEST_F(RankingTest, RatingsFallBackToMeanAndKnownBiasAndAreClipped) {
  FactorTable users({4, 1, true});
  FactorTable items({5, 1, true});
  users.row(1)[0] = 1.0F;
  items.row(1)[0] = 0.5F;
  users.biases()[1] = 0.25F;
  items.biases()[1] = -1.0F;
  const auto user_table = backend_->create_table(users.shape());
  const auto item_table = backend_->create_table(items.shape());
  backend_->write_rows(*user_table, {0, 4}, users);
  backend_->write_rows(*item_table, {0, 5}, items);
  HeldOut part = test::held_out_of(4, 5, {{1, 1, 3.0F}});                         // predicted 3 + 0.5 + 0.25 - 1 = 2.75
  part.unknown = {{1, kNoRow, 4.0F}, {kNoRow, 1, 2.0F}, {kNoRow, kNoRow, 5.0F}};  // 3.25, 2, 3
  Scorer scorer{backend_.get(), user_table.get(), item_table.get(), &users, &items, 3.0};
  const MetricValues values = evaluate(scorer, part, train_.view(), metrics({"rmse", "mae"}));
  EXPECT_NEAR(values.at("mae"), (0.25 + 0.75 + 0.0 + 2.0) / 4, 1e-6);
  EXPECT_NEAR(values.at("rmse"), std::sqrt((0.0625 + 0.5625 + 0.0 + 4.0) / 4), 1e-6);
  EXPECT_EQ(values.unknown_entries, 3U);
  scorer.low = 2.9F;
  scorer.high = 3.1F;  // predictions 2.9, 3.1, 2.9, 3
  const MetricValues clipped = evaluate(scorer, part, train_.view(), metrics({"mae"}));
  EXPECT_NEAR(clipped.at("mae"), (0.1 + 0.9 + 0.9 + 2.0) / 4, 1e-6);
}

// Items 1 and 3 have two training entries, 0 has one: the order is 1, 3, 0, 2, 4.
TEST_F(RankingTest, PopularityByHand) {
  ThreadPool pool(1);
  const CompressedMatrix by_item = transpose(train_.view(), pool);
  const MetricValues values =
      evaluate_popularity(held_out_, train_.view(), by_item.view(), {}, metrics({"recall@1", "hr@2", "coverage@1"}));
  EXPECT_NEAR(values.at("recall@1"), (1.0 / 3 + 1 + 0) / 3, 1e-12);  // user 0 gets 3; users 1 and 3 get 1
  EXPECT_NEAR(values.at("hr@2"), 2.0 / 3, 1e-12);
  EXPECT_NEAR(values.at("coverage@1"), 2.0 / 5, 1e-12);
}

TEST_F(RankingTest, RatingBaselineIsDampedByFiveEntries) {
  const CompressedMatrix train = test::matrix_of(2, 2, {{0, 0, 5}, {1, 0, 5}, {0, 1, 2}});
  ThreadPool pool(1);
  const CompressedMatrix by_item = transpose(train.view(), pool);
  HeldOut part = test::held_out_of(2, 2, {{1, 1, 4}});
  part.unknown.push_back({0, kNoRow, 1.0F});
  const MetricValues values = evaluate_popularity(part, train.view(), by_item.view(), {}, metrics({"mae"}));
  // Mean 4; item 1: (2 - 4) / 6 = -1/3, so the errors are 1/3 and 3.
  EXPECT_NEAR(values.at("mae"), (1.0 / 3 + 3) / 2, 1e-12);
}

TEST(MetricNames, AreParsedWithTheirLength) {
  const Metric metric = parse_metric("recall_capped@100");
  EXPECT_EQ(metric.kind, MetricKind::kRecallCapped);
  EXPECT_EQ(metric.k, 100U);
  EXPECT_TRUE(metric.higher_is_better());
  EXPECT_FALSE(parse_metric("rmse").higher_is_better());
}

TEST(MetricNames, UnknownOnesAreNamedWithTheKnownOnes) {
  for (const char* name : {"recal@20", "recall", "recall@0", "recall@x", "recall@", "rmse@5", ""}) {
    const std::string message = message_of([&] { (void)parse_metric(name); });
    EXPECT_THAT(message, testing::HasSubstr(std::string("metric \"") + name + "\"")) << name;
    EXPECT_THAT(message, testing::HasSubstr("recall@K"));
  }
}

}  // namespace
}  // namespace concerto
