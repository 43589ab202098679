// Orientations built on the device: the bytes of a plain sort, whatever the number of pieces, the slices and the order
// of threads; the memory they take; the plan for what is left.
#include "orientations.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"

#include "conformance/problems.hpp"
#include "support/same_bytes.hpp"
#include "support/simt/machine.hpp"

namespace concerto::test {
namespace {

using cuda::MemoryPool;
using cuda::OrientationPlan;
using cuda::Orientations;
using cuda::OrientationShape;
using cuda::RatingsBuffer;
using cuda::Stream;
using cuda::TripleArrays;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Arrays {
  RowIndex users = 0;
  RowIndex items = 0;
  std::vector<Entry> entries;
  std::vector<RowIndex> user_of;
  std::vector<RowIndex> item_of;
  std::vector<float> values;

  Arrays(RowIndex user_count, RowIndex item_count, std::vector<Entry> list, bool with_values)
      : users(user_count), items(item_count), entries(std::move(list)) {
    for (const Entry& entry : entries) {
      user_of.push_back(entry.user);
      item_of.push_back(entry.item);
      if (with_values) values.push_back(entry.value);
    }
  }
  [[nodiscard]] TripleArrays view() const { return {users, items, user_of, item_of, values}; }
};

/// Random pairs, many of them more than once, with values that tell entries apart; users 3 and 4 and the last item have
/// none, user 7 has every third entry.
std::vector<Entry> random_entries(RowIndex users, RowIndex items, std::size_t count) {
  Random random(5, 1);
  std::vector<Entry> entries;
  for (std::size_t k = 0; k < count; ++k) {
    auto user = static_cast<RowIndex>(k % 3 == 0 ? 7 : random.below(users));
    if (user == 3 || user == 4) user = 5;
    const float value = static_cast<float>(k) * (k % 5 == 0 ? -1.0F : 1.0F);
    entries.push_back({user, static_cast<RowIndex>(random.below(items - 1)), value});
  }
  return entries;
}

void expect_same(const RatingsBuffer& actual, const CompressedMatrix& expected) {
  EXPECT_EQ(actual.rows, expected.rows);
  EXPECT_EQ(actual.column_count, expected.column_count);
  EXPECT_EQ(actual.host_offsets, expected.offsets);
  // On the host machine, device memory is readable.
  EXPECT_TRUE(same_bytes<EntryIndex>({actual.offsets.data(), actual.offsets.size()}, expected.offsets));
  EXPECT_TRUE(same_bytes<RowIndex>({actual.columns.data(), actual.columns.size()}, expected.columns));
  EXPECT_TRUE(same_bytes<float>({actual.values.data(), actual.values.size()}, expected.values));
  std::vector<EntryIndex> positive;
  for (RowIndex r = 0; r < expected.rows && !expected.values.empty(); ++r) {
    positive.push_back(static_cast<EntryIndex>(
        std::ranges::count_if(expected.view().row_values(r), [](float value) { return value > 0.0F; })));
  }
  EXPECT_EQ(actual.positive_counts, positive);
}

void expect_right(const Arrays& arrays, const Orientations& built) {
  const bool with_values = !arrays.values.empty();
  expect_same(*built.by_user, compress(arrays.users, arrays.items, arrays.entries, Side::kUsers, with_values));
  expect_same(*built.by_item, compress(arrays.items, arrays.users, arrays.entries, Side::kItems, with_values));
}

TEST(Orientations, AreThoseOfAPlainSortForEveryPlanAndSchedule) {
  for (const bool with_values : {true, false}) {
    const Arrays arrays(61, 37, random_entries(61, 37, 3001), with_values);
    for (const OrientationPlan& plan :
         {OrientationPlan{3001, 3001, 3001}, OrientationPlan{9999, 9999, 1000}, OrientationPlan{1500, 700, 513},
          OrientationPlan{100, 50, 100}, OrientationPlan{1, 1, 1024}, OrientationPlan{2000, 4000, 7}}) {
      for (const std::uint64_t schedule : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{77}}) {
        if (schedule != 0 && plan.slice < 100) continue;
        SCOPED_TRACE(::testing::Message()
                     << with_values << " pieces of " << plan.by_user_piece << ", " << plan.by_item_piece
                     << ", slices of " << plan.slice << ", schedule " << schedule);
        simt::set_schedule(schedule);
        MemoryPool pool;
        expect_right(arrays, build_orientations(pool, Stream(), arrays.view(), plan));
        EXPECT_EQ(pool.used_bytes(), 0U);
      }
    }
  }
  simt::set_schedule(0);
}

TEST(Orientations, OfFewEntries) {
  const std::vector<Entry> same(600, Entry{2, 1, 0.5F});
  for (const Arrays& arrays :
       {Arrays(5, 4, {}, false), Arrays(0, 0, {}, false), Arrays(0, 3, {}, true), Arrays(1, 1, {{0, 0, 2.0F}}, true),
        Arrays(5, 4, {{4, 3, 2.0F}}, true), Arrays(1, 9, {{0, 8, 1.0F}, {0, 2, 0.0F}}, true),
        Arrays(9, 1, {{8, 0, 1.0F}, {2, 0, -0.0F}, {8, 0, 3.0F}}, true), Arrays(5, 4, same, true),
        Arrays(2, 2, {{1, 1, 1.0F}}, false)}) {
    MemoryPool pool;
    expect_right(arrays, build_orientations(pool, Stream(), arrays.view()));
    const OrientationPlan pieces{1, 1, 256};
    expect_right(arrays, build_orientations(pool, Stream(), arrays.view(), pieces));
  }
}

TEST(Orientations, RefuseIndicesBeyondTheirCounts) {
  for (const Entry& bad : {Entry{5, 0, 1.0F}, Entry{0, 4, 1.0F}, Entry{kNoRow, 0, 1.0F}, Entry{0, kNoRow, 1.0F}}) {
    const Arrays arrays(5, 4, {{1, 1, 1.0F}, bad, {2, 3, 1.0F}, {4, 3, 1.0F}}, true);
    for (const OrientationPlan& plan : {OrientationPlan{4, 4, 4}, OrientationPlan{1, 1, 2}}) {
      MemoryPool pool;
      try {
        (void)build_orientations(pool, Stream(), arrays.view(), plan);
        FAIL() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kBadInput);
        EXPECT_THAT(error.what(), HasSubstr("beyond the 5 users and 4 items"));
      }
      EXPECT_EQ(pool.used_bytes(), 0U);
    }
  }
}

TEST(Orientations, TakeNoMoreMemoryThanPlanned) {
  for (const bool with_values : {true, false}) {
    const Arrays arrays(3000, 2000, random_entries(3000, 2000, 200000), with_values);
    const OrientationShape shape = arrays.view().shape();
    for (const OrientationPlan& plan :
         {OrientationPlan{200000, 200000, 25000}, OrientationPlan{100000, 150000, 25000}}) {
      MemoryPool pool;
      const Orientations built = build_orientations(pool, Stream(), arrays.view(), plan);
      EXPECT_LE(pool.peak_bytes(), peak_bytes(shape, plan));
      EXPECT_EQ(pool.used_bytes(), orientation_bytes(shape));
      EXPECT_EQ(built.by_user->bytes() + built.by_item->bytes(), orientation_bytes(shape));
    }
  }
}

TEST(Orientations, FitWhatIsLeft) {
  const Arrays arrays(3000, 2000, random_entries(3000, 2000, 200000), true);
  const OrientationShape shape = arrays.view().shape();
  MemoryPool pool;
  // What one piece takes by item, less one byte. User 7 has a third of the entries.
  pool.set_limit(peak_bytes(shape, {200000, 200000, 1}) - 1);
  const OrientationPlan plan = plan_orientations(shape, pool.available_bytes());
  EXPECT_EQ(plan.by_user_piece, 200000U);
  EXPECT_LT(plan.by_item_piece, 200000U);
  expect_right(arrays, build_orientations(pool, Stream(), arrays.view()));
}

TEST(OrientationPlan, StaysBelowTwoAndAHalfTimesTheResult) {
  const std::uint64_t much = std::uint64_t{1} << 40;
  for (const OrientationShape& shape :
       {OrientationShape{480189, 17770, 99072112, true}, OrientationShape{480189, 17770, 99072112, false},
        OrientationShape{162541, 59047, 25000095, true}, OrientationShape{100000000, 50000000, 5000000000, true}}) {
    const OrientationPlan plan = plan_orientations(shape, much);
    EXPECT_GE(plan.by_user_piece, shape.entries) << "triples are read once";
    EXPECT_EQ(plan.by_item_piece >= shape.entries, shape.values);
    EXPECT_LE(peak_bytes(shape, plan), orientation_bytes(shape) * 12 / 5);
    EXPECT_LE(plan.slice, EntryIndex{4} << 20);
  }
}

TEST(OrientationPlan, TakesMorePiecesWhereLessIsLeftAndSaysWhatIsMissing) {
  const OrientationShape shape{480189, 17770, 99072112, true};
  EntryIndex last = shape.entries;
  for (std::uint64_t available = std::uint64_t{4} << 30; available > orientation_bytes(shape) * 11 / 10;
       available -= std::uint64_t{1} << 26) {
    const OrientationPlan plan = plan_orientations(shape, available);
    EXPECT_LE(peak_bytes(shape, plan), available);
    EXPECT_LE(plan.by_item_piece, last);
    last = plan.by_item_piece;
  }
  EXPECT_LT(last, shape.entries / 10);
  try {
    (void)plan_orientations(shape, orientation_bytes(shape));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_THAT(error.what(), HasSubstr("MiB too few"));
  }
}

TEST(OrientationPlan, CutsRowsAtTheirEntries) {
  const std::vector<unsigned long long> counts = {0, 3, 2, 0, 9, 0, 1, 1, 5};
  EXPECT_THAT(cuda::cut_rows(counts, 5), ElementsAre(RowRange{0, 4}, RowRange{4, 6}, RowRange{6, 8}, RowRange{8, 9}));
  EXPECT_THAT(cuda::cut_rows(counts, 100), ElementsAre(RowRange{0, 9}));
  EXPECT_THAT(cuda::cut_rows({}, 5), ElementsAre());
  const std::vector<unsigned long long> none = {0, 0};
  EXPECT_THAT(cuda::cut_rows(none, 1), ElementsAre(RowRange{0, 2}));
}

}  // namespace
}  // namespace concerto::test
