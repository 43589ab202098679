// ALS steps against the reference: both inner solvers, every objective, awkward ranks and shapes, momentum, full runs.
#include "concerto/base/error.hpp"

#include "training.hpp"

namespace concerto::test {
namespace {

class Als : public ::testing::TestWithParam<ObjectiveCase> {
 protected:
  static const BackendCase& backend() { return std::get<0>(GetParam()); }
  static const NamedObjective& objective() { return std::get<1>(GetParam()); }

  /// Solves sides of a problem from equal factors and compares every row.
  static void compare(const Problem& problem, std::uint32_t rank, const SolverSettings& settings,
                      const std::vector<Side>& sides = {Side::kUsers, Side::kItems}) {
    if (!is_run(backend(), objective().name, rank)) return;
    SCOPED_TRACE(problem.name + ", rank " + std::to_string(rank) + ", " + settings.name());
    for (const Side side : sides) {
      const Computation compute = [&](Backend& on) {
        Training training(on, problem, objective().objective, rank, 11);
        training.solve(side, settings);
        return Outcome{{training.table(side)}, {}};
      };
      const std::string key = "als/" + objective().name + "/" + problem.name + "/" + std::to_string(rank) + "/" +
                              settings.name() + (side == Side::kUsers ? "/users" : "/items");
      const Outcome& expected = reference_outcome(backend(), key, compute);
      expect_rows_near(run_on(backend(), compute).tables[0], expected.tables[0], 1e-4,
                       settings.inner == InnerSolver::kCg ? kStartRounding : 0.0);
    }
  }
};

TEST_P(Als, CholeskyRowsAgree) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 128U, 129U}) {
    compare(problem_for_rank(rank, objective().values), rank, {.inner = InnerSolver::kCholesky});
  }
}

TEST_P(Als, CgRowsAgree) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 128U, 129U, 256U, 257U, 640U}) {
    compare(problem_for_rank(rank, objective().values), rank, {.inner = InnerSolver::kCg, .cg_steps = 3});
  }
}

TEST_P(Als, ManyCgStepsReachTheExactSolution) {
  const Problem problem = awkward_problem(31, 37, 300, objective().values, 4);
  const auto solve = [&](const SolverSettings& settings) {
    return [&problem, settings](Backend& on) {
      Training training(on, problem, objective().objective, 16, 11);
      training.solve(Side::kUsers, settings);
      return Outcome{{training.table(Side::kUsers)}, {}};
    };
  };
  const Outcome by_cg = run_on(backend(), solve({.inner = InnerSolver::kCg, .cg_steps = 200}));
  const Outcome exact =
      reference_outcome(backend(), "als/exact/" + objective().name, solve({.inner = InnerSolver::kCholesky}));
  expect_rows_near(by_cg.tables[0], exact.tables[0], 2e-4);
}

TEST_P(Als, MomentumAgrees) {
  const Problem problem = awkward_problem(31, 37, 300, objective().values, 5);
  compare(problem, 16, {.inner = InnerSolver::kCholesky, .momentum = 0.3});
  compare(problem, 16, {.inner = InnerSolver::kCg, .cg_steps = 2, .momentum = 0.3});
}

TEST_P(Als, SingleRowsAndColumnsAgree) {
  for (const auto& [users, items] : {std::pair(1U, 1U), std::pair(1U, 257U), std::pair(257U, 1U), std::pair(2U, 3U)}) {
    const Problem problem = awkward_problem(users, items, 300, objective().values, 6);
    compare(problem, 13, {.inner = InnerSolver::kCholesky});
    compare(problem, 13, {.inner = InnerSolver::kCg, .cg_steps = 3});
  }
}

TEST_P(Als, OnlyTheRowsAskedForChange) {
  const Problem problem = awkward_problem(67, 131, 900, objective().values, 7);
  run_on(backend(), [&](Backend& on) {
    Training whole(on, problem, objective().objective, 7, 11);
    Training part(on, problem, objective().objective, 7, 11);
    const FactorTable before = part.table(Side::kUsers);
    whole.solve(Side::kUsers, {.inner = InnerSolver::kCholesky});
    part.solve(Side::kUsers, {.inner = InnerSolver::kCholesky}, RowRange{5, 37});
    const FactorTable after_whole = whole.table(Side::kUsers);
    const FactorTable after_part = part.table(Side::kUsers);
    for (RowIndex r = 0; r < before.rows(); ++r) {
      const FactorTable& expected = r >= 5 && r < 37 ? after_whole : before;
      EXPECT_TRUE(std::ranges::equal(after_part.row(r), expected.row(r))) << "row " << r;
      EXPECT_EQ(after_part.bias(r), expected.bias(r)) << "row " << r;
    }
    return Outcome{};
  });
}

TEST_P(Als, FullRunsReachTheSameLoss) {
  if (!is_run_at_length(backend(), objective().name)) return;
  const Problem problem = awkward_problem(67, 131, 1500, objective().values, 8);
  for (const InnerSolver inner : {InnerSolver::kCholesky, InnerSolver::kCg}) {
    const SolverSettings settings{.inner = inner, .cg_steps = 3};
    const Computation compute = [&](Backend& on) {
      Training training(on, problem, objective().objective, 12, 11);
      for (int epoch = 0; epoch < 6; ++epoch) training.epoch(settings);
      return Outcome{{training.table(Side::kUsers), training.table(Side::kItems)}, {training.loss()}};
    };
    const double expected =
        reference_outcome(backend(), "als/run/" + settings.name() + objective().name, compute).numbers[0];
    EXPECT_NEAR(run_on(backend(), compute).numbers[0], expected, run_tolerance(backend()) * expected)
        << settings.name();
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Als,
                         ::testing::Combine(::testing::ValuesIn(optimized_backends()),
                                            ::testing::ValuesIn(all_objectives())),
                         objective_case_name);

class AlsLargeRank : public Als {};

TEST_P(AlsLargeRank, CholeskyRowsAgree) {
  for (const std::uint32_t rank : {256U, 257U, 640U}) {
    compare(problem_for_rank(rank, objective().values), rank, {.inner = InnerSolver::kCholesky});
  }
}

TEST_P(AlsLargeRank, CgRowsAgree) {
  const std::uint32_t rank = objective().objective.is_implicit() ? 1031 : 2048;
  compare(problem_for_rank(rank, objective().values), rank, {.inner = InnerSolver::kCg, .cg_steps = 3});
}

TEST_P(AlsLargeRank, CgStepsAgreeOneByOne) {
  compare(awkward_problem(31, 37, 300, objective().values, 13), 64, {.inner = InnerSolver::kCg, .cg_steps = 6});
}

TEST_P(AlsLargeRank, RowsTooLongToKeepBetweenCgStepsAgree) {
  // 9,001 entries of 16 floats; half of the table again in the other rows.
  std::vector<Entry> entries;
  Random random(3, 78);
  for (RowIndex item = 0; item < 9001; ++item) {
    for (RowIndex user = 0; user < 5; ++user) {
      if (user == 1 || (user != 4 && item % (user + 2) == 0)) {
        entries.push_back({user, item, draw_value(objective().values, random)});
      }
    }
  }
  compare(make_problem("giant", 5, 9001, entries, objective().values != Values::kNone), 16,
          {.inner = InnerSolver::kCg, .cg_steps = 3},
          backend().is_slow ? std::vector{Side::kUsers} : std::vector{Side::kUsers, Side::kItems});
}

INSTANTIATE_TEST_SUITE_P(Backends, AlsLargeRank,
                         ::testing::Combine(::testing::ValuesIn(optimized_backends()),
                                            ::testing::ValuesIn(main_objectives())),
                         objective_case_name);

class AlsDirect : public ::testing::TestWithParam<BackendCase> {};

TEST_P(AlsDirect, RowsWithoutCountedEntriesBecomeZero) {
  for (const NamedObjective& named : all_objectives()) {
    SCOPED_TRACE(named.name);
    const Problem problem = awkward_problem(67, 131, 900, named.values, 9);
    for (const InnerSolver inner : {InnerSolver::kCholesky, InnerSolver::kCg}) {
      run_on(GetParam(), [&](Backend& on) {
        Training training(on, problem, named.objective, 9, 11);
        training.solve(Side::kUsers, {.inner = inner, .momentum = 0.5});
        const FactorTable users = training.table(Side::kUsers);
        std::vector<RowIndex> empty = {0, 66};
        if (named.values == Values::kSigned) empty.push_back(3);
        for (const RowIndex r : empty) {
          EXPECT_EQ(norm(users.row(r)), 0.0) << "row " << r;
          EXPECT_EQ(users.bias(r), 0.0F) << "row " << r;
        }
        EXPECT_GT(norm(users.row(1)), 0.0);
        return Outcome{};
      });
    }
  }
}

TEST_P(AlsDirect, SingularSystemsGiveFiniteRowsOrAnError) {
  const Objective objective = explicit_objective("Singular", 0.0, 1.0, false).objective;
  const Problem problem = awkward_problem(31, 37, 120, Values::kRatings, 10);
  for (const InnerSolver inner : {InnerSolver::kCholesky, InnerSolver::kCg}) {
    run_on(GetParam(), [&](Backend& on) {
      Training training(on, problem, objective, 24, 11);
      try {
        training.solve(Side::kUsers, {.inner = inner, .cg_steps = 30});
      } catch (const Error& error) {
        EXPECT_EQ(inner, InnerSolver::kCholesky);
        EXPECT_NE(std::string(error.what()).find("regularization"), std::string::npos) << error.what();
        return Outcome{};
      }
      const FactorTable users = training.table(Side::kUsers);
      for (RowIndex r = 0; r < users.rows(); ++r) EXPECT_TRUE(std::isfinite(norm(users.row(r)))) << "row " << r;
      return Outcome{};
    });
  }
}

// Starts that no training gives, with next to no regularization: systems that single precision cannot solve.
TEST_P(AlsDirect, HugeStartsGiveFiniteRowsOrAnError) {
  for (const NamedObjective& named :
       {explicit_objective("Huge", 1e-3, 1.0, true), unobserved_objective("Huge", 1e-3, 1.0, Values::kNone)}) {
    const Problem problem = awkward_problem(31, 37, 300, named.values, 10);
    for (const SolverSettings settings :
         {SolverSettings{.inner = InnerSolver::kCholesky}, SolverSettings{.slice = 24}}) {
      for (const float start : {12345.0F, 1e17F, 1e30F}) {
        SCOPED_TRACE(named.name + ", " + settings.name() + ", start " + std::to_string(start));
        run_on(GetParam(), [&](Backend& on) {
          Training training(on, problem, named.objective, 48, 11);
          training.fill(Side::kUsers, start);
          training.fill(Side::kItems, start);
          try {
            training.solve(Side::kUsers, settings);
          } catch (const Error& error) {
            EXPECT_EQ(error.where(), "model.regularization");
            EXPECT_NE(error.message().find("positive definite"), std::string::npos) << error.message();
            return Outcome{};
          }
          const FactorTable users = training.table(Side::kUsers);
          for (RowIndex r = 0; r < users.rows(); ++r) {
            EXPECT_TRUE(std::ranges::all_of(users.row(r), [](float x) { return std::isfinite(x); })) << "row " << r;
          }
          return Outcome{};
        });
      }
    }
  }
}

TEST_P(AlsDirect, CholeskyBeyondItsRankIsRefused) {
  const Problem problem = awkward_problem(3, 4, 6, Values::kRatings, 12);
  run_on(GetParam(), [&](Backend& on) {
    Training training(on, problem, explicit_objective("Plain", 0.1, 1.0, false).objective, kMaxCholeskyRank + 1, 11);
    EXPECT_THROW(training.solve(Side::kUsers, {.inner = InnerSolver::kCholesky}), Error);
    return Outcome{};
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, AlsDirect, ::testing::ValuesIn(all_backends()), case_name);

}  // namespace
}  // namespace concerto::test
