// Ranking on the cpu backend against sorting all scores; ties, exclusions, short lists, and the same lists for any
// number of threads. Factors are small integers where orders must be exact.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backends.hpp"

namespace concerto {
namespace {

FactorTable integer_table(RowIndex rows, std::uint32_t rank, bool biases, std::uint64_t stream) {
  Random random(3, stream);
  FactorTable table({rows, rank, biases});
  for (RowIndex r = 0; r < rows; ++r) {
    for (float& value : table.row(r)) value = static_cast<float>(random.below(5)) - 2.0F;
    if (biases) table.biases()[r] = static_cast<float>(random.below(7)) - 3.0F;
  }
  return table;
}

/// Candidates 0, 5, 10, ... shifted by the row's number modulo 5.
CompressedMatrix every_fifth(RowIndex rows, RowIndex candidates) {
  CompressedMatrix matrix{rows, candidates, {0}, {}, {}};
  for (RowIndex r = 0; r < rows; ++r) {
    for (RowIndex c = r % 5; c < candidates; c += 5) matrix.columns.push_back(c);
    matrix.offsets.push_back(matrix.columns.size());
  }
  return matrix;
}

struct Setting {
  const FactorTable* queries;
  const FactorTable* candidates;
  std::vector<RowIndex> rows;
  const CompressedRows* exclude = nullptr;
  std::uint32_t k = 10;
  bool cosine = false;
  unsigned threads = 2;
};

TopKResult rank_on_backend(const Setting& setting) {
  ThreadPool pool(setting.threads);
  const auto backend = make_cpu_backend(pool);
  const auto queries = backend->create_table(setting.queries->shape());
  const auto candidates = backend->create_table(setting.candidates->shape());
  backend->write_rows(*queries, {0, setting.queries->rows()}, *setting.queries);
  backend->write_rows(*candidates, {0, setting.candidates->rows()}, *setting.candidates);
  TopKQuery query;
  query.queries = queries.get();
  query.rows = setting.rows;
  query.candidates = candidates.get();
  query.exclude = setting.exclude;
  query.k = setting.k;
  query.cosine = setting.cosine;
  return backend->top_k(query);
}

double exact_score(const Setting& setting, RowIndex q, RowIndex c) {
  const auto x = setting.queries->row(q);
  const auto y = setting.candidates->row(c);
  const double product = std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  if (!setting.cosine) return product + setting.candidates->bias(c);
  const double norms = std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0) *
                                 std::inner_product(y.begin(), y.end(), y.begin(), 0.0));
  return norms > 0.0 ? product / norms : 0.0;
}

/// All candidates that are not excluded, best first, ties to the lower row.
std::vector<RowIndex> sorted_candidates(const Setting& setting, RowIndex q) {
  std::vector<RowIndex> rows;
  for (RowIndex c = 0; c < setting.candidates->rows(); ++c) {
    const bool is_excluded =
        setting.exclude != nullptr && std::ranges::binary_search(setting.exclude->row_columns(q), c);
    if (!is_excluded) rows.push_back(c);
  }
  std::ranges::stable_sort(
      rows, [&](RowIndex a, RowIndex b) { return exact_score(setting, q, a) > exact_score(setting, q, b); });
  return rows;
}

void expect_exact_lists(const Setting& setting) {
  const TopKResult result = rank_on_backend(setting);
  ASSERT_EQ(result.candidates.size(), setting.rows.size() * setting.k);
  ASSERT_EQ(result.scores.size(), setting.rows.size() * setting.k);
  for (std::size_t q = 0; q < setting.rows.size(); ++q) {
    const std::vector<RowIndex> expected = sorted_candidates(setting, setting.rows[q]);
    for (std::size_t place = 0; place < setting.k; ++place) {
      const std::size_t at = q * setting.k + place;
      if (place < expected.size()) {
        EXPECT_EQ(result.candidates[at], expected[place]) << "query " << q << ", place " << place;
        EXPECT_EQ(result.scores[at], exact_score(setting, setting.rows[q], expected[place]));
      } else {
        EXPECT_EQ(result.candidates[at], kNoRow);
        EXPECT_EQ(result.scores[at], -std::numeric_limits<float>::infinity());
      }
    }
  }
}

std::vector<RowIndex> every_row(RowIndex rows) {
  std::vector<RowIndex> all(rows);
  std::iota(all.begin(), all.end(), 0U);
  return all;
}

TEST(TopK, BreaksTheManyTiesOfIntegerScoresByTheLowerRow) {
  const FactorTable queries = integer_table(300, 3, false, 1);
  const FactorTable candidates = integer_table(2500, 3, false, 2);
  expect_exact_lists({&queries, &candidates, every_row(300)});
}

TEST(TopK, AddsTheBiasOfTheCandidate) {
  const FactorTable queries = integer_table(40, 6, true, 1);
  const FactorTable candidates = integer_table(1100, 6, true, 2);
  expect_exact_lists({&queries, &candidates, every_row(40), nullptr, 25});
}

TEST(TopK, LeavesOutExcludedCandidatesOfRowsInAnyOrder) {
  const FactorTable queries = integer_table(40, 5, false, 1);
  const FactorTable candidates = integer_table(3000, 5, false, 2);
  const CompressedMatrix matrix = every_fifth(40, 3000);
  const CompressedRows exclude = matrix.view();
  expect_exact_lists({&queries, &candidates, {39, 7, 7, 0, 12}, &exclude, 100});
}

TEST(TopK, FillsMissingPlaces) {
  const FactorTable queries = integer_table(6, 5, false, 1);
  const FactorTable candidates = integer_table(20, 5, false, 2);
  const CompressedMatrix matrix = every_fifth(6, 20);
  const CompressedRows exclude = matrix.view();
  expect_exact_lists({&queries, &candidates, every_row(6), &exclude, 30});
}

TEST(TopK, RanksByAngleAndScoresZeroRowsZero) {
  const FactorTable queries = integer_table(20, 9, true, 1);
  FactorTable candidates = integer_table(1500, 9, true, 2);
  std::ranges::fill(candidates.row(17), 0.0F);
  Setting setting{&queries, &candidates, every_row(20), nullptr, 1500, true};
  const TopKResult result = rank_on_backend(setting);
  for (std::size_t q = 0; q < 20; ++q) {
    for (std::size_t place = 0; place < 1500; ++place) {
      const std::size_t at = q * 1500 + place;
      EXPECT_NEAR(result.scores[at], exact_score(setting, static_cast<RowIndex>(q), result.candidates[at]), 1e-6);
      EXPECT_TRUE(place == 0 || result.scores[at - 1] >= result.scores[at]);
      EXPECT_TRUE(result.candidates[at] != 17 || result.scores[at] == 0.0F);
    }
  }
}

TEST(TopK, GivesTheSameListsForAnyNumberOfThreads) {
  FactorTable queries({700, 37, false});
  FactorTable candidates({2100, 37, true});
  initialize(queries, Side::kUsers, 1, 1.0);
  initialize(candidates, Side::kItems, 1, 1.0);
  Setting setting{&queries, &candidates, every_row(700), nullptr, 20};
  setting.threads = 1;
  const TopKResult serial = rank_on_backend(setting);
  for (const unsigned threads : {2U, 5U}) {
    setting.threads = threads;
    const TopKResult parallel = rank_on_backend(setting);
    EXPECT_EQ(parallel.candidates, serial.candidates);
    EXPECT_EQ(parallel.scores, serial.scores);
  }
}

TEST(TopK, AnswersNothingForNoRowsOrNoPlaces) {
  const FactorTable table = integer_table(5, 4, false, 1);
  EXPECT_TRUE(rank_on_backend({&table, &table, {}}).candidates.empty());
  EXPECT_TRUE(rank_on_backend({&table, &table, {1}, nullptr, 0}).scores.empty());
}

}  // namespace
}  // namespace concerto
