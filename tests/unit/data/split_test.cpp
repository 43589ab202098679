// Splits and held-out parts: how much goes where, that nothing is lost, what training does not know.
#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/data/dataset.hpp"

#include "unit/data/raw_ratings.hpp"

namespace concerto {
namespace {

using test::Entry;
using test::raw_ratings;

/// `users` users with distinct items each; the item encodes the position, so that parts can be told apart.
std::vector<Entry> entries_of(const std::vector<std::uint32_t>& counts) {
  std::vector<Entry> entries;
  for (std::uint32_t user = 0; user < counts.size(); ++user) {
    for (std::uint32_t k = 0; k < counts[user]; ++k) entries.push_back({user, k, 1.0F, 1000 - k});
  }
  return entries;
}

using Pairs = std::set<std::pair<std::string, std::string>>;

Pairs pairs_of(const CompressedRows& rows, const Dataset& train) {
  Pairs pairs;
  for (RowIndex user = 0; user < rows.rows; ++user) {
    for (const RowIndex item : rows.row_columns(user)) {
      pairs.emplace(train.users().text(user), train.items().text(item));
    }
  }
  return pairs;
}

TEST(Split, AtRandomTakesTheShareOutOfAllThenOutOfTheRest) {
  ThreadPool pool(2);
  const std::vector<Entry> entries = entries_of(std::vector<std::uint32_t>(200, 100));
  const SplitOptions test{0.2, SplitBy::kRandom, 7};
  const SplitOptions validation{0.1, SplitBy::kRandom, 7};
  const BuiltDataset built = build_dataset(raw_ratings(entries), {}, test, validation, pool);
  const double total = 20000;
  EXPECT_NEAR(static_cast<double>(built.test->entries()), 0.2 * total, 5 * 57);
  EXPECT_NEAR(static_cast<double>(built.validation->entries()), 0.1 * 0.8 * total, 5 * 38);
  EXPECT_EQ(built.train.entries() + built.test->entries() + built.validation->entries(), entries.size());
  EXPECT_EQ(built.counts.held_out, built.test->entries() + built.validation->entries());
  const Pairs train = pairs_of(built.train.by_user(), built.train);
  Pairs all = train;
  for (const HeldOut* part : {&*built.test, &*built.validation}) {
    for (const auto& pair : pairs_of(part->known.view(), built.train)) EXPECT_TRUE(all.insert(pair).second);
  }
  EXPECT_EQ(all.size(), entries.size());
}

TEST(Split, DependsOnSeedButNotOnThreads) {
  const std::vector<Entry> entries = entries_of(std::vector<std::uint32_t>(101, 37));
  for (const SplitBy by : {SplitBy::kRandom, SplitBy::kUser, SplitBy::kLast}) {
    ThreadPool one(1);
    ThreadPool three(3);
    const BuiltDataset a = build_dataset(raw_ratings(entries, true, true), {}, SplitOptions{0.3, by, 1}, {}, one);
    const BuiltDataset b = build_dataset(raw_ratings(entries, true, true), {}, SplitOptions{0.3, by, 1}, {}, three);
    const BuiltDataset c = build_dataset(raw_ratings(entries, true, true), {}, SplitOptions{0.3, by, 2}, {}, three);
    EXPECT_EQ(a.test->known.columns, b.test->known.columns);
    EXPECT_EQ(a.test->known.offsets, b.test->known.offsets);
    EXPECT_TRUE(std::ranges::equal(a.train.by_user().columns, b.train.by_user().columns));
    EXPECT_EQ(pairs_of(a.test->known.view(), a.train) == pairs_of(c.test->known.view(), c.train), by == SplitBy::kLast);
  }
}

TEST(Split, ByUserTakesTheFloorOfEachUsersShare) {
  ThreadPool pool(2);
  const std::vector<std::uint32_t> counts{1, 2, 3, 10, 29, 100, 7};
  const BuiltDataset built =
      build_dataset(raw_ratings(entries_of(counts)), {}, SplitOptions{0.29, SplitBy::kUser, 3}, {}, pool);
  const std::vector<EntryIndex> expected{0, 0, 0, 2, 8, 29, 2};
  std::vector<EntryIndex> taken(counts.size());
  for (RowIndex row = 0; row < built.train.users().size(); ++row) {
    taken[std::stoul(built.train.users().text(row))] = built.test->known.view().count(row);
  }
  // Items that only the test part has are not rows of training.
  for (const UnknownEntry& entry : built.test->unknown) ++taken[std::stoul(built.train.users().text(entry.user))];
  EXPECT_EQ(taken, expected);
}

TEST(Split, ByUserDrawsEverySubsetAboutEquallyOften) {
  ThreadPool pool(1);
  const BuiltDataset built = build_dataset(raw_ratings(entries_of(std::vector<std::uint32_t>(6000, 4))), {},
                                           SplitOptions{0.5, SplitBy::kUser, 11}, {}, pool);
  std::map<std::vector<RowIndex>, int> subsets;
  for (RowIndex row = 0; row < built.test->known.rows; ++row) {
    const auto columns = built.test->known.view().row_columns(row);
    ++subsets[{columns.begin(), columns.end()}];
  }
  EXPECT_EQ(subsets.size(), 6U);
  for (const auto& [subset, count] : subsets) EXPECT_NEAR(count, 1000, 5 * 29);
}

TEST(Split, LastTakesTheNewestAndLeavesOne) {
  ThreadPool pool(2);
  // Times fall with the position, so that the first entries of each user are the newest.
  const BuiltDataset built = build_dataset(raw_ratings(entries_of({1, 2, 5, 10}), true, true), {},
                                           SplitOptions{0.3, SplitBy::kLast, 1}, {}, pool);
  const Pairs expected_all{{"1", "0"}, {"2", "0"}, {"2", "1"}, {"3", "0"}, {"3", "1"}, {"3", "2"}};
  EXPECT_EQ(pairs_of(built.test->known.view(), built.train), expected_all);
  EXPECT_TRUE(built.test->unknown.empty());
}

TEST(Split, LastGoesByFileOrderWithoutTimesAndOnTies) {
  ThreadPool pool(2);
  std::vector<Entry> tied{{0, 0, 1, 5}, {0, 1, 1, 5}, {0, 2, 1, 5}, {1, 0, 1, 5}, {1, 1, 1, 5}, {1, 2, 1, 5}};
  const SplitOptions options{0.1, SplitBy::kLast, 1};
  const BuiltDataset with_times = build_dataset(raw_ratings(tied, true, true), {}, options, {}, pool);
  const BuiltDataset without = build_dataset(raw_ratings(tied, true, false), {}, options, {}, pool);
  for (const BuiltDataset* built : {&with_times, &without}) {
    EXPECT_EQ(built->train.items().size(), 2U);
    ASSERT_EQ(built->test->unknown.size(), 2U);  // item 2 is the last of both users: training never sees it
    EXPECT_EQ(built->test->unknown[0].item, kNoRow);
    EXPECT_EQ(built->test->unknown_users, 0U);
  }
}

TEST(Split, BadSharesAndEmptyPartsAreRefused) {
  ThreadPool pool(1);
  const auto code_and_place = [&](const std::optional<SplitOptions>& test, const std::optional<SplitOptions>& val) {
    try {
      (void)build_dataset(raw_ratings(entries_of({3, 3})), {}, test, val, pool);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBadInput);
      return error.where();
    }
    return std::string("accepted");
  };
  for (const double share : {0.0, -1.0, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(code_and_place(SplitOptions{share, SplitBy::kRandom, 1}, {}), "data.split") << share;
    EXPECT_EQ(code_and_place({}, SplitOptions{share, SplitBy::kUser, 1}), "data.validation") << share;
  }
  EXPECT_EQ(code_and_place(SplitOptions{0.999999, SplitBy::kRandom, 1}, {}), "data.split");
  EXPECT_EQ(code_and_place(SplitOptions{0.01, SplitBy::kUser, 1}, {}), "data.split");
  EXPECT_EQ(code_and_place({}, SplitOptions{0.01, SplitBy::kUser, 1}), "data.validation");
}

TEST(HeldOut, KnowsWhatTrainingDoesNot) {
  ThreadPool pool(2);
  const BuiltDataset built = build_dataset(raw_ratings({{10, 1}, {11, 2}, {12, 3}}), {}, {}, {}, pool);
  const RawRatings other = raw_ratings(
      {{12, 1, 2.0F}, {10, 99, 3.0F}, {77, 1, 4.0F}, {77, 98, 5.0F}, {78, 2, 1.0F}, {12, 1, 4.5F}, {77, 1, 0.5F}});
  const HeldOut part = build_held_out(other, built.train.users(), built.train.items(), {}, pool);
  EXPECT_EQ(part.known.rows, 3U);
  EXPECT_EQ(part.known.columns.size(), 1U);
  EXPECT_EQ(part.known.values, std::vector<float>{4.5F});
  EXPECT_EQ(part.unknown_users, 2U);
  ASSERT_EQ(part.unknown.size(), 4U);
  EXPECT_EQ(part.entries(), 5U);
  EXPECT_EQ(part.unknown[0].user, *built.train.users().find("10"));
  EXPECT_EQ(part.unknown[0].item, kNoRow);
  EXPECT_EQ(part.unknown[1].user, kNoRow);
  EXPECT_EQ(part.unknown[1].item, *built.train.items().find("1"));
  EXPECT_EQ(part.unknown[1].value, 0.5F);
}

TEST(HeldOut, FollowsTheSameRulesAsTraining) {
  ThreadPool pool(2);
  const BuiltDataset built = build_dataset(raw_ratings({{0, 0}, {1, 1}}), {}, {}, {}, pool);
  const RawRatings other = raw_ratings({{0, 1, 4.0F}, {0, 1, 3.0F}, {1, 0, 0.5F}, {5, 5, 2.0F}, {5, 5, 2.5F}});
  DatasetOptions options;
  options.duplicates = Duplicates::kSum;
  options.min_value = 1.0;
  HeldOut part = build_held_out(other, built.train.users(), built.train.items(), options, pool);
  EXPECT_EQ(part.known.values, std::vector<float>{7.0F});
  ASSERT_EQ(part.unknown.size(), 1U);
  EXPECT_EQ(part.unknown[0].value, 4.5F);

  options.use_values = false;
  part = build_held_out(other, built.train.users(), built.train.items(), options, pool);
  EXPECT_TRUE(part.known.values.empty());
  EXPECT_EQ(part.unknown[0].value, 1.0F);

  options.duplicates = Duplicates::kError;
  try {
    (void)build_held_out(raw_ratings({{5, 5}, {5, 5}}), built.train.users(), built.train.items(), options, pool);
    FAIL() << "a duplicate was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "user 5, item 5 occurs more than once");
  }
  options.min_value = 100.0;
  EXPECT_THROW((void)build_held_out(other, built.train.users(), built.train.items(), options, pool), Error);
}

TEST(HeldOut, MatchesLabelsAgainstNumbersByTheirText) {
  ThreadPool pool(1);
  RawRatings labelled = raw_ratings({{0, 0}, {1, 0}});
  labelled.users.is_label = true;
  labelled.users.labels = {"17", "x"};
  const BuiltDataset built = build_dataset(std::move(labelled), {}, {}, {}, pool);
  const HeldOut numbers =
      build_held_out(raw_ratings({{17, 0}, {18, 0}}), built.train.users(), built.train.items(), {}, pool);
  EXPECT_EQ(numbers.known.columns.size(), 1U);
  EXPECT_EQ(numbers.known.view().count(*built.train.users().find("17")), 1U);
  EXPECT_EQ(numbers.unknown_users, 1U);
}

}  // namespace
}  // namespace concerto
