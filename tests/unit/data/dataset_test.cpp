// Building data sets: against a plain map of pairs, in awkward shapes, for every rule of duplicates and any number of
// threads; the kinds of ids; the errors.
#include "concerto/data/dataset.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/error.hpp"

#include "unit/data/raw_ratings.hpp"

namespace concerto {
namespace {

using test::Entry;
using test::raw_ratings;
using test::Shape;
using test::shaped_entries;

using Pair = std::pair<std::string, std::string>;

/// What a data set says, by the texts of ids.
std::multimap<Pair, float> contents(const Dataset& data) {
  std::multimap<Pair, float> result;
  const CompressedRows rows = data.by_user();
  for (RowIndex user = 0; user < rows.rows; ++user) {
    for (EntryIndex e = rows.offsets[user]; e < rows.offsets[user + 1]; ++e) {
      result.emplace(Pair(data.users().text(user), data.items().text(rows.columns[e])), rows.value(e));
    }
  }
  return result;
}

/// The same from the entries themselves, the slow and obvious way.
std::multimap<Pair, float> expected(const std::vector<Entry>& entries, Duplicates duplicates, bool with_values,
                                    bool use_values) {
  std::multimap<Pair, float> result;
  for (const Entry& entry : entries) {
    const Pair pair(std::to_string(entry.user), std::to_string(entry.item));
    const float value = with_values && use_values ? entry.value : 1.0F;
    const auto known = result.find(pair);
    if (known == result.end() || duplicates == Duplicates::kKeep) {
      result.emplace(pair, value);
    } else if (duplicates == Duplicates::kLast) {
      known->second = value;
    } else if (use_values) {
      known->second += value;
    }
  }
  return result;
}

void expect_same_bytes(const CompressedRows& a, const CompressedRows& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.column_count, b.column_count);
  EXPECT_TRUE(std::ranges::equal(a.offsets, b.offsets));
  EXPECT_TRUE(std::ranges::equal(a.columns, b.columns));
  EXPECT_TRUE(std::ranges::equal(a.values, b.values));
}

void expect_well_formed(const CompressedRows& rows, bool is_strict) {
  ASSERT_EQ(rows.offsets.size(), std::size_t{rows.rows} + 1);
  EXPECT_EQ(rows.offsets.front(), 0U);
  EXPECT_EQ(rows.offsets.back(), rows.columns.size());
  for (RowIndex row = 0; row < rows.rows; ++row) {
    ASSERT_LE(rows.offsets[row], rows.offsets[row + 1]);
    const auto columns = rows.row_columns(row);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      ASSERT_LT(columns[i], rows.column_count);
      ASSERT_TRUE(i == 0 || columns[i - 1] < columns[i] || (!is_strict && columns[i - 1] == columns[i]));
    }
  }
}

void expect_transposed(const CompressedRows& a, const CompressedRows& b) {
  using Triple = std::tuple<RowIndex, RowIndex, float>;
  std::vector<Triple> forward;
  std::vector<Triple> backward;
  for (RowIndex row = 0; row < a.rows; ++row) {
    for (EntryIndex e = a.offsets[row]; e < a.offsets[row + 1]; ++e)
      forward.emplace_back(a.columns[e], row, a.value(e));
  }
  for (RowIndex row = 0; row < b.rows; ++row) {
    for (EntryIndex e = b.offsets[row]; e < b.offsets[row + 1]; ++e)
      backward.emplace_back(row, b.columns[e], b.value(e));
  }
  std::ranges::stable_sort(forward, [](const Triple& x, const Triple& y) {
    return std::tie(std::get<0>(x), std::get<1>(x)) < std::tie(std::get<0>(y), std::get<1>(y));
  });
  EXPECT_EQ(forward, backward);
}

using BuildCase = std::tuple<Shape, Duplicates, bool, bool>;
class BuildProperty : public testing::TestWithParam<BuildCase> {};

TEST_P(BuildProperty, AgreesWithAPlainMapForAnyNumberOfThreads) {
  const auto [shape, duplicates, with_values, use_values] = GetParam();
  const std::vector<Entry> entries = shaped_entries(shape);
  DatasetOptions options;
  options.duplicates = duplicates;
  options.use_values = use_values;
  ThreadPool one(1);
  const BuiltDataset first = build_dataset(raw_ratings(entries, with_values), options, {}, {}, one);
  EXPECT_EQ(contents(first.train), expected(entries, duplicates, with_values, use_values));
  EXPECT_EQ(first.counts.read, entries.size());
  EXPECT_EQ(first.counts.merged_duplicates, entries.size() - first.train.entries());
  expect_well_formed(first.train.by_user(), duplicates != Duplicates::kKeep);
  expect_well_formed(first.train.by_item(), duplicates != Duplicates::kKeep);
  expect_transposed(first.train.by_user(), first.train.by_item());
  for (const unsigned threads : {2U, 3U}) {
    ThreadPool pool(threads);
    const BuiltDataset other = build_dataset(raw_ratings(entries, with_values), options, {}, {}, pool);
    expect_same_bytes(first.train.by_user(), other.train.by_user());
    expect_same_bytes(first.train.by_item(), other.train.by_item());
    EXPECT_EQ(first.train.users().serialize(), other.train.users().serialize());
    EXPECT_EQ(first.train.items().serialize(), other.train.items().serialize());
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, BuildProperty,
                         testing::Combine(testing::Values(Shape::kSingle, Shape::kPrime, Shape::kGiantRow,
                                                          Shape::kHotItem, Shape::kSparseIds, Shape::kManyDuplicates,
                                                          Shape::kSorted),
                                          testing::Values(Duplicates::kSum, Duplicates::kLast, Duplicates::kKeep),
                                          testing::Bool(), testing::Bool()));

Error build_error(RawRatings raw, const DatasetOptions& options = {}, const std::optional<SplitOptions>& test = {},
                  const std::optional<SplitOptions>& validation = {}) {
  ThreadPool pool(2);
  try {
    (void)build_dataset(std::move(raw), options, test, validation, pool);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was refused";
  return {ErrorCode::kIo, ""};
}

BuiltDataset build(RawRatings raw, const DatasetOptions& options = {}) {
  ThreadPool pool(2);
  return build_dataset(std::move(raw), options, {}, {}, pool);
}

TEST(BuildDataset, IdsFromZeroAreIndicesUpToTheHighest) {
  const BuiltDataset built = build(raw_ratings({{0, 5}, {3, 9}}));
  EXPECT_EQ(built.train.users().kind(), IdKind::kIndex);
  EXPECT_EQ(built.train.users().size(), 4U);
  EXPECT_EQ(built.train.items().kind(), IdKind::kInteger);
  EXPECT_EQ(built.train.items().size(), 2U);
  EXPECT_EQ(built.train.by_user().count(*built.train.users().find("1")), 0U);
  EXPECT_EQ(built.train.by_user().count(*built.train.users().find("3")), 1U);
}

TEST(BuildDataset, DeclaredCountsMakeRowsOfTheirNumber) {
  DatasetOptions options;
  options.declared_users = 10;
  RawRatings raw = raw_ratings({{2, 5}, {3, 9}});
  raw.shape_items = 12;
  const BuiltDataset built = build(std::move(raw), options);
  EXPECT_EQ(built.train.users().kind(), IdKind::kIndex);
  EXPECT_EQ(built.train.users().size(), 10U);
  EXPECT_EQ(built.train.items().kind(), IdKind::kIndex);
  EXPECT_EQ(built.train.items().size(), 12U);
}

TEST(BuildDataset, LabelsOfTheTrainingPartOnlyGetRows) {
  RawRatings raw = raw_ratings({{2, 0}, {0, 0}, {2, 1}, {1, 1, 0.5F}});
  raw.users.is_label = true;
  raw.users.labels = {"ann", "bob", "eve"};
  DatasetOptions options;
  options.min_value = 1.0;
  const BuiltDataset built = build(std::move(raw), options);
  EXPECT_EQ(built.train.users().kind(), IdKind::kLabel);
  EXPECT_EQ(built.train.users().size(), 2U);
  EXPECT_FALSE(built.train.users().find("bob"));
  EXPECT_EQ(built.train.by_user().count(*built.train.users().find("eve")), 2U);
  EXPECT_EQ(built.counts.below_min_value, 1U);
}

TEST(BuildDataset, RepeatsWithoutValuesBecomeCountsOnlyWhenSummed) {
  const std::vector<Entry> entries{{0, 1}, {0, 0}, {0, 1}};
  DatasetOptions options;
  options.duplicates = Duplicates::kSum;
  const BuiltDataset summed = build(raw_ratings(entries, false), options);
  const auto rows = summed.train.by_user();
  ASSERT_EQ(rows.values.size(), 2U);
  const RowIndex item = *summed.train.items().find("1");
  EXPECT_EQ(rows.columns[0] == item ? rows.values[0] : rows.values[1], 2.0F);
  EXPECT_TRUE(build(raw_ratings({{0, 1}, {0, 0}}, false), options).train.by_user().values.empty());
  options.use_values = false;
  EXPECT_TRUE(build(raw_ratings(entries, true), options).train.by_user().values.empty());
}

TEST(BuildDataset, MinimumIsAppliedToValuesThatAreThenIgnored) {
  DatasetOptions options;
  options.use_values = false;
  options.min_value = 4.0;
  const BuiltDataset built = build(raw_ratings({{0, 0, 5.0F}, {0, 1, 3.5F}, {1, 1, 4.0F}}), options);
  EXPECT_EQ(built.train.entries(), 2U);
  EXPECT_TRUE(built.train.by_user().values.empty());
  EXPECT_EQ(built.counts.below_min_value, 1U);
}

TEST(BuildDataset, WhatIsHeldOutIsNotAlsoTrainedOn) {
  std::vector<Entry> entries;
  for (std::uint32_t k = 0; k < 4000; ++k) entries.push_back({k % 50, k * 7 % 90});  // 450 pairs, each 8 or 9 times
  for (std::uint32_t k = 0; k < 500; ++k) entries.push_back({k % 50, 100 + k});      // and 500 pairs once
  ThreadPool pool(2);
  for (const Duplicates duplicates : {Duplicates::kSum, Duplicates::kLast, Duplicates::kKeep}) {
    DatasetOptions options;
    options.duplicates = duplicates;
    const BuiltDataset built =
        build_dataset(raw_ratings(entries), options, SplitOptions{0.3, SplitBy::kRandom, 1}, std::nullopt, pool);
    const CompressedRows held_out = built.test->known.view();
    EntryIndex trained = 0;
    for (RowIndex user = 0; user < held_out.rows; ++user) {
      for (const RowIndex item : held_out.row_columns(user)) {
        trained += std::ranges::binary_search(built.train.by_user().row_columns(user), item) ? 1 : 0;
      }
    }
    if (duplicates == Duplicates::kKeep) {
      EXPECT_GT(trained, 1000U);
      EXPECT_EQ(built.counts.held_out_known, 0U);
    } else {
      EXPECT_EQ(trained, 0U);
      EXPECT_GT(built.counts.held_out_known, 400U);
      EXPECT_GT(built.test->entries(), 100U);
    }
  }
  entries.resize(4000);
  try {
    (void)build_dataset(raw_ratings(entries), {}, SplitOptions{0.01, SplitBy::kRandom, 1}, std::nullopt, pool);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "data.split");
  }
}

TEST(BuildDataset, ASumBeyondAFloatNamesItsPair) {
  DatasetOptions options;
  options.duplicates = Duplicates::kSum;
  const Error error = build_error(raw_ratings({{0, 4, 3e38F}, {0, 5, 1.0F}, {0, 4, 3e38F}}), options);
  EXPECT_EQ(error.where(), "data.duplicates");
  EXPECT_NE(error.message().find("user 0, item 4"), std::string::npos) << error.message();
}

TEST(BuildDataset, RefusedDuplicatesNameBothIds) {
  DatasetOptions options;
  options.duplicates = Duplicates::kError;
  RawRatings raw = raw_ratings({{0, 40}, {1, 41}, {0, 40}});
  raw.users.is_label = true;
  raw.users.labels = {"ann", "bob"};
  const Error error = build_error(std::move(raw), options);
  EXPECT_EQ(error.code(), ErrorCode::kBadInput);
  EXPECT_EQ(error.message(), "user ann, item 40 occurs more than once");
  EXPECT_EQ(build(raw_ratings({{0, 40}, {1, 40}}), options).train.entries(), 2U);
}

TEST(BuildDataset, WhatCannotBeBuiltIsRefused) {
  EXPECT_EQ(build_error(RawRatings{}).code(), ErrorCode::kBadInput);
  DatasetOptions minimum;
  minimum.min_value = 9.0;
  EXPECT_EQ(build_error(raw_ratings({{0, 0}}), minimum).where(), "data.min_value");
  DatasetOptions declared;
  declared.declared_items = 5;
  const Error beyond = build_error(raw_ratings({{0, 5}}), declared);
  EXPECT_EQ(beyond.where(), "data.items");
  EXPECT_EQ(beyond.message(), "item id 5 is not below the declared count 5");
  RawRatings labelled = raw_ratings({{0, 0}});
  labelled.items.is_label = true;
  labelled.items.labels = {"x"};
  EXPECT_EQ(build_error(std::move(labelled), declared).where(), "data.items");
}

TEST(BuildDataset, AnIndexFarBeyondTheEntriesIsRefusedUnlessDeclared) {
  const Error error = build_error(raw_ratings({{0, 0}, {4000000000U, 1}}));
  EXPECT_EQ(error.code(), ErrorCode::kBadInput);
  EXPECT_NE(error.message().find("4000000000"), std::string::npos);
  EXPECT_NE(error.message().find("data.users"), std::string::npos);
}

TEST(BuildDataset, ADatasetKeepsItsViewsWhenMoved) {
  BuiltDataset built = build(raw_ratings(shaped_entries(Shape::kPrime)));
  const auto before = contents(built.train);
  const Dataset moved = std::move(built.train);
  EXPECT_EQ(contents(moved), before);
}

TEST(Transpose, TwiceIsTheSameMatrix) {
  ThreadPool pool(3);
  for (const Shape shape : {Shape::kPrime, Shape::kGiantRow, Shape::kHotItem, Shape::kSorted}) {
    const BuiltDataset built = build(raw_ratings(shaped_entries(shape)));
    const CompressedMatrix back = transpose(built.train.by_item(), pool);
    expect_same_bytes(built.train.by_user(), back.view());
  }
}

TEST(Transpose, OfNothingIsNothing) {
  ThreadPool pool(2);
  const CompressedMatrix empty{3, 0, {0, 0, 0, 0}, {}, {}};
  const CompressedMatrix result = transpose(empty.view(), pool);
  EXPECT_EQ(result.rows, 0U);
  EXPECT_EQ(result.column_count, 3U);
  EXPECT_EQ(result.offsets, std::vector<EntryIndex>{0});
}

}  // namespace
}  // namespace concerto
