// The prediction of GPU memory against what the cuda backend takes when it trains, on the host machine of support/simt.
#include "memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/train/trainer.hpp"

#include "row_solver.hpp"
#include "runtime.hpp"
#include "unit/train/small_data.hpp"

namespace concerto::cuda {
namespace {

using Solver = MemoryShape::Solver;

/// Arrays of a prediction are rounded as on a device, those of the host machine are not.
constexpr std::uint64_t kRounding = std::uint64_t{64} << 10;

struct Work {
  std::string name;
  Solver solver;
  std::uint32_t rank;
  bool is_implicit;
};
const std::vector<Work> kWork = {{"Cg", Solver::kCg, 20, false},
                                 {"CgImplicit", Solver::kCg, 20, true},
                                 {"Cholesky", Solver::kCholesky, 20, false},
                                 {"Subspace", Solver::kSubspace, 20, true},
                                 {"Sgd", Solver::kSgd, 20, false},
                                 {"LargeCg", Solver::kCg, 260, true},
                                 {"LargeCholesky", Solver::kCholesky, 260, false}};

MemoryShape shape_of(const Dataset& data, const Work& work) {
  MemoryShape shape;
  shape.users = data.users().size();
  shape.items = data.items().size();
  shape.entries = data.entries();
  shape.rank = work.rank;
  shape.values = data.has_values();
  shape.biases = !work.is_implicit;
  shape.is_implicit = work.is_implicit;
  shape.solver = work.solver;
  shape.slice = 16;
  return shape;
}

TrainOptions options_of(const MemoryShape& shape) {
  TrainOptions options;
  options.objective.kind = shape.is_implicit ? ObjectiveKind::kImplicitUnobserved : ObjectiveKind::kExplicit;
  options.objective.biases = shape.biases;
  options.rank = shape.rank;
  options.solver = SolverKind::kAls;
  if (shape.solver == Solver::kSubspace) options.solver = SolverKind::kSubspace;
  if (shape.solver == Solver::kSgd) options.solver = SolverKind::kSgd;
  options.inner = shape.solver == Solver::kCholesky ? InnerSolver::kCholesky : InnerSolver::kCg;
  options.cg_steps = 1;
  options.slice = shape.slice;
  options.epochs = 1;
  options.metrics = {parse_metric("recall@5")};
  if (!shape.is_implicit) options.metrics.push_back(parse_metric("rmse"));
  return options;
}

class MemoryOnCuda : public testing::TestWithParam<std::tuple<Work, Gather>> {};

std::string case_name(const testing::TestParamInfo<std::tuple<Work, Gather>>& info) {
  return std::get<0>(info.param).name + (std::get<1>(info.param) == Gather::kBf16 ? "Bf16" : "Fp32");
}

TEST_P(MemoryOnCuda, ATrainingTakesNoMoreThanPredicted) {
  const auto& [work, gather] = GetParam();
  const bool is_large = work.rank > kMostSystemWidth;  // and slow here
  const RowIndex users = is_large ? 40 : 150;
  const RowIndex items = is_large ? 30 : 90;
  const auto entries = test::planted_entries(users, items, 0.5, 5);
  const Dataset data = test::dataset_of(users, items, entries, !work.is_implicit);
  const HeldOut held_out = test::held_out_of(users, items, entries);
  const MemoryShape shape = shape_of(data, work);
  const auto backend = make_cuda_backend({.gather = gather});
  (void)train(*backend, data, &held_out, nullptr, options_of(shape), std::nullopt, {}, {});
  const std::uint64_t taken = backend->peak_device_bytes();
  const DeviceBytes predicted = predict_device_bytes(shape, gather);
  EXPECT_EQ(cuda_device_bytes(shape, gather), predicted.total());
  const std::uint64_t stored = predicted.ratings + predicted.tables + predicted.rows;
  EXPECT_LE(taken, stored + predicted.solving + predicted.measuring);
  EXPECT_LE(stored, taken + taken / 4 + kRounding);
  EXPECT_LE(stored + predicted.solving, taken + taken / 2 + kRounding);
}

INSTANTIATE_TEST_SUITE_P(All, MemoryOnCuda,
                         testing::Combine(testing::ValuesIn(kWork), testing::Values(Gather::kFp32, Gather::kBf16)),
                         case_name);

/// Three items that everybody rated: rows that are cut into segments.
TEST(MemoryOnCudaOfGiantRows, HoldsTheSumsOfTheirSegments) {
  constexpr RowIndex kUsers = kSegmentEntries + 800;
  std::vector<test::Entry> entries;
  for (RowIndex u = 0; u < kUsers; ++u) {
    for (RowIndex i = 0; i < 3; ++i) entries.push_back({u, i, 1.0F + static_cast<float>((u + i) % 5)});
  }
  const Dataset data = test::dataset_of(kUsers, 3, entries);
  const MemoryShape shape = shape_of(data, {"", Solver::kCholesky, 40, false});
  const auto backend = make_cuda_backend({.gather = Gather::kBf16});
  const auto by_user = backend->load_ratings(data.by_user());
  const auto by_item = backend->load_ratings(data.by_item());
  const auto users = backend->create_table({shape.users, shape.rank, shape.biases});
  const auto items = backend->create_table({shape.items, shape.rank, shape.biases});
  SolveStep step;
  step.ratings = by_item.get();
  step.fixed = users.get();
  step.target = items.get();
  step.rows = {0, shape.items};
  step.objective.biases = shape.biases;
  step.objective.regularization = 0.1;
  step.inner = InnerSolver::kCholesky;
  const std::uint64_t before = backend->peak_device_bytes();
  backend->solve_rows(step);
  const std::uint64_t taken = backend->peak_device_bytes();
  const DeviceBytes predicted = predict_device_bytes(shape, Gather::kBf16);
  EXPECT_GE(taken, before + 6 * 40 * 41 / 2 * sizeof(float));
  EXPECT_LE(taken, predicted.ratings + predicted.tables + predicted.rows + predicted.solving);
  EXPECT_LE(predicted.solving, 2 * (taken - before) + kRounding);
}

/// Many more entries than rows, so that the ratings weigh more than all else: one copy of them, and no orientation.
TEST(MemoryOnCudaOfSgd, IsAGridAndTwoTables) {
  constexpr RowIndex kUsers = 400;
  constexpr RowIndex kItems = 300;
  const auto entries = test::planted_entries(kUsers, kItems, 0.6, 5);
  const Dataset data = test::dataset_of(kUsers, kItems, entries);
  const MemoryShape shape = shape_of(data, {"", Solver::kSgd, 8, false});
  TrainOptions options = options_of(shape);
  options.metrics.clear();
  const auto backend = make_cuda_backend({.gather = Gather::kFp32});
  (void)train(*backend, data, nullptr, nullptr, options, std::nullopt, {}, {});
  const std::uint64_t taken = backend->peak_device_bytes();
  const DeviceBytes predicted = predict_device_bytes(shape, Gather::kFp32);
  const std::uint64_t stored = predicted.ratings + predicted.tables + predicted.rows;
  EXPECT_LE(taken, stored + predicted.measuring);
  EXPECT_LE(stored, taken + taken / 8 + kRounding);
  EXPECT_LE(taken, 5 * (2 * 8 * shape.entries + (kUsers + kItems) * 16 * sizeof(float)) / 4);
}

/// Both orientations and both tables, to the byte but for rounding.
TEST(MemoryPrediction, OfWhatIsStoredIsExact) {
  for (const bool values : {false, true}) {
    const Dataset data = test::planted_data(150, 90, 0.2, values);
    for (const Gather gather : {Gather::kFp32, Gather::kBf16}) {
      const MemoryShape shape = shape_of(data, {"", Solver::kCg, 67, !values});
      const auto backend = make_cuda_backend({.gather = gather});
      const auto by_user = backend->load_ratings(data.by_user());
      const auto by_item = backend->load_ratings(data.by_item());
      const DeviceBytes predicted = predict_device_bytes(shape, gather);
      EXPECT_GE(predicted.ratings, by_user->bytes() + by_item->bytes());
      EXPECT_LE(predicted.ratings, by_user->bytes() + by_item->bytes() + 6 * 512);
      const auto users = backend->create_table({shape.users, shape.rank, shape.biases});
      const auto items = backend->create_table({shape.items, shape.rank, shape.biases});
      EXPECT_GE(predicted.tables, users->bytes() + items->bytes());
      EXPECT_LE(predicted.tables, users->bytes() + items->bytes() + 8 * 512);
    }
  }
}

/// 480,189 users, 17,770 items and 99,072,112 ratings at rank 64: what README and configurations speak of.
MemoryShape netflix(Solver solver, std::uint32_t rank) {
  MemoryShape shape;
  shape.users = 480189;
  shape.items = 17770;
  shape.entries = 99072112;
  shape.rank = rank;
  shape.solver = solver;
  return shape;
}

TEST(MemoryPrediction, IsHeldByRatingsWhereTheyAreMany) {
  for (const Solver solver : {Solver::kCg, Solver::kCholesky}) {
    for (const std::uint32_t rank : {64U, 128U}) {
      const DeviceBytes bytes = predict_device_bytes(netflix(solver, rank), Gather::kBf16);
      const std::uint64_t stored = 2 * std::uint64_t{99072112} * 8 + std::uint64_t{480189 + 17770} * (8 + rank * 6);
      EXPECT_GE(bytes.ratings + bytes.tables, stored);
      EXPECT_LE(bytes.ratings + bytes.tables, stored + stored / 50);
      EXPECT_LE(bytes.total(), stored + stored / 2 + (std::uint64_t{512} << 20));
    }
  }
}

TEST(MemoryPrediction, OfSgdStaysNearBothOrientationsAndTheFactors) {
  for (const std::uint32_t rank : {64U, 128U}) {
    const MemoryShape shape = netflix(Solver::kSgd, rank);
    const std::uint64_t floor = 2 * shape.entries * 8 + std::uint64_t{480189 + 17770} * rank * sizeof(float);
    EXPECT_LE(cuda_device_bytes(shape, Gather::kBf16), floor + floor / 4);
    EXPECT_GE(predict_device_bytes(shape, Gather::kBf16).ratings, shape.entries * 8);
  }
}

TEST(MemoryPrediction, HasNoOverflowAndNoHoleAtTheEdges) {
  MemoryShape none;
  none.rank = 1;
  for (const Solver solver : {Solver::kCg, Solver::kCholesky, Solver::kSubspace, Solver::kSgd}) {
    none.solver = solver;
    EXPECT_GT(cuda_device_bytes(none, Gather::kBf16), 0U);
    EXPECT_LT(cuda_host_bytes(none), 4096U);
    MemoryShape most = netflix(solver, 65536);
    most.users = most.items = 4000000000U;
    most.entries = std::uint64_t{1} << 40;
    const std::uint64_t tables = 2 * std::uint64_t{4000000000U} * 65536 * 6;
    const std::uint64_t copies = solver == Solver::kSgd ? 1 : 2;
    EXPECT_GT(cuda_device_bytes(most, Gather::kBf16), tables + copies * (std::uint64_t{1} << 43));
    EXPECT_LT(cuda_device_bytes(most, Gather::kBf16), std::uint64_t{1} << 58);
    EXPECT_GT(cuda_host_bytes(most), std::uint64_t{1} << 37);
  }
}

TEST(MemoryPrediction, GrowsWithEachPart) {
  const MemoryShape plain = netflix(Solver::kCg, 64);
  const std::uint64_t least = cuda_device_bytes(plain, Gather::kFp32);
  EXPECT_GT(cuda_device_bytes(plain, Gather::kBf16), least);  // the shadow comes on top
  MemoryShape more = plain;
  more.biases = true;
  EXPECT_GT(cuda_device_bytes(more, Gather::kFp32), least);
  more = plain;
  more.values = false;
  EXPECT_LT(cuda_device_bytes(more, Gather::kFp32), least);
  more = plain;
  more.solver = Solver::kSgd;
  EXPECT_LT(predict_device_bytes(more, Gather::kFp32).ratings, predict_device_bytes(plain, Gather::kFp32).ratings);
  more.entries *= 2;
  EXPECT_GT(predict_device_bytes(more, Gather::kFp32).ratings, predict_device_bytes(plain, Gather::kFp32).ratings);
}

}  // namespace
}  // namespace concerto::cuda
