// Rankings: order, ties, exclusions, short lists, cosine; exact on whole numbers, within rounding elsewhere.
#include <limits>
#include <numeric>

#include "backends_under_test.hpp"
#include "problems.hpp"

namespace concerto::test {
namespace {

struct Ranking {
  FactorTable queries;
  FactorTable candidates;
  std::vector<RowIndex> rows;
  const Problem* exclude = nullptr;
  std::uint32_t k = 10;
  bool cosine = false;
  std::vector<RowIndex> tie_order = {};
};

/// The result as a computation's outcome: candidates, then scores.
Outcome rank_on(Backend& on, const Ranking& ranking) {
  const auto queries = upload(on, ranking.queries);
  const auto candidates = upload(on, ranking.candidates);
  CompressedRows exclude;
  if (ranking.exclude != nullptr) exclude = ranking.exclude->by_user.view();
  const TopKResult result = on.top_k({.queries = queries.get(),
                                      .rows = ranking.rows,
                                      .candidates = candidates.get(),
                                      .exclude = ranking.exclude != nullptr ? &exclude : nullptr,
                                      .k = ranking.k,
                                      .cosine = ranking.cosine,
                                      .tie_order = ranking.tie_order});
  EXPECT_EQ(result.candidates.size(), ranking.rows.size() * ranking.k);
  EXPECT_EQ(result.scores.size(), ranking.rows.size() * ranking.k);
  Outcome outcome;
  outcome.numbers.assign(result.candidates.begin(), result.candidates.end());
  outcome.numbers.insert(outcome.numbers.end(), result.scores.begin(), result.scores.end());
  return outcome;
}

std::vector<RowIndex> all_rows(RowIndex count) {
  std::vector<RowIndex> rows(count);
  std::iota(rows.begin(), rows.end(), 0U);
  return rows;
}

class TopK : public ::testing::TestWithParam<BackendCase> {};

TEST_P(TopK, WholeNumbersWithManyTiesAreExact) {
  const Problem exclude = awkward_problem(67, 1031, 3000, Values::kNone, 5);
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 129U}) {
    for (const bool biases : {false, true}) {
      for (const std::uint32_t k : {1U, 10U, 100U, 1100U}) {
        SCOPED_TRACE("rank " + std::to_string(rank) + ", k " + std::to_string(k));
        const Ranking ranking{.queries = integer_table({67, rank, biases}, 1),
                              .candidates = integer_table({1031, rank, biases}, 2),
                              .rows = {66, 0, 3, 3, 17, 40},
                              .exclude = &exclude,
                              .k = k};
        const Computation compute = [&](Backend& on) { return rank_on(on, ranking); };
        const Outcome& expected = reference_outcome(
            GetParam(), "top_k/" + std::to_string(rank) + "/" + std::to_string(k) + (biases ? "/biases" : ""), compute);
        EXPECT_EQ(run_on(GetParam(), compute).numbers, expected.numbers);
      }
    }
  }
}

TEST_P(TopK, ScoresAgreeWithinRounding) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 128U, 257U, 2048U}) {
    for (const bool cosine : {false, true}) {
      if (cosine && rank == 1) continue;  // every cosine is 1 or -1: rounding alone would order them
      SCOPED_TRACE("rank " + std::to_string(rank) + (cosine ? ", cosine" : ""));
      const Ranking ranking{.queries = random_table({31, rank, true}, 3),
                            .candidates = random_table({257, rank, true}, 4),
                            .rows = all_rows(31),
                            .k = 20,
                            .cosine = cosine};
      const Computation compute = [&](Backend& on) { return rank_on(on, ranking); };
      const Outcome& expected =
          reference_outcome(GetParam(), "top_k/random/" + std::to_string(rank) + (cosine ? "/cosine" : ""), compute);
      const Outcome actual = run_on(GetParam(), compute);
      std::size_t moved = 0;
      const std::size_t places = std::size_t{31} * 20;
      for (std::size_t place = 0; place < places; ++place) {
        EXPECT_NEAR(actual.numbers[places + place], expected.numbers[places + place], 2e-6 * 5) << "place " << place;
        if (actual.numbers[place] != expected.numbers[place]) ++moved;
      }
      EXPECT_LE(moved, places / 100) << "more lists differ than rounding explains";
    }
  }
}

TEST_P(TopK, TiesGoToTheLowerRowAndMissingPlacesAreMarked) {
  FactorTable queries({1, 3, false});
  queries.row(0)[0] = 1.0F;
  FactorTable candidates({6, 3, true});
  const std::vector<float> scores = {2.0F, 5.0F, 5.0F, -1.0F, 5.0F, 2.0F};
  for (RowIndex c = 0; c < 6; ++c) candidates.row(c)[0] = scores[c];
  candidates.biases()[3] = 6.0F;  // -1 + 6 = 5, too
  const Problem exclude = make_problem("exclude", 1, 6, {{0, 2, 1.0F}}, false);
  const Ranking ranking{
      .queries = queries, .candidates = candidates, .rows = {0}, .exclude = &exclude, .k = 7, .cosine = false};
  const Outcome outcome = run_on(GetParam(), [&](Backend& on) { return rank_on(on, ranking); });
  const double none = -std::numeric_limits<double>::infinity();
  const std::vector<double> expected = {1, 3, 4, 0, 5, kNoRow, kNoRow, 5, 5, 5, 2, 2, none, none};
  EXPECT_EQ(outcome.numbers, expected);
}

TEST_P(TopK, TiesGoByTheirOrderWhereThereIsOne) {
  constexpr RowIndex kCandidates = 3001;  // more than a list holds before it drops the surplus
  FactorTable queries({2, 1, false});
  queries.row(1)[0] = 1.0F;
  FactorTable candidates({kCandidates, 1, false});
  Ranking ranking{.queries = queries, .candidates = candidates, .rows = {0, 1}, .k = 3};
  for (RowIndex c = 0; c < kCandidates; ++c) {
    ranking.candidates.row(c)[0] = c % 2 == 0 ? 1.0F : 0.0F;
    ranking.tie_order.push_back(kCandidates - 1 - c);
  }
  const Outcome outcome = run_on(GetParam(), [&](Backend& on) { return rank_on(on, ranking); });
  EXPECT_EQ(outcome.numbers, (std::vector<double>{3000, 2999, 2998, 3000, 2998, 2996, 0, 0, 0, 1, 1, 1}));
}

TEST_P(TopK, CosineIgnoresBiasesAndLengthsAndScoresZeroRowsZero) {
  FactorTable queries({2, 2, false});
  queries.row(0)[0] = 3.0F;
  FactorTable candidates({4, 2, true});
  candidates.row(0)[0] = -2.0F;
  candidates.row(1)[0] = 0.5F;
  candidates.row(3)[1] = 9.0F;
  candidates.biases()[2] = 100.0F;
  const Ranking ranking{.queries = queries, .candidates = candidates, .rows = {0, 1}, .k = 4, .cosine = true};
  const Outcome outcome = run_on(GetParam(), [&](Backend& on) { return rank_on(on, ranking); });
  const std::vector<double> expected = {1, 2, 3, 0, 0, 1, 2, 3, 1, 0, 0, -1, 0, 0, 0, 0};
  EXPECT_EQ(outcome.numbers, expected);
}

TEST_P(TopK, EverythingExcludedLeavesAnEmptyList) {
  std::vector<Entry> all;
  for (RowIndex i = 0; i < 40; ++i) all.push_back({0, i, 1.0F});
  const Problem exclude = make_problem("all", 2, 40, all, false);
  const Ranking ranking{.queries = random_table({2, 7, false}, 1),
                        .candidates = random_table({40, 7, false}, 2),
                        .rows = {0},
                        .exclude = &exclude,
                        .k = 3};
  const Outcome outcome = run_on(GetParam(), [&](Backend& on) { return rank_on(on, ranking); });
  const double none = -std::numeric_limits<double>::infinity();
  EXPECT_EQ(outcome.numbers, (std::vector<double>{kNoRow, kNoRow, kNoRow, none, none, none}));
}

INSTANTIATE_TEST_SUITE_P(Backends, TopK, ::testing::ValuesIn(all_backends()), case_name);

}  // namespace
}  // namespace concerto::test
