// SGD of the cuda backend on the host machine: how the grid is cut, and what the default mode, in which warps update at
// the same time, promises beyond the conformance suite, which runs the deterministic one.
#include <bit>
#include <cmath>
#include <tuple>

#include <gtest/gtest.h>

#include "conformance/backends_under_test.hpp"
#include "conformance/problems.hpp"
#include "cuda_backend.hpp"
#include "machine.hpp"
#include "sgd_grid.hpp"

namespace concerto::test {
namespace {

using cuda::SgdEntry;
using cuda::SgdGrid;
using cuda::SgdPart;

/// Pairs drawn with repetition, items with a skew; rows 0 and 5 of either side have no entries.
Problem skewed_problem(RowIndex users, RowIndex items, std::size_t entries) {
  Random random(17, 3);
  std::vector<Entry> list;
  while (list.size() < entries) {
    const auto user = static_cast<RowIndex>(random.below(users));
    const auto item = static_cast<RowIndex>(random.below(1 + random.below(items)));
    if (user % 5 == 0 && user <= 5) continue;
    if (item % 5 == 0 && item <= 5) continue;
    list.push_back({user, item, draw_value(Values::kRatings, random)});
  }
  return make_problem("skewed", users, items, list, true);
}

SgdGrid cut(const Problem& problem) {
  return cuda::cut_sgd_grid(problem.by_user.view(), problem.by_item.view(), cuda_sgd_limits());
}

struct WalkedEntry {
  RowIndex user;
  SgdEntry entry;
  friend bool operator==(const WalkedEntry&, const WalkedEntry&) = default;
};

std::vector<WalkedEntry> walk(const SgdGrid& grid, const SgdPart& begin, const SgdPart& end) {
  std::vector<WalkedEntry> walked;
  EntryIndex k = begin.entry;
  for (EntryIndex r = begin.run; r < end.run; ++r) {
    for (std::uint32_t left = grid.runs[r].entries; left > 0; --left) {
      walked.push_back({grid.runs[r].user, grid.entries[k++]});
    }
  }
  EXPECT_EQ(k, end.entry);
  return walked;
}

TEST(SgdGrid, BlocksHoldEachEntryOnceInTheSerialOrder) {
  const Problem problem = skewed_problem(83, 61, 9000);
  const SgdGrid grid = cut(problem);
  ASSERT_EQ(grid.side, 5U);
  ASSERT_EQ(grid.parts.size(), 25 * grid.parts_per_block + 1);
  const auto user_blocks = sgd_cut(problem.by_user.view(), 5);
  const auto item_blocks = sgd_cut(problem.by_item.view(), 5);
  EntryIndex entries = 0;
  for (std::size_t block = 0; block < 25; ++block) {
    std::vector<WalkedEntry> expected;
    const RowRange items = item_blocks[block % 5];
    for (RowIndex u = user_blocks[block / 5].begin; u < user_blocks[block / 5].end; ++u) {
      for (EntryIndex k = problem.by_user.offsets[u]; k < problem.by_user.offsets[u + 1]; ++k) {
        const RowIndex item = problem.by_user.columns[k];
        if (item >= items.begin && item < items.end) expected.push_back({u, {item, problem.by_user.values[k]}});
      }
    }
    EXPECT_EQ(walk(grid, grid.parts[block * grid.parts_per_block], grid.parts[(block + 1) * grid.parts_per_block]),
              expected);
    entries += expected.size();
  }
  EXPECT_EQ(entries, 9000U);
}

TEST(SgdGrid, PartsAreWholeRunsOfAboutEqualEntries) {
  const Problem problem = skewed_problem(400, 300, 9000);
  const SgdGrid grid = cut(problem);
  const auto used =
      cuda::sgd_parts_used(problem.by_item.view(), sgd_cut(problem.by_item.view(), grid.side), grid.parts_per_block);
  for (std::size_t block = 0; block < std::size_t{grid.side} * grid.side; ++block) {
    const SgdPart* parts = grid.parts.data() + block * grid.parts_per_block;
    const auto entries = static_cast<double>(parts[grid.parts_per_block].entry - parts[0].entry);
    const unsigned count = used[block % grid.side];
    std::uint32_t longest = 0;
    for (EntryIndex r = parts[0].run; r < parts[grid.parts_per_block].run; ++r) {
      longest = std::max(longest, grid.runs[r].entries);
    }
    for (unsigned p = 0; p < grid.parts_per_block; ++p) {
      const auto walked = walk(grid, parts[p], parts[p + 1]);
      EXPECT_LE(walked.size(), p < count ? entries / count + longest : 0.0) << "part " << p;
    }
  }
}

TEST(SgdGrid, RunsNameAUserOnceABlock) {
  const SgdGrid grid = cut(skewed_problem(83, 61, 9000));
  for (std::size_t block = 0; block < 25; ++block) {
    const EntryIndex end = grid.parts[(block + 1) * grid.parts_per_block].run;
    for (EntryIndex r = grid.parts[block * grid.parts_per_block].run; r + 1 < end; ++r) {
      EXPECT_LT(grid.runs[r].user, grid.runs[r + 1].user);
      EXPECT_GT(grid.runs[r].entries, 0U);
    }
  }
}

TEST(SgdGrid, AHotItemIsUpdatedByFewWarpsAtATime) {
  std::vector<Entry> list;
  for (RowIndex u = 0; u < 600; ++u) list.push_back({u, 3, 1.0F});
  for (RowIndex u = 0; u < 600; ++u) list.push_back({u, 4 + u % 60, 1.0F});
  const Problem problem = make_problem("hot", 600, 70, list, true);
  const CompressedRows by_item = problem.by_item.view();
  // Half of the entries are one item's: four of its updates at a time are eight parts.
  EXPECT_EQ(cuda::sgd_parts_used(by_item, {{0, 70}}, 16), std::vector<unsigned>{8});
  EXPECT_EQ(cuda::sgd_parts_used(by_item, {{0, 4}, {4, 70}, {0, 3}}, 16), (std::vector<unsigned>{4, 16, 1}));
}

TEST(SgdGrid, AChipHasAsManyWarpsWithOneBlockAMultiprocessorAsWithTwo) {
  EXPECT_EQ(cuda::sgd_parts_per_block(1), 16U);
  EXPECT_EQ(cuda::sgd_parts_per_block(132), 16U);
  EXPECT_EQ(cuda::sgd_parts_per_block(133), 8U);
}

TEST(SgdGrid, DecayWeightsArePowersOfCounts) {
  const std::vector<EntryIndex> counts = {0, 1, 4, 9};
  EXPECT_EQ(cuda::sgd_decay_weights(counts, 1.0), (std::vector<float>{0.0F, 1.0F, 1.0F, 1.0F}));
  EXPECT_EQ(cuda::sgd_decay_weights(counts, 0.0), (std::vector<float>{0.0F, 1.0F, 0.25F, 1.0F / 9.0F}));
  EXPECT_EQ(cuda::sgd_decay_weights(counts, 0.5), (std::vector<float>{0.0F, 1.0F, 0.5F, 1.0F / 3.0F}));
}

TEST(SgdGrid, TakesAtMostThePredictedBytes) {
  for (const auto& [users, items, entries] : {std::tuple(83U, 61U, 9000U), std::tuple(7U, 2000U, 5000U)}) {
    const SgdGrid grid = cut(skewed_problem(users, items, entries));
    const std::uint64_t bytes = grid.entries.size() * sizeof(SgdEntry) + grid.runs.size() * sizeof(cuda::SgdRun) +
                                grid.parts.size() * sizeof(SgdPart);
    EXPECT_LE(bytes, cuda::sgd_grid_bytes(entries, users, items));
  }
}

// -- epochs --

const CudaOptions kDefault = {.gather = Gather::kFp32};
const CudaOptions kDeterministic = {.gather = Gather::kFp32, .deterministic = true};

struct Settings {
  std::uint32_t rank = 8;
  std::uint32_t epochs = 1;
  double rate = 0.05;
  bool nonnegative = false;
  std::uint64_t seed = 5;
};

struct Tables {
  FactorTable users;
  FactorTable items;
};

Tables initial_tables(const Problem& problem, const Objective& objective, const Settings& settings) {
  return {random_table({problem.by_user.rows, settings.rank, objective.biases}, 2 * settings.seed),
          random_table({problem.by_item.rows, settings.rank, objective.biases}, 2 * settings.seed + 1)};
}

Tables train(Backend& on, const Problem& problem, const Objective& objective, const Settings& settings) {
  Tables tables = initial_tables(problem, objective, settings);
  const auto users = upload(on, tables.users);
  const auto items = upload(on, tables.items);
  const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
  for (std::uint32_t epoch = 0; epoch < settings.epochs; ++epoch) {
    on.sgd_epoch({.grid = grid.get(),
                  .users = users.get(),
                  .items = items.get(),
                  .objective = objective,
                  .rate = settings.rate,
                  .nonnegative = settings.nonnegative,
                  .seed = settings.seed,
                  .epoch = epoch});
  }
  return {download(on, *users, tables.users.shape()), download(on, *items, tables.items.shape())};
}

Tables train(const CudaOptions& options, const Problem& problem, const Objective& objective, const Settings& settings) {
  return train(*make_cuda_backend(options), problem, objective, settings);
}
Tables train_reference(const Problem& problem, const Objective& objective, const Settings& settings) {
  return train(*make_reference_backend(cuda_sgd_limits()), problem, objective, settings);
}

void expect_near(const Tables& actual, const Tables& expected, double tolerance) {
  expect_rows_near(actual.users, expected.users, tolerance);
  expect_rows_near(actual.items, expected.items, tolerance);
}

/// Under the default mode's schedules 0, 1 and a drawn one.
template <class Check>
void under_schedules(Check check) {
  for (const std::uint64_t schedule : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{977}}) {
    SCOPED_TRACE("schedule " + std::to_string(schedule));
    simt::set_schedule(schedule);
    check();
  }
  simt::set_schedule(0);
}

double rmse(const Tables& tables, const Problem& problem, double mean) {
  double sum = 0.0;
  for (RowIndex u = 0; u < problem.by_user.rows; ++u) {
    for (EntryIndex k = problem.by_user.offsets[u]; k < problem.by_user.offsets[u + 1]; ++k) {
      const RowIndex i = problem.by_user.columns[k];
      double score = mean + tables.users.bias(u) + tables.items.bias(i);
      for (std::uint32_t c = 0; c < tables.users.rank(); ++c) {
        score += double{tables.users.row(u)[c]} * tables.items.row(i)[c];
      }
      sum += std::pow(problem.by_user.values[k] - score, 2);
    }
  }
  return std::sqrt(sum / static_cast<double>(problem.by_user.columns.size()));
}

/// Pairs of a skewed problem with the values of a planted model of rank 3 and noise; one in five is held out.
struct Planted {
  Problem train;
  Problem test;
};
Planted planted(RowIndex users, RowIndex items, std::size_t entries) {
  const Problem pairs = skewed_problem(users, items, entries);
  const FactorTable x = random_table({users, 3, true}, 71);
  const FactorTable y = random_table({items, 3, true}, 72);
  Random noise(73);
  std::vector<Entry> kept;
  std::vector<Entry> out;
  for (RowIndex u = 0; u < users; ++u) {
    for (EntryIndex k = pairs.by_user.offsets[u]; k < pairs.by_user.offsets[u + 1]; ++k) {
      const RowIndex i = pairs.by_user.columns[k];
      double value = 2.7 + x.bias(u) + y.bias(i) + 0.3 * noise.normal();
      for (std::uint32_t c = 0; c < 3; ++c) value += 1.5 * x.row(u)[c] * y.row(i)[c];
      (noise.below(5) == 0 ? out : kept).push_back({u, i, static_cast<float>(value)});
    }
  }
  return {make_problem("train", users, items, kept, true), make_problem("test", users, items, out, true)};
}

TEST(Sgd, DefaultModeReachesTheQualityOfTheSerialOrder) {
  const Planted data = planted(200, 120, 10000);
  const Objective objective = explicit_objective("", 0.02, 1.0, true).objective;
  double start = 0.0;
  double actual = 0.0;
  double expected = 0.0;
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const Settings settings{.rank = 8, .epochs = 15, .rate = 0.1, .seed = seed};
    simt::set_schedule(seed);
    start += rmse(initial_tables(data.train, objective, settings), data.test, objective.mean) / 3;
    actual += rmse(train(kDefault, data.train, objective, settings), data.test, objective.mean) / 3;
    expected += rmse(train_reference(data.train, objective, settings), data.test, objective.mean) / 3;
  }
  simt::set_schedule(0);
  RecordProperty("rmse_at_start", std::to_string(start));
  RecordProperty("rmse", std::to_string(actual));
  RecordProperty("rmse_of_reference", std::to_string(expected));
  EXPECT_LT(expected, 0.5 * start);
  EXPECT_NEAR(actual / expected, 1.0, 0.003);
}

TEST(Sgd, DefaultModeIsSerialWhereItemsHaveOneEntryEach) {
  // Then no two updates share an item, and each user's updates are one warp's, in order.
  for (const std::uint32_t rank : {1U, 17U, 64U, 67U, 128U, 129U, 256U, 300U, 384U, 400U, 512U, 513U, 2048U}) {
    SCOPED_TRACE(rank);
    std::vector<Entry> list;
    for (RowIndex i = 0; i < 150; ++i) list.push_back({i * i % 13, i, 0.5F * static_cast<float>(1 + i % 9)});
    const Problem problem = make_problem("distinct", 14, 151, list, true);
    for (const bool nonnegative : {false, true}) {
      const Objective objective = explicit_objective("", 0.05, 0.5, nonnegative).objective;
      const Settings settings{.rank = rank, .epochs = 2, .nonnegative = nonnegative};
      expect_near(train(kDefault, problem, objective, settings), train_reference(problem, objective, settings), 1e-4);
    }
  }
}

TEST(Sgd, DefaultModeLosesNoUpdate) {
  // At a small rate an update hardly depends on the few before it, so that the order shows only where the accumulator
  // is still small; but one that is lost is missing, and a warp that does not see the others' moves too far: the hot
  // item's bias and factors move by the sum of hundreds.
  std::vector<Entry> list;
  for (RowIndex u = 0; u < 700; ++u) list.push_back({u, 1, 5.0F});
  for (RowIndex u = 0; u < 700; ++u) list.push_back({u, 2 + u % 3, 1.0F});
  const Problem problem = make_problem("hot", 700, 5, list, true);
  const Objective objective = explicit_objective("", 0.02, 1.0, true).objective;
  for (const std::uint32_t rank : {8U, 80U, 520U}) {
    const Settings settings{.rank = rank, .rate = 1e-4};
    const Tables start = initial_tables(problem, objective, settings);
    const Tables expected = train_reference(problem, objective, settings);
    const double movement = expected.items.bias(1) - start.items.bias(1);
    ASSERT_GT(movement, 0.01);
    under_schedules([&] {
      const Tables actual = train(kDefault, problem, objective, settings);
      EXPECT_NEAR(actual.items.bias(1) - start.items.bias(1), movement, 0.1 * movement);
      expect_near(actual, expected, 2e-3);
    });
  }
}

TEST(Sgd, DeterministicModeWritesTheSameBytesInEveryOrderOfThreads) {
  const Problem problem = skewed_problem(83, 61, 9000);
  const Objective objective = explicit_objective("", 0.05, 0.5, true).objective;
  const Settings settings{.rank = 67, .epochs = 2};
  const Tables expected = train(kDeterministic, problem, objective, settings);
  under_schedules([&] {
    const Tables actual = train(kDeterministic, problem, objective, settings);
    EXPECT_TRUE(same_bytes(actual.users, expected.users));
    EXPECT_TRUE(same_bytes(actual.items, expected.items));
  });
}

TEST(Sgd, RowsWithoutEntriesAndPaddingStay) {
  const Problem problem = skewed_problem(83, 61, 3000);
  for (const CudaOptions& options : {kDefault, kDeterministic}) {
    for (const bool nonnegative : {false, true}) {
      const Objective objective = explicit_objective("", 0.05, 0.0, true).objective;
      const Settings settings{.rank = 67, .nonnegative = nonnegative};
      const Tables start = initial_tables(problem, objective, settings);
      const Tables after = train(options, problem, objective, settings);
      for (const auto& [now, before] : {std::pair(&after.users, &start.users), std::pair(&after.items, &start.items)}) {
        for (const RowIndex r : {0U, 5U}) {
          EXPECT_TRUE(same_bytes<float>(now->row(r), before->row(r)));
          EXPECT_EQ(now->bias(r), before->bias(r));
        }
        for (RowIndex r = 0; r < now->rows(); ++r) {
          for (std::size_t c = 67; c < now->stride(); ++c) EXPECT_EQ(now->data()[r * now->stride() + c], 0.0F);
        }
      }
    }
  }
}

TEST(Sgd, DefaultModeProjectsAllRowsThatHaveEntries) {
  const Problem problem = skewed_problem(83, 61, 3000);
  const Objective objective = explicit_objective("", 0.05, 1.0, false).objective;
  const Tables after = train(kDefault, problem, objective, {.rank = 16, .nonnegative = true});
  double sum = 0.0;
  for (const auto& [table, matrix] :
       {std::pair(&after.users, &problem.by_user), std::pair(&after.items, &problem.by_item)}) {
    for (RowIndex r = 0; r < table->rows(); ++r) {
      if (matrix->view().count(r) == 0) continue;
      for (const float value : table->row(r)) {
        EXPECT_GE(value, 0.0F);
        sum += value;
      }
    }
  }
  EXPECT_GT(sum, 0.0);
}

TEST(Sgd, AccumulatorsStartAtOneOutliveEpochsAndEndWithAWrite) {
  const Problem problem = skewed_problem(31, 37, 300);
  const Objective objective = explicit_objective("", 0.05, 1.0, false).objective;
  for (const CudaOptions& options : {kDefault, kDeterministic}) {
    const auto backend = make_cuda_backend(options);
    const Tables start = initial_tables(problem, objective, {});
    const auto users = upload(*backend, start.users);
    const auto items = upload(*backend, start.items);
    const auto grid = backend->load_grid(problem.by_user.view(), problem.by_item.view());
    const auto& table = cuda::buffer_as<cuda::TableBuffer>(users.get());
    EXPECT_TRUE(table.accumulators.empty());
    const auto run_epoch = [&] {
      backend->sgd_epoch({.grid = grid.get(), .users = users.get(), .items = items.get(), .objective = objective});
      return download(*backend, *users, start.users.shape());
    };
    const FactorTable first = run_epoch();
    ASSERT_EQ(table.accumulators.size(), 31U);
    EXPECT_EQ(table.accumulators.data()[0], 1.0F) << "a row without entries";
    EXPECT_GT(table.accumulators.data()[1], 1.0F);
    backend->write_rows(*users, {0, 31}, start.users);
    backend->write_rows(*items, {0, 37}, start.items);
    EXPECT_TRUE(same_bytes(first, run_epoch())) << "a write did not reset the optimizer state";
    const FactorTable items_after = download(*backend, *items, start.items.shape());
    const FactorTable kept = run_epoch();
    backend->write_rows(*users, {0, 31}, first);
    backend->write_rows(*items, {0, 37}, items_after);
    EXPECT_FALSE(same_bytes(kept, run_epoch())) << "the optimizer state did not outlive the epoch";
  }
}

TEST(Sgd, AGridServesObjectivesOfSeveralExponents) {
  const Problem problem = skewed_problem(31, 37, 300);
  const auto backend = make_cuda_backend(kDeterministic);
  const auto grid = backend->load_grid(problem.by_user.view(), problem.by_item.view());
  for (const double exponent : {1.0, 0.0, 1.0}) {
    const Objective objective = explicit_objective("", 0.5, exponent, true).objective;
    const Tables start = initial_tables(problem, objective, {});
    const auto users = upload(*backend, start.users);
    const auto items = upload(*backend, start.items);
    backend->sgd_epoch(
        {.grid = grid.get(), .users = users.get(), .items = items.get(), .objective = objective, .seed = 5});
    const Tables actual{download(*backend, *users, start.users.shape()),
                        download(*backend, *items, start.items.shape())};
    expect_near(actual, train_reference(problem, objective, {}), 1e-4);
  }
}

TEST(Sgd, WhatStepsGatherFollowsTheMaster) {
  const Problem problem = skewed_problem(31, 37, 300);
  const Objective objective = explicit_objective("", 0.05, 1.0, false).objective;
  const auto backend = make_cuda_backend({.gather = Gather::kBf16});
  const Tables start = initial_tables(problem, objective, {});
  const auto users = upload(*backend, start.users);
  const auto items = upload(*backend, start.items);
  const auto grid = backend->load_grid(problem.by_user.view(), problem.by_item.view());
  backend->sgd_epoch({.grid = grid.get(), .users = users.get(), .items = items.get(), .objective = objective});
  for (const Buffer* buffer : {users.get(), items.get()}) {
    const auto& table = cuda::buffer_as<cuda::TableBuffer>(buffer);
    for (std::size_t k = 0; k < table.shadow.size(); ++k) {
      EXPECT_EQ(std::bit_cast<float>(std::uint32_t{table.shadow.data()[k]} << 16),
                rounded_to_bf16(table.master.data()[k]));
    }
  }
}

TEST(Sgd, TheLossOfAGridIsTheSameBytesInEveryOrderOfThreads) {
  const Problem problem = skewed_problem(83, 61, 9000);
  const Objective objective = explicit_objective("", 0.05, 0.5, true).objective;
  for (const std::uint32_t rank : {20U, 300U}) {
    const Tables tables = initial_tables(problem, objective, {.rank = rank});
    const auto loss = [&](Backend& on) {
      const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
      return on.grid_loss(*grid, *upload(on, tables.users), *upload(on, tables.items), objective);
    };
    const double expected = loss(*make_reference_backend(cuda_sgd_limits()));
    const double first = loss(*make_cuda_backend({}));
    EXPECT_NEAR(first, expected, 1e-6 * expected);
    under_schedules([&] { EXPECT_EQ(loss(*make_cuda_backend({})), first); });
  }
}

TEST(Sgd, NothingHappensWithoutEntries) {
  const Objective objective = explicit_objective("", 0.05, 1.0, true).objective;
  for (const CudaOptions& options : {kDefault, kDeterministic}) {
    for (const auto& [users, items] : {std::pair(0U, 0U), std::pair(3U, 0U), std::pair(3U, 4U)}) {
      const Problem problem = make_problem("empty", users, items, {}, true);
      const Tables start = initial_tables(problem, objective, {});
      const Tables after = train(options, problem, objective, {});
      EXPECT_TRUE(same_bytes(start.users, after.users));
      EXPECT_TRUE(same_bytes(start.items, after.items));
    }
  }
}

}  // namespace
}  // namespace concerto::test
