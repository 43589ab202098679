// Losses, penalties and errors of predictions on the cuda backend: what the conformance suite does not reach, because
// it needs rows longer than a piece, several chunks, little memory, or the same bytes under several orders of threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/compute/backends.hpp"

#include "chunk_sums.hpp"
#include "conformance/backends_under_test.hpp"
#include "conformance/problems.hpp"
#include "support/simt/machine.hpp"

namespace concerto::test {
namespace {

using cuda::ChunkPart;
using cuda::ChunkParts;
using cuda::EntryBatch;
using ::testing::ElementsAre;

/// A row of 5,000 entries between short and empty ones, over two chunks of 64 rows and a short one.
Problem giant_problem() {
  std::vector<Entry> entries;
  Random random(3, 9);
  for (RowIndex k = 0; k < 5000; ++k) {
    entries.push_back({66, static_cast<RowIndex>(random.below(90)), 0.5F * static_cast<float>(1 + random.below(9))});
  }
  for (const RowIndex user : {0U, 1U, 1U, 1U, 40U, 63U, 65U, 67U, 127U, 128U, 130U}) {
    for (RowIndex k = 0; k <= user % 37; ++k) {
      entries.push_back({user, static_cast<RowIndex>(random.below(90)), 0.5F * static_cast<float>(random.below(9))});
    }
  }
  return make_problem("giant", 131, 90, entries, true);
}

std::vector<double> measures(Backend& on, const Problem& problem, const Objective& objective, std::uint32_t rank) {
  const RowIndex users = problem.by_user.rows;
  const RowIndex items = problem.by_item.rows;
  const auto by_user = on.load_ratings(problem.by_user.view());
  const auto by_item = on.load_ratings(problem.by_item.view());
  const auto x = upload(on, random_table({users, rank, objective.biases}, 1));
  const auto y = upload(on, random_table({items, rank, objective.biases}, 2));
  const ErrorSums errors = on.prediction_errors(problem.by_user.view(), *x, *y, objective.mean, 1.0F, 4.5F);
  std::vector<double> numbers = {errors.squared, errors.absolute, on.penalty(*by_item, {0, items}, *y, objective)};
  for (const RowRange rows : {RowRange{0, users}, RowRange{0, 66}, RowRange{66, 67}, RowRange{2, 40}, RowRange{70, 70},
                              RowRange{64, users}}) {
    numbers.push_back(on.entry_loss(*by_user, rows, *x, *y, objective));
    numbers.push_back(on.penalty(*by_user, rows, *x, objective));
  }
  return numbers;
}

TEST(CudaLoss, AgreesWithTheReferenceWhateverTheOrderOfThreads) {
  const Problem problem = giant_problem();
  for (const NamedObjective& named : main_objectives()) {
    for (const std::uint32_t rank : {3U, 33U, 100U, 256U, 300U}) {
      SCOPED_TRACE(named.name + ", rank " + std::to_string(rank));
      const std::vector<double> expected = measures(*make_reference_backend(), problem, named.objective, rank);
      std::vector<double> first;
      for (const std::uint64_t schedule : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{12345}}) {
        simt::set_schedule(schedule);
        const std::vector<double> actual = measures(*make_cuda_backend({}), problem, named.objective, rank);
        if (first.empty()) first = actual;
        EXPECT_TRUE(same_bytes<double>(actual, first)) << "schedule " << schedule;
        if (rank > 100) break;
      }
      for (std::size_t k = 0; k < expected.size(); ++k) {
        EXPECT_NEAR(first[k], expected[k], 1e-5 * std::fabs(expected[k])) << "measure " << k;
      }
    }
  }
  simt::set_schedule(0);
}

TEST(CudaLoss, CountsABiasWhosePenaltyIsFarBelowItsCount) {
  Objective objective = explicit_objective("", 0.0, 0.0, true).objective;
  objective.bias_regularization = 1e-7;
  const Problem problem = giant_problem();
  const auto penalty = [&](Backend& on) {
    const auto by_user = on.load_ratings(problem.by_user.view());
    return on.penalty(*by_user, {0, 131}, *upload(on, random_table({131, 5, true}, 3)), objective);
  };
  const double expected = penalty(*make_reference_backend());
  EXPECT_GT(expected, 0.0);
  EXPECT_NEAR(penalty(*make_cuda_backend({})), expected, 1e-6 * expected);
}

TEST(CudaLoss, OfNoEntriesIsZero) {
  const Problem problem = make_problem("none", 70, 3, {}, false);
  const auto on = make_cuda_backend({});
  const Objective objective = main_objectives()[0].objective;
  const auto by_user = on->load_ratings(problem.by_user.view());
  const auto x = upload(*on, random_table({70, 8, true}, 1));
  const auto y = upload(*on, random_table({3, 8, true}, 2));
  EXPECT_EQ(on->entry_loss(*by_user, {0, 70}, *x, *y, objective), 0.0);
  const ErrorSums errors = on->prediction_errors(problem.by_user.view(), *x, *y, 0.0, 1.0F, 5.0F);
  EXPECT_EQ(errors.squared, 0.0);
  EXPECT_EQ(errors.absolute, 0.0);
}

TEST(CudaLoss, HeldOutEntriesNeedNotFitAtOnce) {
  std::vector<Entry> entries;
  Random random(8, 8);
  for (std::size_t k = 0; k < 40000; ++k) {
    entries.push_back({static_cast<RowIndex>(random.below(900)), static_cast<RowIndex>(random.below(20)),
                       static_cast<float>(random.below(5))});
  }
  for (const bool with_values : {true, false}) {
    const Problem problem = make_problem("held out", 900, 20, entries, with_values);
    const auto errors = [&](Backend& on) {
      const auto x = upload(on, random_table({900, 4, false}, 1));
      const auto y = upload(on, random_table({20, 4, false}, 2));
      const ErrorSums sums = on.prediction_errors(problem.by_user.view(), *x, *y, 2.0, 0.0F, 4.0F);
      return std::vector<double>{sums.squared, sums.absolute};
    };
    const std::vector<double> expected = errors(*make_reference_backend());
    const std::vector<double> whole = errors(*make_cuda_backend({}));
    // 320 KB of held-out entries in what 200 KB leave beside the tables.
    const auto little = make_cuda_backend({.memory_limit_bytes = 200000});
    EXPECT_TRUE(same_bytes<double>(errors(*little), whole));
    EXPECT_LE(little->peak_device_bytes(), 200000U);
    for (std::size_t k = 0; k < expected.size(); ++k) EXPECT_NEAR(whole[k], expected[k], 1e-5 * expected[k]);
  }
}

TEST(ChunkSums, CutsAtChunksAndThenIntoPieces) {
  // 130 rows: chunks of 64, 64 and 2; entries only in rows 3 (10 of them), 64 (4) and 129 (1).
  std::vector<EntryIndex> offsets(131, 15);
  for (RowIndex row = 0; row <= 129; ++row) offsets[row] = row <= 3 ? 0U : (row <= 64 ? 10U : 14U);
  const ChunkParts whole = cuda::cut_chunks(130, {0, 130}, offsets, 4);
  EXPECT_THAT(whole.parts, ElementsAre(ChunkPart{0, 10, 0, {0, 64}}, ChunkPart{10, 14, 3, {64, 128}},
                                       ChunkPart{14, 15, 4, {128, 130}}));
  EXPECT_EQ(whole.pieces, 5U);
  const ChunkParts part = cuda::cut_chunks(130, {4, 65}, offsets, 4);
  EXPECT_THAT(part.parts, ElementsAre(ChunkPart{10, 10, 0, {4, 64}}, ChunkPart{10, 14, 0, {64, 65}}));
  EXPECT_EQ(part.pieces, 1U);
  const ChunkParts rows = cuda::cut_chunks(130, {60, 130}, {}, 32);
  EXPECT_THAT(rows.parts, ElementsAre(ChunkPart{60, 64, 0, {60, 64}}, ChunkPart{64, 128, 1, {64, 128}},
                                      ChunkPart{128, 130, 3, {128, 130}}));
  EXPECT_EQ(rows.pieces, 4U);
  EXPECT_TRUE(cuda::cut_chunks(130, {7, 7}, offsets, 4).parts.empty());
  EXPECT_TRUE(cuda::cut_chunks(0, {0, 0}, {}, 4).parts.empty());
}

TEST(ChunkSums, BatchesHoldWholePiecesWithinTheirLimits) {
  std::vector<EntryIndex> offsets(131, 15);
  for (RowIndex row = 0; row <= 129; ++row) offsets[row] = row <= 3 ? 0U : (row <= 64 ? 10U : 14U);
  const ChunkParts cut = cuda::cut_chunks(130, {0, 130}, offsets, 4);
  EXPECT_THAT(cuda::cut_batches(cut, 100, 1000), ElementsAre(EntryBatch{0, 5, 0, 15, {0, 130}}));
  EXPECT_THAT(cuda::cut_batches(cut, 8, 1000),
              ElementsAre(EntryBatch{0, 2, 0, 8, {0, 64}}, EntryBatch{2, 5, 8, 15, {0, 130}}));
  EXPECT_THAT(cuda::cut_batches(cut, 100, 64),
              ElementsAre(EntryBatch{0, 3, 0, 10, {0, 64}}, EntryBatch{3, 4, 10, 14, {64, 128}},
                          EntryBatch{4, 5, 14, 15, {128, 130}}));
  EXPECT_EQ(cuda::cut_batches(cut, 0, 0).size(), 5U);
}

}  // namespace
}  // namespace concerto::test
