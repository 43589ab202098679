// ALS steps of large ranks of the cuda backend, on the host machine, against the reference backend: both inner solvers,
// every objective, both element types, momentum, batches of any size, rows of many pieces, singular systems. With bf16
// the fixed side is rounded first, so that both backends see equal rows.
#include "als_large.hpp"

#include <bit>
#include <numeric>

#include <gtest/gtest.h>

#include "concerto/base/error.hpp"

#include "conformance/backends_under_test.hpp"
#include "conformance/problems.hpp"
#include "large_plan.hpp"
#include "machine.hpp"

namespace concerto::test {
namespace {

using cuda::LargeScratch;

struct Settings {
  std::uint32_t rank = 257;
  Gather gather = Gather::kBf16;
  InnerSolver inner = InnerSolver::kCg;
  std::uint32_t cg_steps = 3;
  double momentum = 0.0;
  LargeScratch scratch = {};
};

/// Cuts values to what a bf16 holds.
FactorTable cut_to_bf16(FactorTable table) {
  for (RowIndex r = 0; r < table.rows(); ++r) {
    for (float& value : table.row(r)) value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xffff0000U);
  }
  return table;
}

/// Tables and ratings of one half-sweep over the users, on a backend.
class HalfSweep {
 public:
  HalfSweep(Backend& backend, const Problem& problem, const Objective& objective, const Settings& settings)
      : backend_(backend),
        objective_(objective),
        settings_(settings),
        shape_{problem.by_user.rows, settings.rank, objective.biases},
        ratings_(backend.load_ratings(problem.by_user.view())),
        fixed_(upload(backend, cut_to_bf16(random_table({problem.by_item.rows, settings.rank, objective.biases}, 12)))),
        target_(upload(backend, random_table(shape_, 11))),
        gram_(objective.is_implicit() ? backend.gram(*fixed_) : nullptr) {}

  [[nodiscard]] SolveStep step() const {
    return {.ratings = ratings_.get(),
            .fixed = fixed_.get(),
            .gram = gram_.get(),
            .target = target_.get(),
            .rows = {0, shape_.rows},
            .objective = objective_,
            .inner = settings_.inner,
            .cg_steps = settings_.cg_steps,
            .momentum = settings_.momentum};
  }
  [[nodiscard]] FactorTable table() const { return download(backend_, *target_, shape_); }
  [[nodiscard]] const Buffer& target() const { return *target_; }

 private:
  Backend& backend_;
  Objective objective_;
  Settings settings_;
  TableShape shape_;
  std::unique_ptr<Buffer> ratings_;
  std::unique_ptr<Buffer> fixed_;
  std::unique_ptr<Buffer> target_;
  std::unique_ptr<Buffer> gram_;
};

FactorTable by_reference(const Problem& problem, const Objective& objective, const Settings& settings) {
  const auto backend = make_reference_backend();
  HalfSweep sweep(*backend, problem, objective, settings);
  backend->solve_rows(sweep.step());
  return sweep.table();
}

/// Also holds the shadow against the master.
FactorTable by_cuda(const Problem& problem, const Objective& objective, const Settings& settings) {
  const cuda::Stream stream;
  cuda::MemoryPool pool;
  cuda::Dense dense(stream);
  const auto backend = make_cuda_backend({.gather = settings.gather});
  HalfSweep sweep(*backend, problem, objective, settings);
  cuda::solve_rows_large(pool, stream, dense, sweep.step(), settings.scratch);
  FactorTable table = sweep.table();
  const auto& buffer = cuda::buffer_as<cuda::TableBuffer>(&sweep.target());
  for (std::size_t at = 0; at < buffer.shadow.size(); ++at) {
    const float exact = buffer.master.data()[at];
    const float rounded = std::bit_cast<float>(std::uint32_t{buffer.shadow.data()[at]} << 16);
    EXPECT_NEAR(rounded, exact, std::abs(exact) / 256) << "element " << at << " of the shadow";
  }
  return table;
}

void compare(const Problem& problem, const Objective& objective, const Settings& settings, double tolerance = 1e-4) {
  SCOPED_TRACE(problem.name + ", rank " + std::to_string(settings.rank) +
               (settings.gather == Gather::kBf16 ? ", bf16" : ", fp32"));
  const double absolute = settings.inner == InnerSolver::kCg ? kStartRounding : 0.0;
  expect_rows_near(by_cuda(problem, objective, settings), by_reference(problem, objective, settings), tolerance,
                   absolute);
}

class CudaAlsLarge : public ::testing::TestWithParam<NamedObjective> {};

TEST_P(CudaAlsLarge, CgRowsAgree) {
  for (const Gather gather : {Gather::kBf16, Gather::kFp32}) {
    for (const std::uint32_t rank : {257U, 1031U, 2048U}) {
      compare(awkward_problem(9, 17, 50, GetParam().values, rank), GetParam().objective,
              {.rank = rank, .gather = gather});
    }
  }
}

TEST_P(CudaAlsLarge, CholeskyRowsAgree) {
  for (const Gather gather : {Gather::kBf16, Gather::kFp32}) {
    const std::uint32_t rank = gather == Gather::kBf16 ? 640 : 257;
    compare(awkward_problem(9, 17, 50, GetParam().values, rank), GetParam().objective,
            {.rank = rank, .gather = gather, .inner = InnerSolver::kCholesky});
  }
}

TEST_P(CudaAlsLarge, MomentumAgrees) {
  const Problem problem = awkward_problem(9, 17, 50, GetParam().values, 5);
  compare(problem, GetParam().objective, {.inner = InnerSolver::kCg, .momentum = 0.3});
  compare(problem, GetParam().objective, {.inner = InnerSolver::kCholesky, .momentum = 0.3});
}

TEST_P(CudaAlsLarge, BatchesAndOrderOfThreadsChangeNothing) {
  const Problem problem = awkward_problem(9, 70, 100, GetParam().values, 6);
  for (const InnerSolver inner : {InnerSolver::kCg, InnerSolver::kCholesky}) {
    Settings settings{.inner = inner, .momentum = 0.1};
    const FactorTable expected = by_cuda(problem, GetParam().objective, settings);
    settings.scratch = {.vector_bytes = 40000, .matrix_bytes = 1000000};
    for (const std::uint64_t schedule : {1U, 2U, 3U}) {
      simt::set_schedule(schedule);
      EXPECT_TRUE(same_bytes(by_cuda(problem, GetParam().objective, settings), expected)) << "schedule " << schedule;
    }
    simt::set_schedule(0);
  }
}

const auto kObjectiveName = [](const ::testing::TestParamInfo<NamedObjective>& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(Objectives, CudaAlsLarge, ::testing::ValuesIn(all_objectives()), kObjectiveName);

class CudaAlsLargest : public ::testing::TestWithParam<NamedObjective> {};

TEST_P(CudaAlsLargest, RowsOfManyPiecesAgree) {
  std::vector<Entry> entries;
  Random random(3, 78);
  for (RowIndex item = 0; item < 4700; ++item) {
    for (RowIndex user = 0; user < 4; ++user) {
      if (user == 1 || item % (11 * user + 5) == 0) {
        entries.push_back({user, item, draw_value(GetParam().values, random)});
      }
    }
  }
  const Problem problem = make_problem("giant", 4, 4700, entries, GetParam().values != Values::kNone);
  compare(problem, GetParam().objective, {.inner = InnerSolver::kCg});
  compare(problem, GetParam().objective, {.gather = Gather::kFp32, .inner = InnerSolver::kCholesky});
}

TEST_P(CudaAlsLargest, CholeskyRowsAgreeAtItsLastRank) {
  const Problem problem = awkward_problem(4, 17, 30, GetParam().values, 8);
  compare(problem, GetParam().objective,
          {.rank = kMaxCholeskyRank, .gather = Gather::kBf16, .inner = InnerSolver::kCholesky});
}

/// Wider than the registers of a block in both element types.
TEST_P(CudaAlsLargest, CgRowsAgreeAtRanksOfSeveralPanels) {
  for (const auto& [rank, gather] :
       {std::pair(4400U, Gather::kFp32), std::pair(4400U, Gather::kBf16), std::pair(8300U, Gather::kBf16)}) {
    if (GetParam().objective.is_implicit() && rank > 5000) continue;  // the reference's Gram takes half a gigabyte
    compare(awkward_problem(3, 7, 9, GetParam().values, 9), GetParam().objective,
            {.rank = rank, .gather = gather, .cg_steps = 2});
  }
}

/// Cholesky below the ranks it is meant for: one tile, and one that is hardly filled.
TEST_P(CudaAlsLargest, SmallRanksAgreeToo) {
  for (const std::uint32_t rank : {1U, 16U, 63U, 64U, 65U, 129U}) {
    const Problem problem = awkward_problem(13, 37, 200, GetParam().values, rank);
    compare(problem, GetParam().objective, {.rank = rank, .inner = InnerSolver::kCholesky});
    compare(problem, GetParam().objective, {.rank = rank, .inner = InnerSolver::kCg});
  }
}

INSTANTIATE_TEST_SUITE_P(Objectives, CudaAlsLargest, ::testing::ValuesIn(main_objectives()), kObjectiveName);

TEST(CudaAlsLargeDirect, ManyCgStepsReachTheExactSolution) {
  for (const NamedObjective& named : main_objectives()) {
    SCOPED_TRACE(named.name);
    const Problem problem = awkward_problem(9, 17, 50, named.values, 4);
    Settings settings{.inner = InnerSolver::kCg, .cg_steps = 100};
    const FactorTable by_cg = by_cuda(problem, named.objective, settings);
    settings.inner = InnerSolver::kCholesky;
    expect_rows_near(by_cg, by_reference(problem, named.objective, settings), 2e-4);
  }
}

TEST(CudaAlsLargeDirect, NoCgStepsKeepTheRow) {
  const NamedObjective named = explicit_objective("Biased", 0.1, 1.0, true);
  compare(awkward_problem(9, 17, 50, named.values, 4), named.objective, {.cg_steps = 0});
}

TEST(CudaAlsLargeDirect, SingularSystemsGiveFiniteRowsByCgAndAnErrorByCholesky) {
  const Objective objective = explicit_objective("Singular", 0.0, 1.0, false).objective;
  const Problem problem = awkward_problem(9, 17, 50, Values::kRatings, 10);
  const FactorTable users = by_cuda(problem, objective, {.inner = InnerSolver::kCg, .cg_steps = 30});
  for (RowIndex r = 0; r < users.rows(); ++r) EXPECT_TRUE(std::isfinite(norm(users.row(r)))) << "row " << r;
  try {
    (void)by_cuda(problem, objective, {.inner = InnerSolver::kCholesky});
    FAIL() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "model.regularization");
    EXPECT_NE(error.message().find("stored row 1 (17 entries)"), std::string::npos)
        << error.message();  // row 0 is empty
  }
}

TEST(CudaAlsLargeDirect, RowsWithoutCountedEntriesBecomeZero) {
  for (const NamedObjective& named : all_objectives()) {
    SCOPED_TRACE(named.name);
    const Problem problem = awkward_problem(9, 17, 50, named.values, 9);
    const FactorTable users = by_cuda(problem, named.objective, {.momentum = 0.5});
    std::vector<RowIndex> empty = {0, 8};
    if (named.values == Values::kSigned) empty.push_back(3);
    for (const RowIndex r : empty) {
      EXPECT_EQ(norm(users.row(r)), 0.0) << "row " << r;
      EXPECT_EQ(users.bias(r), 0.0F) << "row " << r;
    }
    EXPECT_GT(norm(users.row(1)), 0.0);
  }
}

TEST(CudaAlsLargeDirect, CholeskyBeyondItsRankIsRefused) {
  const Objective objective = explicit_objective("Plain", 0.1, 1.0, false).objective;
  const Problem problem = awkward_problem(3, 4, 6, Values::kRatings, 12);
  EXPECT_THROW(by_cuda(problem, objective, {.rank = kMaxCholeskyRank + 1, .inner = InnerSolver::kCholesky}), Error);
}

TEST(LargePlan, CutsRowsIntoPiecesAndFillsBatches) {
  // No entry, one, a piece, a piece and one, many, too many, none that counts.
  const std::vector<EntryIndex> lengths = {0, 1, 512, 513, 5000, 512 * 512 * 3, 7};
  std::vector<EntryIndex> offsets(lengths.size() + 1, 0);
  std::partial_sum(lengths.begin(), lengths.end(), offsets.begin() + 1);
  std::vector<EntryIndex> counted = lengths;
  counted.back() = 0;
  const cuda::LargePlan plan = cuda::plan_large_rows(offsets, counted, {0, 7}, {.rows = 2, .pieces = 12});
  EXPECT_EQ(plan.empty, (std::vector<RowIndex>{0, 6}));
  ASSERT_EQ(plan.rows.size(), 5U);
  EXPECT_EQ(plan.rows[0], (cuda::LargeRow{1, 0, 1}));
  EXPECT_EQ(plan.rows[1], (cuda::LargeRow{2, 1, 1}));
  EXPECT_EQ(plan.rows[2], (cuda::LargeRow{3, 0, 2}));
  EXPECT_EQ(plan.rows[3], (cuda::LargeRow{4, 2, 10}));
  EXPECT_EQ(plan.rows[4], (cuda::LargeRow{5, 0, cuda::kMostPieces}));
  ASSERT_EQ(plan.batches.size(), 3U);
  EXPECT_EQ(plan.most_rows, 2U);
  EXPECT_EQ(plan.most_pieces, cuda::kMostPieces);
  EXPECT_EQ(plan.longs, (std::vector<std::uint32_t>{1, 0}));
  for (const cuda::LargeBatch& batch : plan.batches) {
    for (std::size_t r = batch.first_row; r < batch.first_row + batch.rows; ++r) {
      EntryIndex at = offsets[plan.rows[r].row];
      for (std::uint32_t p = 0; p < plan.rows[r].pieces; ++p) {
        const cuda::LargePiece& piece = plan.pieces[batch.first_piece + plan.rows[r].first_piece + p];
        EXPECT_EQ(piece.begin, at);
        EXPECT_GT(piece.length, 0U);
        EXPECT_EQ(piece.slot, r - batch.first_row);
        at += piece.length;
      }
      EXPECT_EQ(at, offsets[plan.rows[r].row + 1]);
    }
  }
}

}  // namespace
}  // namespace concerto::test
