// Row systems in two steps: sums over parts of the entries, added up and solved, are what solving the rows in one step
// gives. A backend without them says so.
#include "concerto/base/error.hpp"

#include "training.hpp"

namespace concerto::test {
namespace {

constexpr std::uint32_t kParts = 3;

/// The matrix with the entries whose columns are `part` modulo kParts.
CompressedMatrix part_of(const CompressedMatrix& whole, std::uint32_t part) {
  CompressedMatrix kept;
  kept.rows = whole.rows;
  kept.column_count = whole.column_count;
  kept.offsets = {0};
  for (RowIndex r = 0; r < whole.rows; ++r) {
    for (EntryIndex e = whole.offsets[r]; e < whole.offsets[r + 1]; ++e) {
      if (whole.columns[e] % kParts != part) continue;
      kept.columns.push_back(whole.columns[e]);
      if (!whole.values.empty()) kept.values.push_back(whole.values[e]);
    }
    kept.offsets.push_back(kept.columns.size());
  }
  return kept;
}

/// One row that has an entry in every column: its sums are the columns' Gram matrix.
CompressedMatrix full_row(RowIndex columns) {
  CompressedMatrix matrix;
  matrix.rows = 1;
  matrix.column_count = columns;
  matrix.offsets = {0, columns};
  for (RowIndex c = 0; c < columns; ++c) matrix.columns.push_back(c);
  return matrix;
}

std::vector<EntryIndex> counts_of(const CompressedRows& matrix, const Objective& objective) {
  std::vector<EntryIndex> counts(matrix.rows, 0);
  for (RowIndex r = 0; r < matrix.rows; ++r) {
    for (EntryIndex e = matrix.offsets[r]; e < matrix.offsets[r + 1]; ++e) {
      counts[r] += objective.counts(matrix.value(e)) ? 1 : 0;
    }
  }
  return counts;
}

class Systems : public ::testing::TestWithParam<ObjectiveCase> {
 protected:
  static const BackendCase& backend() { return std::get<0>(GetParam()); }
  static const NamedObjective& named() { return std::get<1>(GetParam()); }

  /// The rows of a side, solved from sums over parts, `rows` of them at a time.
  static FactorTable solved_from_sums(Backend& on, const Problem& problem, Side side, std::uint32_t rank,
                                      const SolverSettings& settings, RowIndex rows_at_a_time) {
    const Objective& objective = named().objective;
    const CompressedMatrix& whole = side == Side::kUsers ? problem.by_user : problem.by_item;
    const SystemLayout layout{rank, objective.biases};
    const std::uint64_t seed = side == Side::kUsers ? 11 : 12;
    const TableShape shape{whole.rows, rank, objective.biases};
    const TableShape fixed_shape{whole.column_count, rank, objective.biases};
    const auto target = upload(on, random_table(shape, seed));
    const auto fixed = upload(on, random_table(fixed_shape, 23 - seed));

    std::vector<float> gram;
    if (objective.is_implicit()) {
      const CompressedMatrix row = full_row(whole.column_count);
      const auto ratings = on.load_ratings(row.view());
      Objective ones;
      ones.kind = ObjectiveKind::kImplicitUnobserved;
      gram.resize(SystemLayout{rank, false}.floats());
      on.sum_systems({.ratings = ratings.get(), .fixed = fixed.get(), .rows = {0, 1}, .objective = ones}, gram);
      gram.resize(layout.gram_floats());
    }
    std::vector<CompressedMatrix> parts;
    std::vector<std::unique_ptr<Buffer>> ratings;
    for (std::uint32_t p = 0; p < kParts; ++p) parts.push_back(part_of(whole, p));
    for (const CompressedMatrix& part : parts) ratings.push_back(on.load_ratings(part.view()));
    const std::vector<EntryIndex> counts = counts_of(whole.view(), objective);
    for (RowIndex begin = 0; begin < whole.rows; begin += rows_at_a_time) {
      const RowRange rows{begin, std::min(whole.rows, begin + rows_at_a_time)};
      std::vector<float> systems(rows.size() * layout.floats(), 0.0F);
      for (const auto& part : ratings) {
        std::vector<float> sums(systems.size(), -1.0F);
        on.sum_systems({.ratings = part.get(), .fixed = fixed.get(), .rows = rows, .objective = objective}, sums);
        for (std::size_t k = 0; k < sums.size(); ++k) systems[k] += sums[k];
      }
      on.solve_systems({.target = target.get(),
                        .rows = rows,
                        .systems = systems,
                        .counts = std::span(counts).subspan(rows.begin, rows.size()),
                        .gram = gram,
                        .fixed_rows = whole.column_count,
                        .objective = objective,
                        .inner = settings.inner,
                        .cg_steps = settings.cg_steps,
                        .momentum = settings.momentum});
    }
    return download(on, *target, shape);
  }

  static void compare(const Problem& problem, std::uint32_t rank, const SolverSettings& settings) {
    if (!is_run(backend(), named().name, rank)) return;
    SCOPED_TRACE(problem.name + ", rank " + std::to_string(rank) + ", " + settings.name());
    for (const Side side : {Side::kUsers, Side::kItems}) {
      bool has_them = true;
      const Outcome actual = run_on(backend(), [&](Backend& on) {
        has_them = on.sums_systems();
        if (has_them) return Outcome{{solved_from_sums(on, problem, side, rank, settings, 29)}, {}};
        expect_refusal(on);
        return Outcome{};
      });
      if (!has_them) return;
      const Computation in_one_step = [&](Backend& on) {
        Training training(on, problem, named().objective, rank, 11);
        training.solve(side, settings);
        return Outcome{{training.table(side)}, {}};
      };
      const std::string key = "systems/" + named().name + "/" + problem.name + "/" + std::to_string(rank) + "/" +
                              settings.name() + (side == Side::kUsers ? "/users" : "/items");
      expect_rows_near(actual.tables[0], reference_outcome(backend(), key, in_one_step).tables[0], 1e-4,
                       settings.inner == InnerSolver::kCg ? kStartRounding : 0.0);
    }
  }

  static void expect_refusal(Backend& on) {
    for (const bool sums : {true, false}) {
      try {
        std::vector<float> none;
        if (sums) {
          on.sum_systems({}, none);
        } else {
          on.solve_systems({});
        }
        FAIL() << on.name() << " neither has sums of systems nor refuses them";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
        EXPECT_NE(error.message().find("not supported on " + std::string(on.name())), std::string::npos);
      }
    }
  }
};

TEST_P(Systems, SumsOfPartsSolvedExactlyAreTheRows) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 128U}) {
    compare(problem_for_rank(rank, named().values), rank, {.inner = InnerSolver::kCholesky});
  }
}

TEST_P(Systems, SumsOfPartsSolvedByCgAreTheRows) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 128U}) {
    compare(problem_for_rank(rank, named().values), rank, {.inner = InnerSolver::kCg, .cg_steps = 3});
  }
}

TEST_P(Systems, AGiantRowAndSingleRowsAgree) {
  for (const auto& [users, items] : {std::pair(5U, 1200U), std::pair(1U, 257U), std::pair(257U, 1U)}) {
    compare(awkward_problem(users, items, 1500, named().values, 6), 13, {.inner = InnerSolver::kCholesky});
  }
}

TEST_P(Systems, MomentumAgrees) {
  const Problem problem = awkward_problem(31, 37, 300, named().values, 5);
  compare(problem, 16, {.inner = InnerSolver::kCholesky, .momentum = 0.3});
  compare(problem, 16, {.inner = InnerSolver::kCg, .cg_steps = 2, .momentum = 0.3});
}

INSTANTIATE_TEST_SUITE_P(Backends, Systems,
                         ::testing::Combine(::testing::ValuesIn(all_backends()), ::testing::ValuesIn(all_objectives())),
                         objective_case_name);

}  // namespace
}  // namespace concerto::test
