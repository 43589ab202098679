// Subspace steps against the reference: slices that divide the rank and that do not, every objective, large ranks.
#include "training.hpp"

namespace concerto::test {
namespace {

class Subspace : public ::testing::TestWithParam<ObjectiveCase> {
 protected:
  static const BackendCase& backend() { return std::get<0>(GetParam()); }
  static const NamedObjective& objective() { return std::get<1>(GetParam()); }

  static void compare(const Problem& problem, std::uint32_t rank, std::uint32_t slice) {
    if (!is_run(backend(), objective().name, rank)) return;
    SCOPED_TRACE(problem.name + ", rank " + std::to_string(rank) + ", slice " + std::to_string(slice));
    for (const Side side : {Side::kUsers, Side::kItems}) {
      const Computation compute = [&](Backend& on) {
        Training training(on, problem, objective().objective, rank, 21);
        training.solve(side, {.slice = slice});
        return Outcome{{training.table(side)}, {}};
      };
      const std::string key = "subspace/" + objective().name + "/" + problem.name + "/" + std::to_string(rank) + "/" +
                              std::to_string(slice) + (side == Side::kUsers ? "/users" : "/items");
      const Outcome& expected = reference_outcome(backend(), key, compute);
      expect_rows_near(run_on(backend(), compute).tables[0], expected.tables[0], 1e-4, kStartRounding);
    }
  }
};

TEST_P(Subspace, RowsAgree) {
  for (const auto& [rank, slice] : {std::pair(1U, 128U), std::pair(7U, 3U), std::pair(64U, 16U), std::pair(67U, 64U),
                                    std::pair(67U, 1U), std::pair(7U, 1U), std::pair(128U, 128U), std::pair(129U, 128U),
                                    std::pair(256U, 128U), std::pair(257U, 100U)}) {
    if (backend().is_slow && rank == 67 && slice == 1) continue;  // 67 systems a row
    compare(problem_for_rank(rank, objective().values), rank, slice);
  }
}

TEST_P(Subspace, SingleRowsAndColumnsAgree) {
  for (const auto& [users, items] : {std::pair(1U, 1U), std::pair(1U, 257U), std::pair(257U, 1U), std::pair(2U, 3U)}) {
    compare(awkward_problem(users, items, 300, objective().values, 6), 13, 5);
  }
}

TEST_P(Subspace, OneSliceIsTheExactSolution) {
  const Problem problem = awkward_problem(31, 37, 300, objective().values, 4);
  const auto solve = [&](const SolverSettings& settings) {
    return [&problem, settings](Backend& on) {
      Training training(on, problem, objective().objective, 16, 21);
      training.solve(Side::kUsers, settings);
      return Outcome{{training.table(Side::kUsers)}, {}};
    };
  };
  const Outcome& exact =
      reference_outcome(backend(), "subspace/exact/" + objective().name, solve({.inner = InnerSolver::kCholesky}));
  expect_rows_near(run_on(backend(), solve({.slice = 16})).tables[0], exact.tables[0], 1e-4);
}

TEST_P(Subspace, FullRunsReachTheSameLoss) {
  if (!is_run_at_length(backend(), objective().name)) return;
  const Problem problem = awkward_problem(67, 131, 1500, objective().values, 8);
  const Computation compute = [&](Backend& on) {
    Training training(on, problem, objective().objective, 12, 21);
    for (int epoch = 0; epoch < 6; ++epoch) training.epoch({.slice = 5});
    return Outcome{{training.table(Side::kUsers), training.table(Side::kItems)}, {training.loss()}};
  };
  const double expected = reference_outcome(backend(), "subspace/run/" + objective().name, compute).numbers[0];
  EXPECT_NEAR(run_on(backend(), compute).numbers[0], expected, run_tolerance(backend()) * expected);
}

TEST_P(Subspace, RowsWithoutCountedEntriesBecomeZero) {
  const Problem problem = awkward_problem(67, 131, 900, objective().values, 9);
  run_on(backend(), [&](Backend& on) {
    Training training(on, problem, objective().objective, 9, 21);
    training.solve(Side::kUsers, {.slice = 4});
    const FactorTable users = training.table(Side::kUsers);
    std::vector<RowIndex> empty = {0, 66};
    if (objective().values == Values::kSigned) empty.push_back(3);
    for (const RowIndex r : empty) {
      EXPECT_EQ(norm(users.row(r)), 0.0) << "row " << r;
      EXPECT_EQ(users.bias(r), 0.0F) << "row " << r;
    }
    EXPECT_GT(norm(users.row(1)), 0.0);
    return Outcome{};
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, Subspace,
                         ::testing::Combine(::testing::ValuesIn(optimized_backends()),
                                            ::testing::ValuesIn(all_objectives())),
                         objective_case_name);

class SubspaceLargeRank : public Subspace {};

TEST_P(SubspaceLargeRank, RowsAgree) {
  compare(problem_for_rank(640, objective().values), 640, 128);
  compare(awkward_problem(5, 7, 15, objective().values, 3), 2048, 128);
  if (!objective().objective.is_implicit()) compare(awkward_problem(7, 11, 30, objective().values, 3), 8192, 128);
}

INSTANTIATE_TEST_SUITE_P(Backends, SubspaceLargeRank,
                         ::testing::Combine(::testing::ValuesIn(optimized_backends()),
                                            ::testing::ValuesIn(main_objectives())),
                         objective_case_name);

}  // namespace
}  // namespace concerto::test
