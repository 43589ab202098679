// ALS of the cpu backend where it can break by itself: equal bytes for any thread count, rows that end a solve, every
// instruction set on one problem. That it agrees with the reference is the conformance suite's.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"
#include "concerto/compute/backends.hpp"

#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::same_bytes;

/// Rows of every length from empty to all columns, values 1 to 5.
CompressedMatrix ragged_matrix(RowIndex rows, RowIndex columns) {
  CompressedMatrix matrix;
  matrix.rows = rows;
  matrix.column_count = columns;
  matrix.offsets.push_back(0);
  for (RowIndex r = 0; r < rows; ++r) {
    const RowIndex apart = r % 7 == 0 ? columns + 1 : r % 7 == 1 ? 1 : 3 + r % 11;
    for (RowIndex c = r % 3; c < columns && apart <= columns; c += apart) {
      matrix.columns.push_back(c);
      matrix.values.push_back(static_cast<float>(1 + (r * 31 + c * 17) % 5));
    }
    matrix.offsets.push_back(matrix.columns.size());
  }
  return matrix;
}

struct Problem {
  CompressedMatrix matrix;
  Objective objective;
  std::uint32_t rank = 64;
  InnerSolver inner = InnerSolver::kCholesky;
  double momentum = 0.0;
};

FactorTable solve(const Problem& problem, unsigned threads) {
  ThreadPool pool(threads);
  const auto backend = make_cpu_backend(pool);
  const bool biases = problem.objective.biases;
  const TableShape target_shape{problem.matrix.rows, problem.rank, biases};
  const TableShape fixed_shape{problem.matrix.column_count, problem.rank, biases};
  FactorTable target(target_shape);
  FactorTable fixed(fixed_shape);
  initialize(target, Side::kUsers, 3, 0.5);
  initialize(fixed, Side::kItems, 3, 0.5);
  const auto target_buffer = backend->create_table(target_shape);
  const auto fixed_buffer = backend->create_table(fixed_shape);
  backend->write_rows(*target_buffer, {0, target.rows()}, target);
  backend->write_rows(*fixed_buffer, {0, fixed.rows()}, fixed);
  const auto ratings = backend->load_ratings(problem.matrix.view());
  const auto gram = backend->gram(*fixed_buffer);
  SolveStep step;
  step.ratings = ratings.get();
  step.fixed = fixed_buffer.get();
  step.gram = gram.get();
  step.target = target_buffer.get();
  step.rows = {0, target.rows()};
  step.objective = problem.objective;
  step.inner = problem.inner;
  step.momentum = problem.momentum;
  backend->solve_rows(step);
  backend->read_rows(*target_buffer, step.rows, target);
  return target;
}

Objective implicit_alpha() {
  Objective objective;
  objective.kind = ObjectiveKind::kImplicitAlpha;
  objective.alpha = 2.0;
  objective.regularization = 0.5;
  objective.regularization_exponent = 0.0;
  return objective;
}

TEST(AlsRows, AnyThreadCountGivesTheSameBytes) {
  for (const InnerSolver inner : {InnerSolver::kCholesky, InnerSolver::kCg}) {
    for (const bool implicit : {false, true}) {
      Problem problem{ragged_matrix(200, 700), {}, 48, inner};
      if (implicit) problem.objective = implicit_alpha();
      problem.objective.biases = !implicit;
      const FactorTable alone = solve(problem, 1);
      EXPECT_GT(std::fabs(alone.row(1)[0]), 1e-4F);
      for (const unsigned threads : {2U, 5U}) EXPECT_TRUE(same_bytes(alone, solve(problem, threads)));
    }
  }
}

TEST(AlsRows, RowsWithoutCountedEntriesBecomeZero) {
  Problem problem{ragged_matrix(30, 50), implicit_alpha(), 20};
  for (EntryIndex e = problem.matrix.offsets[5]; e < problem.matrix.offsets[6]; ++e) problem.matrix.values[e] = -1.0F;
  for (const InnerSolver inner : {InnerSolver::kCholesky, InnerSolver::kCg}) {
    problem.inner = inner;
    problem.momentum = 0.3;
    const FactorTable solved = solve(problem, 2);
    for (const float value : solved.row(0)) EXPECT_EQ(value, 0.0F);
    for (const float value : solved.row(5)) EXPECT_EQ(value, 0.0F);
    EXPECT_NE(solved.row(4)[0], 0.0F);
  }
}

TEST(AlsRows, PaddingStaysZero) {
  Problem problem{ragged_matrix(20, 40), implicit_alpha(), 19};
  const FactorTable solved = solve(problem, 2);
  for (RowIndex r = 0; r < solved.rows(); ++r) {
    for (std::size_t c = 19; c < solved.stride(); ++c) EXPECT_EQ(solved.data()[r * solved.stride() + c], 0.0F);
  }
}

TEST(AlsRows, MomentumMovesBeyondTheSolution) {
  Problem problem{ragged_matrix(20, 40), {}, 16};
  problem.objective.biases = true;
  const FactorTable plain = solve(problem, 1);
  problem.momentum = 0.5;
  const FactorTable moved = solve(problem, 1);
  FactorTable start(plain.shape());
  initialize(start, Side::kUsers, 3, 0.5);
  for (std::size_t c = 0; c < 16; ++c) {
    EXPECT_NEAR(moved.row(1)[c], 1.5F * plain.row(1)[c] - 0.5F * start.row(1)[c], 1e-6F);
  }
  EXPECT_NEAR(moved.bias(1), 1.5F * plain.bias(1), 1e-6F);
}

TEST(AlsRows, FewCgStepsComeNearTheExactSolution) {
  Problem problem{ragged_matrix(24, 300), implicit_alpha(), 8};
  const FactorTable exact = solve(problem, 2);
  problem.inner = InnerSolver::kCg;
  const FactorTable three = solve(problem, 2);
  double apart = 0.0;
  double size = 0.0;
  for (RowIndex r = 0; r < exact.rows(); ++r) {
    for (std::size_t c = 0; c < 8; ++c) {
      apart += std::pow(exact.row(r)[c] - three.row(r)[c], 2);
      size += std::pow(exact.row(r)[c], 2);
    }
  }
  EXPECT_LT(std::sqrt(apart / size), 0.2);
  EXPECT_GT(apart, 0.0);
}

TEST(AlsRows, EveryInstructionSetSolvesAlike) {
  Problem problem{ragged_matrix(60, 400), implicit_alpha(), 67};
  const std::vector<std::string> sets = cpu_instruction_sets();
  ASSERT_FALSE(sets.empty());
  const FactorTable best = solve(problem, 2);
  for (const std::string& set : sets) {
    select_cpu_instruction_set(set);
    const FactorTable solved = solve(problem, 2);
    select_cpu_instruction_set("");
    for (RowIndex r = 0; r < best.rows(); ++r) {
      for (std::size_t c = 0; c < 67; ++c) EXPECT_NEAR(solved.row(r)[c], best.row(r)[c], 2e-5F) << set << " row " << r;
    }
  }
}

TEST(AlsRows, AnIndefiniteSystemIsAnErrorThatSaysWhatToChange) {
  Problem problem{ragged_matrix(20, 40), {}, 32};
  problem.objective.regularization = 0.0;
  try {
    (void)solve(problem, 2);
    FAIL() << "fewer entries than unknowns and no regularization were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    EXPECT_EQ(error.where(), "model.regularization");
    EXPECT_NE(error.message().find("not positive definite"), std::string::npos) << error.message();
  }
}

TEST(AlsRows, CholeskyRefusesRanksAboveItsLimit) {
  Problem problem{ragged_matrix(2, 3), {}, kMaxCholeskyRank + 1};
  try {
    (void)solve(problem, 1);
    FAIL() << "rank 1025 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(error.message().find("subspace"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace concerto
