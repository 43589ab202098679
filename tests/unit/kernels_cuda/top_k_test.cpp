// Ranking by the cuda backend on the host machine, against a plain sort: lists of every length by each way to rank,
// thousands of equal scores where the list ends, orders of ties, exclusions, short and empty lists, pieces and batches,
// and the same bytes whatever the order in which threads run. Factors are small whole numbers where orders must be
// exact.
#include "top_k.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/compute/backends.hpp"

#include "machine.hpp"

namespace concerto {
namespace {

using cuda::PlaceOrder;

constexpr float kNone = -std::numeric_limits<float>::infinity();

FactorTable integer_table(RowIndex rows, std::uint32_t rank, bool biases, std::uint64_t stream) {
  Random random(3, stream);
  FactorTable table({rows, rank, biases});
  for (RowIndex r = 0; r < rows; ++r) {
    for (float& value : table.row(r)) value = static_cast<float>(random.below(5)) - 2.0F;
    if (biases) table.biases()[r] = static_cast<float>(random.below(7)) - 3.0F;
  }
  return table;
}

/// Queries of rank 1 whose only factor is 1: a candidate's score is its factor.
FactorTable ones(RowIndex rows) {
  FactorTable table({rows, 1, false});
  for (RowIndex r = 0; r < rows; ++r) table.row(r)[0] = 1.0F;
  return table;
}

template <class ScoreOf>
FactorTable scored(RowIndex rows, const ScoreOf& score_of) {
  FactorTable table({rows, 1, false});
  for (RowIndex r = 0; r < rows; ++r) table.row(r)[0] = score_of(r);
  return table;
}

/// Candidates r % step, r % step + step, ... of each row r.
CompressedMatrix every_nth(RowIndex rows, RowIndex candidates, RowIndex step) {
  CompressedMatrix matrix{rows, candidates, {0}, {}, {}};
  for (RowIndex r = 0; r < rows; ++r) {
    for (RowIndex c = r % step; c < candidates; c += step) matrix.columns.push_back(c);
    matrix.offsets.push_back(matrix.columns.size());
  }
  return matrix;
}

struct Setting {
  const FactorTable* queries;
  const FactorTable* candidates;
  std::vector<RowIndex> rows;
  std::uint32_t k = 10;
  const CompressedMatrix* exclude = nullptr;
  std::vector<RowIndex> tie_order = {};
  bool cosine = false;
  Gather gather = Gather::kFp32;
};

TopKResult rank(const Setting& setting) {
  const auto backend = make_cuda_backend({.gather = setting.gather});
  const auto queries = backend->create_table(setting.queries->shape());
  const auto candidates = backend->create_table(setting.candidates->shape());
  backend->write_rows(*queries, {0, setting.queries->rows()}, *setting.queries);
  backend->write_rows(*candidates, {0, setting.candidates->rows()}, *setting.candidates);
  const CompressedRows exclude = setting.exclude == nullptr ? CompressedRows{} : setting.exclude->view();
  return backend->top_k({.queries = queries.get(),
                         .rows = setting.rows,
                         .candidates = candidates.get(),
                         .exclude = setting.exclude == nullptr ? nullptr : &exclude,
                         .k = setting.k,
                         .cosine = setting.cosine,
                         .tie_order = setting.tie_order});
}

float exact_score(const Setting& setting, RowIndex q, RowIndex c) {
  const auto x = setting.queries->row(q);
  const auto y = setting.candidates->row(c);
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0F) + setting.candidates->bias(c);
}

/// The lists by sorting everything.
TopKResult by_sorting(const Setting& setting) {
  TopKResult result;
  const RowIndex count = setting.candidates->rows();
  const auto place_of = [&](RowIndex c) { return setting.tie_order.empty() ? c : setting.tie_order[c]; };
  for (const RowIndex q : setting.rows) {
    std::vector<bool> is_excluded(count, false);
    if (setting.exclude != nullptr) {
      for (const RowIndex c : setting.exclude->view().row_columns(q)) is_excluded[c] = true;
    }
    std::vector<std::pair<float, RowIndex>> scored;
    for (RowIndex c = 0; c < count; ++c) {
      if (!is_excluded[c]) scored.emplace_back(exact_score(setting, q, c), c);
    }
    std::ranges::sort(scored, [&](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : place_of(a.second) < place_of(b.second);
    });
    for (std::uint32_t place = 0; place < setting.k; ++place) {
      result.candidates.push_back(place < scored.size() ? scored[place].second : kNoRow);
      result.scores.push_back(place < scored.size() ? scored[place].first : kNone);
    }
  }
  return result;
}

void expect_sorted_lists(const Setting& setting) {
  SCOPED_TRACE("k " + std::to_string(setting.k) + " of " + std::to_string(setting.candidates->rows()));
  const TopKResult expected = by_sorting(setting);
  const TopKResult actual = rank(setting);
  EXPECT_EQ(actual.candidates, expected.candidates);
  EXPECT_EQ(actual.scores, expected.scores);
}

std::vector<RowIndex> every_row(RowIndex rows) {
  std::vector<RowIndex> all(rows);
  std::iota(all.begin(), all.end(), 0U);
  return all;
}

// Two tiles and a little; 5,000 is longer than a block selects, 40,000 than there are candidates.
constexpr RowIndex kMany = 26001;
constexpr std::uint32_t kLengths[] = {1, 10, 100, 384, 385, 1100, 2048, 2049, 5000, 40000};

TEST(CudaTopK, ListsOfEveryLengthWithManyTies) {
  const FactorTable queries = integer_table(9, 5, false, 1);
  const FactorTable candidates = integer_table(kMany, 5, true, 2);
  const CompressedMatrix exclude = every_nth(9, kMany, 7);
  const std::vector<RowIndex> order = random_permutation(kMany, 5, 1);
  for (const std::uint32_t k : kLengths) {
    expect_sorted_lists({&queries, &candidates, {8, 3}, k});
    expect_sorted_lists({&queries, &candidates, {0, 5}, k, &exclude, order});
  }
}

TEST(CudaTopK, DistinctScoresInEveryOrder) {
  const FactorTable query = ones(1);
  const std::vector<RowIndex> shuffled = random_permutation(kMany, 9, 1);
  const FactorTable orders[] = {
      scored(kMany, [](RowIndex c) { return static_cast<float>(c) - 9000.0F; }),  // each tile better than all before
      scored(kMany, [](RowIndex c) { return -0.5F * static_cast<float>(c); }),
      scored(kMany, [&](RowIndex c) { return static_cast<float>(shuffled[c]) * 0.25F - 1000.0F; }),
  };
  for (const FactorTable& candidates : orders) {
    for (const std::uint32_t k : kLengths) expect_sorted_lists({&query, &candidates, {0}, k});
  }
}

TEST(CudaTopK, TiesWhereTheListEndsGoByTheirOrder) {
  const FactorTable query = ones(1);
  // 40 better ones, spread; all others equal.
  const FactorTable candidates = scored(kMany, [](RowIndex c) { return c % 650 == 649 ? 2.0F : 1.0F; });
  const FactorTable equal = scored(kMany, [](RowIndex) { return -3.0F; });
  std::vector<RowIndex> backwards(kMany);
  for (RowIndex c = 0; c < kMany; ++c) backwards[c] = kMany - 1 - c;
  const std::vector<RowIndex> shuffled = random_permutation(kMany, 11, 1);
  for (const std::uint32_t k : {1U, 41U, 100U, 1100U, 2048U, 2049U}) {
    for (const std::vector<RowIndex>& order : {std::vector<RowIndex>{}, backwards, shuffled}) {
      expect_sorted_lists({&query, &candidates, {0}, k, nullptr, order});
      expect_sorted_lists({&query, &equal, {0}, k, nullptr, order});
    }
  }
}

/// One query's list of k from scores as they are, by either way.
TopKResult rank_scores(std::vector<float> scores, std::uint32_t k, bool by_sorting) {
  const auto candidates = static_cast<RowIndex>(scores.size());
  scores.resize(cuda::score_stride(candidates), std::numeric_limits<float>::quiet_NaN());
  const cuda::Stream stream;
  cuda::MemoryPool pool;
  cuda::DeviceArray<float> given(pool, stream, std::span<const float>(scores), "scores");
  cuda::DeviceArray<std::uint64_t> keys(pool, candidates, "keys");
  cuda::DeviceArray<RowIndex> list(pool, k, "list");
  cuda::DeviceArray<float> list_scores(pool, k, "list");
  cuda::RankBatch batch;
  batch.scores = given.data();
  batch.queries = 1;
  batch.candidates = candidates;
  batch.k = k;
  batch.out_candidates = list.data();
  batch.out_scores = list_scores.data();
  if (by_sorting) {
    cuda::rank_by_sorting(stream, pool, batch, keys.data());
  } else {
    cuda::rank_by_selection(stream, batch);
  }
  TopKResult result{std::vector<RowIndex>(k), std::vector<float>(k)};
  cuda::copy_to_host(stream, result.candidates.data(), list.data(), k * sizeof(RowIndex));
  cuda::copy_to_host(stream, result.scores.data(), list_scores.data(), k * sizeof(float));
  stream.wait();
  return result;
}

TEST(CudaTopK, NegativeZeroTiesWithZero) {
  std::vector<float> scores(3000);
  for (std::size_t c = 0; c < scores.size(); ++c) scores[c] = c % 3 == 0 ? -0.0F : 0.0F;
  for (const std::uint32_t k : {5U, 700U, 2048U}) {
    for (const bool by_sorting : {false, true}) {
      const TopKResult result = rank_scores(scores, k, by_sorting);
      EXPECT_EQ(result.candidates, every_row(k));
      for (const float score : result.scores) EXPECT_EQ(std::bit_cast<std::uint32_t>(score), 0U);
    }
  }
}

TEST(CudaTopK, BothWaysToRankAgree) {
  Random random(4, 1);
  std::vector<float> scores(30011);
  for (float& score : scores) score = static_cast<float>(random.normal());
  for (std::size_t c = 0; c < scores.size(); c += 50) scores[c] = 1.5F;  // ties among the best
  for (const std::uint32_t k : {1U, 128U, 129U, 500U, 2048U}) {
    const TopKResult selected = rank_scores(scores, k, false);
    const TopKResult sorted = rank_scores(scores, k, true);
    EXPECT_EQ(selected.candidates, sorted.candidates) << k;
    EXPECT_EQ(selected.scores, sorted.scores) << k;
  }
}

TEST(CudaTopK, ExtremeScoresAreScores) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float values[] = {-infinity, -std::numeric_limits<float>::max(), -1e-40F,
                          1e-40F,    std::numeric_limits<float>::max(),  infinity,
                          0.0F};
  FactorTable query({1, 1, false});
  FactorTable candidates({700, 1, true});  // scores are biases
  for (RowIndex c = 0; c < 700; ++c) candidates.biases()[c] = values[c % 7];
  const CompressedMatrix exclude = every_nth(1, 700, 3);
  for (const std::uint32_t k : {3U, 300U, 466U, 467U, 700U, 701U}) {
    expect_sorted_lists({&query, &candidates, {0}, k, &exclude});
  }
}

TEST(CudaTopK, WhatIsNotANumberComesLastAndIsNotMistakenForExcluded) {
  const float infinity = std::numeric_limits<float>::infinity();
  const FactorTable query = ones(1);
  FactorTable candidates({5, 1, true});
  for (RowIndex c = 0; c < 5; ++c) candidates.row(c)[0] = static_cast<float>(c);
  candidates.row(1)[0] = infinity;
  candidates.biases()[1] = -infinity;
  const CompressedMatrix exclude{1, 5, {0, 1}, {4}, {}};
  const TopKResult result = rank({&query, &candidates, {0}, 5, &exclude});
  EXPECT_EQ(result.candidates, (std::vector<RowIndex>{3, 2, 0, 1, kNoRow}));
  EXPECT_EQ(result.scores, (std::vector<float>{3.0F, 2.0F, 0.0F, kNone, kNone}));
}

TEST(CudaTopK, ExcludedCandidatesAreLeftOutHoweverGood) {
  const FactorTable queries = ones(3);
  const FactorTable candidates = scored(kMany, [](RowIndex c) { return static_cast<float>(c % 5000); });
  CompressedMatrix exclude{3, kMany, {0}, {}, {}};
  for (RowIndex c = 0; c < kMany; ++c) {  // row 0: all that is good, some twice
    if (c % 5000 >= 1000) exclude.columns.insert(exclude.columns.end(), 1 + (c % 3 == 0), c);
  }
  exclude.offsets.push_back(exclude.columns.size());
  for (RowIndex c = 0; c < kMany; ++c) exclude.columns.push_back(c);  // row 1: everything
  exclude.offsets.push_back(exclude.columns.size());
  for (RowIndex c = 20; c < kMany; ++c) exclude.columns.push_back(c);  // row 2: all but 20
  exclude.offsets.push_back(exclude.columns.size());
  for (const std::uint32_t k : {1U, 100U, 2048U, 2049U}) {
    expect_sorted_lists({&queries, &candidates, {0, 1, 2}, k, &exclude});
    expect_sorted_lists({&queries, &candidates, {2, 0, 0, 1}, k, &exclude});
  }
}

TEST(CudaTopK, RepeatedQueriesInAnyOrder) {
  const FactorTable queries = integer_table(40, 17, true, 1);
  const FactorTable candidates = integer_table(333, 17, false, 2);
  const CompressedMatrix exclude = every_nth(40, 333, 5);
  std::vector<RowIndex> rows;
  for (RowIndex i = 0; i < 100; ++i) rows.push_back(i * 7 % 40 / 2);
  expect_sorted_lists({&queries, &candidates, rows, 25, &exclude});
}

TEST(CudaTopK, FewCandidatesLeavePlacesEmpty) {
  for (const RowIndex count : {1U, 2U, 3U, 5U, 31U, 33U, 127U}) {
    const FactorTable queries = integer_table(3, 4, false, 1);
    const FactorTable candidates = integer_table(count, 4, true, 2);
    for (const std::uint32_t k : {1U, 32U, 130U, 3000U}) {
      expect_sorted_lists({&queries, &candidates, every_row(3), k});
    }
  }
}

TEST(CudaTopK, NothingForNoQueriesNoPlacesOrNoCandidates) {
  const FactorTable table = integer_table(5, 4, false, 1);
  const FactorTable empty({0, 4, false});
  EXPECT_TRUE(rank({&table, &table, {}}).candidates.empty());
  EXPECT_TRUE(rank({&table, &table, {1}, 0}).scores.empty());
  expect_sorted_lists({&table, &empty, {1, 2}, 3});
}

TEST(CudaTopK, AnOrderOfTiesThatIsNoPermutationIsAnOrder) {
  const PlaceOrder order = cuda::place_order(std::vector<RowIndex>{7, 3, 7, 0});
  EXPECT_EQ(order.places, (std::vector<RowIndex>{2, 1, 3, 0}));
  EXPECT_EQ(order.rows, (std::vector<RowIndex>{3, 1, 0, 2}));
  const PlaceOrder inverse = cuda::place_order(std::vector<RowIndex>{2, 0, 1});
  EXPECT_EQ(inverse.places, (std::vector<RowIndex>{2, 0, 1}));
  EXPECT_EQ(inverse.rows, (std::vector<RowIndex>{1, 2, 0}));
  EXPECT_TRUE(cuda::place_order({}).places.empty());
}

TEST(CudaTopK, ListsLongerThanOnePieceHolds) {
  const FactorTable queries = integer_table(25, 2, false, 1);
  const FactorTable candidates = integer_table(100003, 2, false, 2);
  const CompressedMatrix exclude = every_nth(25, 100003, 9);
  ASSERT_LT(cuda::piece_end(every_row(25), 0, 64, 100003, nullptr), 25U);
  expect_sorted_lists({&queries, &candidates, every_row(25), 100010, &exclude});
}

TEST(CudaTopK, ReadsTheRoundedRowsWithBf16) {
  FactorTable queries = integer_table(6, 33, false, 1);
  FactorTable candidates = integer_table(900, 33, true, 2);
  expect_sorted_lists({&queries, &candidates, {5, 1}, 50, nullptr, {}, false, Gather::kBf16});
  queries.row(0)[0] = 1.001F;  // 1 in bf16
  const TopKResult rounded = rank({&queries, &candidates, {0}, 900, nullptr, {}, false, Gather::kBf16});
  queries.row(0)[0] = 1.0F;
  const TopKResult whole = rank({&queries, &candidates, {0}, 900, nullptr, {}, false, Gather::kBf16});
  EXPECT_EQ(rounded.scores, whole.scores);
}

TEST(CudaTopK, CosineDividesByBothNormsOfTheRowsItReads) {
  for (const Gather gather : {Gather::kFp32, Gather::kBf16}) {
    for (const std::uint32_t k : {150U, 2300U}) {
      FactorTable queries = integer_table(4, 70, true, 1);
      FactorTable candidates = integer_table(2500, 70, true, 2);
      std::ranges::fill(candidates.row(17), 0.0F);
      std::ranges::fill(queries.row(2), 0.0F);
      const TopKResult result = rank({&queries, &candidates, {3, 2}, k, nullptr, {}, true, gather});
      const auto norm = [](std::span<const float> row) {
        return std::sqrt(std::inner_product(row.begin(), row.end(), row.begin(), 0.0));
      };
      for (std::uint32_t place = 0; place < k; ++place) {
        const RowIndex c = result.candidates[place];
        const auto y = candidates.row(c);
        const double product = std::inner_product(y.begin(), y.end(), queries.row(3).begin(), 0.0);
        const double norms = norm(y) * norm(queries.row(3));
        EXPECT_NEAR(result.scores[place], norms > 0.0 ? product / norms : 0.0, 1e-6);
        EXPECT_TRUE(place == 0 || result.scores[place - 1] >= result.scores[place]);
        EXPECT_EQ(result.candidates[k + place], place);  // the query of zeros: all score 0
        EXPECT_EQ(result.scores[k + place], 0.0F);
      }
    }
  }
}

TEST(CudaTopK, TheSameBytesInAnyOrderOfThreads) {
  FactorTable queries({5, 12, false});
  initialize(queries, Side::kUsers, 1, 1.0);
  FactorTable candidates({kMany, 12, true});
  initialize(candidates, Side::kItems, 1, 1.0);
  for (RowIndex c = 0; c < kMany; ++c) {
    if (c % 4 != 0) std::ranges::copy(candidates.row(c % 7 * 4), candidates.row(c).begin());  // thousands of ties
  }
  const CompressedMatrix exclude = every_nth(5, kMany, 3);
  const std::vector<RowIndex> order = random_permutation(kMany, 2, 1);
  for (const std::uint32_t k : {100U, 1500U, 2100U}) {
    const Setting setting{&queries, &candidates, {4, 0, 4}, k, &exclude, order};
    simt::set_schedule(0);
    const TopKResult first = rank(setting);
    for (const std::uint64_t schedule : {1U, 2U, 3U}) {
      simt::set_schedule(schedule);
      const TopKResult other = rank(setting);
      EXPECT_EQ(other.candidates, first.candidates) << "k " << k << ", schedule " << schedule;
      EXPECT_EQ(other.scores, first.scores) << "k " << k << ", schedule " << schedule;
    }
    simt::set_schedule(0);
  }
}

TEST(CudaTopK, BatchesStayInHalfOfTheCache) {
  cuda::DeviceFacts facts;
  facts.multiprocessors = 132;
  facts.l2_bytes = std::size_t{50} << 20;
  EXPECT_EQ(cuda::score_stride(17770), 17792U);
  EXPECT_EQ(cuda::queries_per_batch(facts, 17770), 264U);     // 368 would fit: two a multiprocessor
  EXPECT_EQ(cuda::queries_per_batch(facts, 1'000'000), 33U);  // more than the 6 that fit
  EXPECT_EQ(cuda::queries_per_batch(facts, 10), 65536U);
  EXPECT_EQ(cuda::queries_per_batch(facts, kNoRow), 1U);
  EXPECT_EQ(cuda::queries_per_sort(17770), 472U);
  EXPECT_EQ(cuda::queries_per_sort(1), 65535U);
  EXPECT_EQ(cuda::queries_per_sort(kNoRow), 1U);
}

TEST(CudaTopK, PiecesAreBoundedByEachOfTheirParts) {
  const std::vector<RowIndex> rows(70000, 0);
  EXPECT_EQ(cuda::piece_end(rows, 0, 32, 1, nullptr), 65536U);
  EXPECT_EQ(cuda::piece_end(rows, 65536, 32, 1, nullptr), 70000U);
  EXPECT_EQ(cuda::piece_end(rows, 5, 32768, 1, nullptr), 5 + 1024U);
  EXPECT_EQ(cuda::piece_end(rows, 0, 32, 100, nullptr), 20971U);
  EXPECT_EQ(cuda::piece_end(rows, 7, 32, 1U << 31, nullptr), 8U);
  const std::vector<RowIndex> columns(1 << 20);
  const std::vector<EntryIndex> offsets{0, columns.size()};
  const CompressedRows exclude{1, 1, offsets, columns, {}};
  EXPECT_EQ(cuda::piece_end(rows, 0, 32, 1, &exclude), 4U);
}

}  // namespace
}  // namespace concerto
