// SGD epochs against the reference from equal factors, in the order of sgd_order.hpp, on grids of one and of many
// blocks.
#include "concerto/compute/sgd_order.hpp"

#include "training.hpp"

namespace concerto::test {
namespace {

/// Into how many blocks the case's backend cuts.
SgdLimits limits_of(const BackendCase& which) {
  return which.backend == "cuda" ? cuda_sgd_limits() : SgdLimits{};
}

/// The outcome of a reference backend that cuts into as many blocks, computed once for each key and limits.
const Outcome& reference_outcome(const SgdLimits& limits, const std::string& key, const Computation& compute) {
  const std::string cut = std::to_string(limits.entries_per_block) + "/" + std::to_string(limits.few_blocks_per_side) +
                          "/" + std::to_string(limits.min_block_entries) + "/" +
                          std::to_string(limits.max_blocks_per_side);
  return test::reference_outcome(key + "/blocks " + cut,
                                 [&](Backend&) { return compute(*make_reference_backend(limits)); });
}

/// Pairs drawn with repetition, items with a skew, so that blocks differ in shape.
Problem dense_problem(RowIndex users, RowIndex items, std::size_t entries) {
  Random random(13, 3);
  std::vector<Entry> list;
  for (std::size_t k = 0; k < entries; ++k) {
    const auto user = static_cast<RowIndex>(random.below(users));
    const auto item = static_cast<RowIndex>(random.below(1 + random.below(items)));
    list.push_back({user, item, draw_value(Values::kRatings, random)});
  }
  return make_problem("dense", users, items, list, true);
}

struct SgdSettings {
  bool nonnegative = false;
  std::uint32_t epochs = 1;
  double rate = 0.05;
};

Outcome run_sgd(Backend& on, const Problem& problem, const Objective& objective, std::uint32_t rank,
                const SgdSettings& settings) {
  const FactorTable users = random_table({problem.by_user.rows, rank, objective.biases}, 31);
  const FactorTable items = random_table({problem.by_item.rows, rank, objective.biases}, 32);
  const auto user_buffer = upload(on, users);
  const auto item_buffer = upload(on, items);
  const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
  for (std::uint32_t epoch = 0; epoch < settings.epochs; ++epoch) {
    on.sgd_epoch({.grid = grid.get(),
                  .users = user_buffer.get(),
                  .items = item_buffer.get(),
                  .objective = objective,
                  .rate = settings.rate,
                  .nonnegative = settings.nonnegative,
                  .seed = 5,
                  .epoch = epoch});
  }
  return {{download(on, *user_buffer, users.shape()), download(on, *item_buffer, items.shape())}, {}};
}

class Sgd : public ::testing::TestWithParam<ObjectiveCase> {
 protected:
  static void compare(const Problem& problem, std::uint32_t rank, const SgdSettings& settings,
                      double tolerance = 1e-4) {
    const auto& [backend, named] = GetParam();
    if (!is_run(backend, named.name, rank)) return;
    SCOPED_TRACE(problem.name + ", rank " + std::to_string(rank));
    const Computation compute = [&](Backend& on) { return run_sgd(on, problem, named.objective, rank, settings); };
    const std::string key = "sgd/" + named.name + "/" + problem.name + "/" + std::to_string(rank) + "/" +
                            std::to_string(settings.epochs) + (settings.nonnegative ? "/nonnegative" : "");
    const Outcome& expected = reference_outcome(limits_of(backend), key, compute);
    const Outcome actual = run_on(backend, compute);
    expect_rows_near(actual.tables[0], expected.tables[0], tolerance);
    expect_rows_near(actual.tables[1], expected.tables[1], tolerance);
  }
};

TEST_P(Sgd, OneBlockAgrees) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 128U, 129U, 256U, 257U, 640U, 2048U, 8192U}) {
    compare(problem_for_rank(rank, Values::kRatings), rank, {});
  }
}

TEST_P(Sgd, ManyBlocksAgree) {
  const Problem problem = dense_problem(211, 197, 40000);
  ASSERT_GE(sgd_blocks_per_side(40000, 211, 197, limits_of(std::get<0>(GetParam()))), 3U);
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U}) compare(problem, rank, {});
}

TEST_P(Sgd, SeveralEpochsAgree) {
  compare(dense_problem(101, 97, 20000), 16, {.epochs = 3}, 3e-4);
}

TEST_P(Sgd, NonnegativeAgrees) {
  compare(problem_for_rank(16, Values::kRatings), 16, {.nonnegative = true});
  const Outcome outcome = run_on(std::get<0>(GetParam()), [](Backend& on) {
    return run_sgd(on, problem_for_rank(16, Values::kRatings), std::get<1>(GetParam()).objective, 16,
                   {.nonnegative = true});
  });
  for (const RowIndex r : {1U, 2U}) {
    for (const float value : outcome.tables[0].row(r)) EXPECT_GE(value, 0.0F);
    for (const float value : outcome.tables[1].row(r)) EXPECT_GE(value, 0.0F);
  }
}

/// The entries of these users and items alone, in the rows and columns of the whole.
Problem part_of(const Problem& whole, RowRange users, RowRange items) {
  std::vector<Entry> list;
  const CompressedRows by_user = whole.by_user.view();
  for (RowIndex u = users.begin; u < users.end; ++u) {
    for (EntryIndex k = by_user.offsets[u]; k < by_user.offsets[u + 1]; ++k) {
      const RowIndex i = by_user.columns[k];
      if (i >= items.begin && i < items.end) list.push_back({u, i, by_user.value(k)});
    }
  }
  return make_problem("part", by_user.rows, by_user.column_count, list, true);
}

std::vector<EntryIndex> counts_of(const CompressedRows& matrix) {
  std::vector<EntryIndex> counts;
  for (RowIndex r = 0; r < matrix.rows; ++r) counts.push_back(matrix.count(r));
  return counts;
}

TEST_P(Sgd, GridsOfPartsWithCountsOfTheWholeAgree) {
  const auto& [backend, named] = GetParam();
  const Problem whole = dense_problem(211, 197, 20000);
  const std::vector<EntryIndex> users = counts_of(whole.by_user.view());
  const std::vector<EntryIndex> items = counts_of(whole.by_item.view());
  const std::vector<Problem> parts = {part_of(whole, {0, 100}, {0, 60}), part_of(whole, {100, 211}, {60, 197}),
                                      part_of(whole, {0, 100}, {60, 197}), part_of(whole, {100, 211}, {0, 60})};
  for (const std::uint32_t rank : {7U, 64U}) {
    SCOPED_TRACE("rank " + std::to_string(rank));
    const Computation compute = [&](Backend& on) {
      const FactorTable user_start = random_table({211, rank, named.objective.biases}, 31);
      const FactorTable item_start = random_table({197, rank, named.objective.biases}, 32);
      const auto x = upload(on, user_start);
      const auto y = upload(on, item_start);
      std::uint32_t epoch = 0;
      Outcome outcome;
      for (const Problem& part : parts) {
        const auto grid = on.load_grid(part.by_user.view(), part.by_item.view(), {users, items});
        on.sgd_epoch({.grid = grid.get(),
                      .users = x.get(),
                      .items = y.get(),
                      .objective = named.objective,
                      .seed = 5,
                      .epoch = epoch++});
        outcome.numbers.push_back(on.grid_loss(*grid, *x, *y, named.objective));
      }
      outcome.tables = {download(on, *x, user_start.shape()), download(on, *y, item_start.shape())};
      return outcome;
    };
    const Outcome expected = compute(*make_reference_backend(limits_of(backend)));
    const Outcome actual = run_on(backend, compute);
    expect_rows_near(actual.tables[0], expected.tables[0], 1e-4);
    expect_rows_near(actual.tables[1], expected.tables[1], 1e-4);
    for (std::size_t k = 0; k < parts.size(); ++k) {
      EXPECT_NEAR(actual.numbers[k], expected.numbers[k], 1e-4 * expected.numbers[k]) << "loss of part " << k;
    }
  }
}

TEST_P(Sgd, SingleRowsAndColumnsAgree) {
  for (const auto& [users, items] : {std::pair(1U, 1U), std::pair(1U, 257U), std::pair(257U, 1U), std::pair(2U, 3U)}) {
    compare(awkward_problem(users, items, 300, Values::kRatings, 6), 13, {});
  }
}

TEST_P(Sgd, TheLossOfAGridAgrees) {
  const auto& [backend, named] = GetParam();
  Objective objective = named.objective;
  objective.mean = 3.0;
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 129U, 257U}) {
    if (!is_run(backend, named.name, rank)) continue;
    for (const Problem& problem : {dense_problem(97, 89, 6000), problem_for_rank(rank, Values::kRatings),
                                   problem_for_rank(rank, Values::kNone)}) {
      SCOPED_TRACE(problem.name + ", rank " + std::to_string(rank));
      const Computation compute = [&](Backend& on) {
        const auto x = upload(on, random_table({problem.by_user.rows, rank, objective.biases}, 31));
        const auto y = upload(on, random_table({problem.by_item.rows, rank, objective.biases}, 32));
        const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
        return Outcome{{}, {on.grid_loss(*grid, *x, *y, objective)}};
      };
      const double expected = compute(*make_reference_backend(limits_of(backend))).numbers[0];
      EXPECT_NEAR(run_on(backend, compute).numbers[0], expected, 1e-5 * expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Sgd,
                         ::testing::Combine(::testing::ValuesIn(sgd_backends()),
                                            ::testing::ValuesIn(explicit_objectives())),
                         objective_case_name);

class SgdDirect : public ::testing::TestWithParam<BackendCase> {};

TEST_P(SgdDirect, OneUpdateIsTheFormula) {
  Objective objective = explicit_objective("", 0.1, 1.0, true).objective;
  objective.bias_regularization = 0.2;
  objective.mean = 3.0;
  FactorTable users({1, 2, true});
  FactorTable items({1, 2, true});
  std::ranges::copy(std::vector<float>{1.0F, 2.0F}, users.row(0).begin());
  std::ranges::copy(std::vector<float>{0.5F, -1.0F}, items.row(0).begin());
  users.biases()[0] = 0.25F;
  items.biases()[0] = -0.5F;
  const Problem problem = make_problem("one", 1, 1, {{0, 0, 4.0F}}, true);
  run_on(GetParam(), [&](Backend& on) {
    const auto x = upload(on, users);
    const auto y = upload(on, items);
    const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
    on.sgd_epoch({.grid = grid.get(), .users = x.get(), .items = y.get(), .objective = objective, .rate = 0.1});
    // e = 4 - 3 - 0.25 + 0.5 - (0.5 - 2) = 2.75
    const FactorTable new_users = download(on, *x, users.shape());
    const FactorTable new_items = download(on, *y, items.shape());
    EXPECT_FLOAT_EQ(new_users.row(0)[0], 1.0F - 0.1F * (-2.75F * 0.5F + 0.1F * 1.0F));
    EXPECT_FLOAT_EQ(new_users.row(0)[1], 2.0F - 0.1F * (2.75F * 1.0F + 0.1F * 2.0F));
    EXPECT_FLOAT_EQ(new_items.row(0)[0], 0.5F - 0.1F * (-2.75F * 1.0F + 0.1F * 0.5F));
    EXPECT_FLOAT_EQ(new_items.row(0)[1], -1.0F - 0.1F * (-2.75F * 2.0F - 0.1F * 1.0F));
    EXPECT_FLOAT_EQ(new_users.bias(0), 0.25F - 0.1F * (-2.75F + 0.2F * 0.25F));
    EXPECT_FLOAT_EQ(new_items.bias(0), -0.5F - 0.1F * (-2.75F - 0.2F * 0.5F));
    return Outcome{};
  });
}

TEST_P(SgdDirect, TheLossOfAGridIsThatOfItsOrientations) {
  Objective objective = explicit_objective("", 0.1, 0.7, true).objective;
  objective.mean = 3.0;
  const Problem problem = dense_problem(97, 89, 6000);
  run_on(GetParam(), [&](Backend& on) {
    const auto x = upload(on, random_table({97, 5, true}, 1));
    const auto y = upload(on, random_table({89, 5, true}, 2));
    const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
    const auto by_user = on.load_ratings(problem.by_user.view());
    const auto by_item = on.load_ratings(problem.by_item.view());
    const double sum = on.entry_loss(*by_user, {0, 97}, *x, *y, objective) +
                       on.penalty(*by_user, {0, 97}, *x, objective) + on.penalty(*by_item, {0, 89}, *y, objective);
    EXPECT_NEAR(on.grid_loss(*grid, *x, *y, objective), sum, 1e-9 * sum);
    Objective other = objective;
    other.regularization = 0.4;
    EXPECT_GT(on.grid_loss(*grid, *x, *y, other), 1.01 * sum) << "terms of another objective were taken";
    return Outcome{};
  });
}

TEST_P(SgdDirect, TheLossOfAnEmptyGridIsItsPenalties) {
  const Objective objective = explicit_objective("", 0.5, 0.0, false).objective;
  const Problem problem = make_problem("none", 3, 2, {}, true);
  FactorTable users({3, 2, false});
  users.row(1)[1] = 2.0F;
  run_on(GetParam(), [&](Backend& on) {
    const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
    const auto x = upload(on, users);
    EXPECT_DOUBLE_EQ(on.grid_loss(*grid, *x, *upload(on, FactorTable({2, 2, false})), objective), 2.0);
    return Outcome{};
  });
}

TEST_P(SgdDirect, AccumulatorsOutliveEpochsAndEndWithAWrite) {
  const Problem problem = awkward_problem(31, 37, 300, Values::kRatings, 14);
  const Objective objective = explicit_objective("", 0.05, 1.0, false).objective;
  run_on(GetParam(), [&](Backend& on) {
    const FactorTable start = random_table({31, 8, false}, 1);
    const FactorTable item_start = random_table({37, 8, false}, 2);
    const auto users = upload(on, start);
    const auto items = upload(on, item_start);
    const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
    const auto run_epoch = [&] {
      on.sgd_epoch({.grid = grid.get(), .users = users.get(), .items = items.get(), .objective = objective});
      return download(on, *users, start.shape());
    };
    const FactorTable first = run_epoch();
    on.write_rows(*users, {0, 31}, start);
    on.write_rows(*items, {0, 37}, item_start);
    EXPECT_TRUE(same_bytes(first, run_epoch())) << "a write did not reset the optimizer state";
    // A second epoch with the state kept, against one from the same factors with the state reset by a write.
    const FactorTable items_after = download(on, *items, item_start.shape());
    const FactorTable kept = run_epoch();
    on.write_rows(*users, {0, 31}, first);
    on.write_rows(*items, {0, 37}, items_after);
    EXPECT_FALSE(same_bytes(kept, run_epoch())) << "the optimizer state did not outlive the epoch";
    return Outcome{};
  });
}

TEST_P(SgdDirect, ARowIsPenalizedByTheCountThatIsGiven) {
  Objective objective = explicit_objective("", 0.5, 0.0, true).objective;  // nu = 0: lambda / n an entry
  objective.mean = 0.0;
  FactorTable users({1, 1, true});
  FactorTable items({1, 1, true});
  users.row(0)[0] = 2.0F;
  items.row(0)[0] = 0.0F;
  users.biases()[0] = 1.0F;
  const Problem problem = make_problem("one", 1, 1, {{0, 0, 1.0F}}, true);
  const std::vector<EntryIndex> four = {4};
  const std::vector<EntryIndex> one = {1};
  run_on(GetParam(), [&](Backend& on) {
    const auto x = upload(on, users);
    const auto y = upload(on, items);
    const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view(), {four, one});
    on.sgd_epoch({.grid = grid.get(), .users = x.get(), .items = y.get(), .objective = objective, .rate = 0.1});
    // e = 1 - 1 - 2 * 0 = 0: the penalty alone moves the user, by 0.5 / 4.
    EXPECT_FLOAT_EQ(download(on, *x, users.shape()).row(0)[0], 2.0F - 0.1F * 0.125F * 2.0F);
    EXPECT_FLOAT_EQ(download(on, *x, users.shape()).bias(0),
                    1.0F - 0.1F * static_cast<float>(objective.bias_regularization) / 4.0F);
    return Outcome{};
  });
}

TEST_P(SgdDirect, RowsOutsideAPartOfTheMatrixKeepAllThatTheyAre) {
  const Problem whole = dense_problem(50, 40, 1000);
  const Problem part = part_of(whole, {10, 30}, {5, 20});
  Objective objective = explicit_objective("", 0.1, 0.5, true).objective;
  objective.mean = 3.0;
  const std::vector<EntryIndex> users = counts_of(whole.by_user.view());
  const std::vector<EntryIndex> items = counts_of(whole.by_item.view());
  run_on(GetParam(), [&](Backend& on) {
    const FactorTable user_start = random_table({50, 6, true}, 1);
    const FactorTable item_start = random_table({40, 6, true}, 2);
    const auto x = upload(on, user_start);
    const auto y = upload(on, item_start);
    const auto grid = on.load_grid(part.by_user.view(), part.by_item.view(), {users, items});
    on.sgd_epoch({.grid = grid.get(), .users = x.get(), .items = y.get(), .objective = objective, .nonnegative = true});
    const auto expect_kept = [&](const Buffer& table, const FactorTable& start, RowRange inside) {
      const FactorTable now = download(on, table, start.shape());
      std::vector<float> state(start.rows());
      on.read_state(table, {0, start.rows()}, state);
      for (RowIndex r = 0; r < start.rows(); ++r) {
        const bool is_inside = r >= inside.begin && r < inside.end;
        const bool is_kept = std::ranges::equal(now.row(r), start.row(r)) && now.bias(r) == start.bias(r);
        EXPECT_EQ(is_kept, !is_inside) << "row " << r;
        EXPECT_EQ(state[r] == 1.0F, !is_inside) << "row " << r;
      }
    };
    expect_kept(*x, user_start, {10, 30});
    expect_kept(*y, item_start, {5, 20});
    return Outcome{};
  });
}

TEST_P(SgdDirect, RowsWithTheirStateMoveToAnotherTableAndGoOn) {
  const Problem problem = awkward_problem(31, 37, 300, Values::kRatings, 14);
  const Objective objective = explicit_objective("", 0.05, 1.0, true).objective;
  run_on(GetParam(), [&](Backend& on) {
    const FactorTable user_start = random_table({31, 8, true}, 1);
    const FactorTable item_start = random_table({37, 8, true}, 2);
    const auto users = upload(on, user_start);
    const auto items = upload(on, item_start);
    const auto grid = on.load_grid(problem.by_user.view(), problem.by_item.view());
    const auto run_epoch = [&](Buffer& x, Buffer& y) {
      on.sgd_epoch({.grid = grid.get(), .users = &x, .items = &y, .objective = objective});
    };
    std::vector<float> fresh(37);
    on.read_state(*items, {0, 37}, fresh);
    EXPECT_EQ(fresh, std::vector<float>(37, 1.0F));
    run_epoch(*users, *items);
    // Both tables again, in two pieces each.
    const auto copy_of = [&](const Buffer& from, const FactorTable& start) {
      auto to = on.create_table(start.shape());
      FactorTable host(start.shape());
      for (const RowRange rows : {RowRange{11, start.rows()}, RowRange{0, 11}}) {
        std::vector<float> state(rows.size());
        on.read_rows(from, rows, host);
        on.read_state(from, rows, state);
        on.write_rows(*to, rows, host);
        on.write_state(*to, rows, state);
      }
      return to;
    };
    const auto moved_users = copy_of(*users, user_start);
    const auto moved_items = copy_of(*items, item_start);
    run_epoch(*users, *items);
    run_epoch(*moved_users, *moved_items);
    expect_rows_near(download(on, *moved_users, user_start.shape()), download(on, *users, user_start.shape()), 1e-6);
    expect_rows_near(download(on, *moved_items, item_start.shape()), download(on, *items, item_start.shape()), 1e-6);
    return Outcome{};
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, SgdDirect, ::testing::ValuesIn(with_reference(sgd_backends())), case_name);

TEST(SgdOrder, CutsCoverAllRowsAtEqualEntries) {
  const Problem problem = dense_problem(211, 197, 40000);
  const auto ranges = sgd_cut(problem.by_user.view(), 7);
  ASSERT_EQ(ranges.size(), 7U);
  RowIndex next = 0;
  for (const RowRange& range : ranges) {
    EXPECT_EQ(range.begin, next);
    next = range.end;
    const EntryIndex entries = problem.by_user.offsets[range.end] - problem.by_user.offsets[range.begin];
    EXPECT_NEAR(static_cast<double>(entries), 40000.0 / 7, 400.0);
  }
  EXPECT_EQ(next, 211U);
}

TEST(SgdOrder, AGiantRowLeavesEmptyRanges) {
  std::vector<Entry> list;
  for (RowIndex i = 0; i < 90; ++i) list.push_back({3, i, 1.0F});
  const Problem problem = make_problem("giant", 6, 90, list, true);
  const auto ranges = sgd_cut(problem.by_user.view(), 4);
  const std::vector<RowRange> expected = {{0, 4}, {4, 4}, {4, 4}, {4, 6}};
  EXPECT_EQ(ranges, expected);
}

TEST(SgdOrder, StrataCoverTheGridOnceWithoutSharingRows) {
  const auto strata = sgd_strata(13, 9, 4);
  std::set<std::pair<std::uint32_t, std::uint32_t>> blocks;
  for (const std::uint32_t shift : strata) {
    std::set<std::uint32_t> item_blocks;
    for (std::uint32_t p = 0; p < 13; ++p) {
      item_blocks.insert(sgd_item_block(p, shift, 13));
      blocks.emplace(p, sgd_item_block(p, shift, 13));
    }
    EXPECT_EQ(item_blocks.size(), 13U);
  }
  EXPECT_EQ(blocks.size(), 169U);
  EXPECT_EQ(strata, sgd_strata(13, 9, 4));
  EXPECT_NE(strata, sgd_strata(13, 9, 5));
  EXPECT_NE(strata, sgd_strata(13, 8, 4));
}

TEST(SgdOrder, BlocksGrowWithEntriesAndStopAtRows) {
  for (const SgdLimits& limits : {SgdLimits{}, cuda_sgd_limits()}) {
    EXPECT_EQ(sgd_blocks_per_side(0, 0, 0, limits), 1U);
    EXPECT_EQ(sgd_blocks_per_side(100, 100, 100, limits), 1U);
    std::uint32_t before = 1;
    for (EntryIndex entries = 1; entries < EntryIndex{1} << 40; entries *= 2) {
      const std::uint32_t count = sgd_blocks_per_side(entries, 1U << 30, 1U << 30, limits);
      EXPECT_GE(count, before) << entries;
      before = count;
    }
    EXPECT_EQ(before, limits.max_blocks_per_side);
    EXPECT_EQ(sgd_blocks_per_side(EntryIndex{1} << 40, 100, 3, limits), 3U);
    EXPECT_EQ(sgd_blocks_per_side(EntryIndex{1} << 40, 2, 100, limits), 2U);
  }
}

TEST(SgdOrder, ADeviceHasABlockForEachMultiprocessorFromFewMillionEntriesOn) {
  EXPECT_EQ(sgd_blocks_per_side(5'000'000, 100'000, 100'000, cuda_sgd_limits()), 132U);
  EXPECT_EQ(sgd_blocks_per_side(99'072'112, 480'189, 17'770, cuda_sgd_limits()), 132U);
}

}  // namespace
}  // namespace concerto::test
