// What must be true of the mathematics, whatever the backend: losses are the definition's, they never rise under exact
// alternation, exact rows have zero gradient, eliminated biases solve the joint system, folding in gives the row back,
// and the SGD gradient is the derivative of the objective.
#include "../../kernels/reference/sgd_gradient.hpp"
#include "objective_by_definition.hpp"
#include "training.hpp"

namespace concerto::test {
namespace {

Problem small_problem(Values values, std::uint64_t seed) {
  return without_duplicates(awkward_problem(13, 11, 60, values, seed));
}

class Properties : public ::testing::TestWithParam<BackendCase> {};

TEST_P(Properties, TheLossIsTheDefinition) {
  for (const NamedObjective& named : all_objectives()) {
    const Problem problem = small_problem(named.values, 1);
    const Outcome outcome = run_on(GetParam(), [&](Backend& on) {
      const Training training(on, problem, named.objective, 5, 3);
      return Outcome{{training.table(Side::kUsers), training.table(Side::kItems)}, {training.loss()}};
    });
    const double expected = objective_by_definition(named.objective, problem, DoubleTable(outcome.tables[0]),
                                                    DoubleTable(outcome.tables[1]));
    // The sum over all pairs is made from Gram matrices of rounded factors where the backend rounds.
    const double tolerance = GetParam().gathers_bf16 && named.objective.is_implicit() ? 1e-3 : 1e-5;
    EXPECT_NEAR(outcome.numbers[0], expected, tolerance * expected) << named.name;
  }
}

TEST_P(Properties, TheLossNeverRises) {
  // Rows that are exact against a rounded side are not the best against the side itself: near the end, the loss may
  // rise by what the rounding costs.
  const double most = 1.0 + (GetParam().gathers_bf16 ? 1e-3 : 1e-6);
  for (const NamedObjective& named : all_objectives()) {
    if (!is_run_at_length(GetParam(), named.name)) continue;
    const Problem problem = awkward_problem(67, 131, 1500, named.values, 2);
    for (const SolverSettings& settings :
         {SolverSettings{.inner = InnerSolver::kCholesky}, SolverSettings{.slice = 3}}) {
      SCOPED_TRACE(named.name + ", " + settings.name());
      run_on(GetParam(), [&](Backend& on) {
        Training training(on, problem, named.objective, 8, 3);
        double before = training.loss();
        const double first = before;
        for (int epoch = 0; epoch < (GetParam().is_slow ? 4 : 8); ++epoch) {
          for (const Side side : {Side::kItems, Side::kUsers}) {
            training.solve(side, settings);
            const double after = training.loss();
            EXPECT_LE(after, before * most) << "epoch " << epoch;
            before = after;
          }
        }
        EXPECT_LT(before, 0.9 * first);
        return Outcome{};
      });
    }
  }
}

TEST_P(Properties, ExactRowsHaveZeroGradient) {
  for (const NamedObjective& named : all_objectives()) {
    const Problem problem = small_problem(named.values, 4);
    const Outcome outcome = run_on(GetParam(), [&](Backend& on) {
      Training training(on, problem, named.objective, 5, 3);
      training.solve(Side::kUsers, {.inner = InnerSolver::kCholesky});
      return Outcome{{training.table(Side::kUsers), training.table(Side::kItems)}, {}};
    });
    DoubleTable x(outcome.tables[0]);
    DoubleTable y(as_gathered(GetParam(), outcome.tables[1]));
    DoubleTable zero(FactorTable({13, 5, named.objective.biases}));
    double at_zero = 0.0;
    for (std::size_t c = 0; c < 5; ++c) {
      at_zero = std::max(at_zero, std::fabs(derivative(named.objective, problem, zero, y, zero.rows[1][c])));
    }
    for (RowIndex u = 0; u < 13; ++u) {
      for (std::size_t c = 0; c < 5; ++c) {
        EXPECT_NEAR(derivative(named.objective, problem, x, y, x.rows[u][c]), 0.0, 1e-5 * at_zero)
            << named.name << ", row " << u;
      }
      if (named.objective.biases) {
        EXPECT_NEAR(derivative(named.objective, problem, x, y, x.biases[u]), 0.0, 1e-5 * at_zero) << named.name;
      }
    }
  }
}

/// Gaussian elimination with row exchanges; written for this test alone.
std::vector<double> solve_dense(std::vector<std::vector<double>> a, std::vector<double> b) {
  const std::size_t size = b.size();
  for (std::size_t j = 0; j < size; ++j) {
    std::size_t best = j;
    for (std::size_t i = j; i < size; ++i) {
      if (std::fabs(a[i][j]) > std::fabs(a[best][j])) best = i;
    }
    std::swap(a[j], a[best]);
    std::swap(b[j], b[best]);
    for (std::size_t i = j + 1; i < size; ++i) {
      const double factor = a[i][j] / a[j][j];
      for (std::size_t k = j; k < size; ++k) a[i][k] -= factor * a[j][k];
      b[i] -= factor * b[j];
    }
  }
  for (std::size_t i = size; i-- > 0;) {
    for (std::size_t k = i + 1; k < size; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  return b;
}

TEST_P(Properties, EliminatedBiasesSolveTheJointSystem) {
  constexpr std::size_t kRank = 6;
  for (const NamedObjective& named : explicit_objectives()) {
    if (!named.objective.biases) continue;
    const Problem problem = awkward_problem(31, 37, 300, Values::kRatings, 5);
    const Outcome outcome = run_on(GetParam(), [&](Backend& on) {
      Training training(on, problem, named.objective, kRank, 3);
      training.solve(Side::kUsers, {.inner = InnerSolver::kCholesky});
      return Outcome{{training.table(Side::kUsers), training.table(Side::kItems)}, {}};
    });
    const FactorTable items = as_gathered(GetParam(), outcome.tables[1]);
    const CompressedRows view = problem.by_user.view();
    for (RowIndex u = 1; u + 1 < view.rows; ++u) {
      std::vector<std::vector<double>> a(kRank + 1, std::vector<double>(kRank + 1, 0.0));
      std::vector<double> b(kRank + 1, 0.0);
      for (EntryIndex k = view.offsets[u]; k < view.offsets[u + 1]; ++k) {
        std::vector<double> y(items.row(view.columns[k]).begin(), items.row(view.columns[k]).end());
        y.push_back(1.0);  // the bias is the factor of a column of ones
        const double residual = view.value(k) - named.objective.mean - items.bias(view.columns[k]);
        for (std::size_t i = 0; i <= kRank; ++i) {
          b[i] += residual * y[i];
          for (std::size_t j = 0; j <= kRank; ++j) a[i][j] += y[i] * y[j];
        }
      }
      const double n = std::pow(static_cast<double>(view.count(u)), named.objective.regularization_exponent);
      for (std::size_t i = 0; i < kRank; ++i) a[i][i] += named.objective.regularization * n;
      a[kRank][kRank] += named.objective.bias_regularization * n;
      const std::vector<double> joint = solve_dense(a, b);
      for (std::size_t i = 0; i < kRank; ++i) EXPECT_NEAR(outcome.tables[0].row(u)[i], joint[i], 2e-5) << named.name;
      EXPECT_NEAR(outcome.tables[0].bias(u), joint[kRank], 2e-5) << named.name << ", row " << u;
    }
  }
}

TEST_P(Properties, FoldingInATrainingUserGivesItsRow) {
  for (const NamedObjective& named : all_objectives()) {
    const Problem problem = awkward_problem(67, 131, 900, named.values, 6);
    run_on(GetParam(), [&](Backend& on) {
      Training training(on, problem, named.objective, 9, 3);
      for (int epoch = 0; epoch < 3; ++epoch) training.epoch({.inner = InnerSolver::kCholesky});
      const FactorTable users = training.table(Side::kUsers);
      const FactorTable items = training.table(Side::kItems);
      const auto fixed = upload(on, items);
      const auto gram = on.gram(*fixed);
      const CompressedRows all = problem.by_user.view();
      for (const RowIndex u : {1U, 3U, 20U, 66U}) {
        const std::vector<EntryIndex> offsets = {0, all.count(u)};
        const CompressedRows history{1, all.column_count, offsets, all.row_columns(u), all.row_values(u)};
        const auto ratings = on.load_ratings(history);
        const TableShape shape{1, 9, named.objective.biases};
        const auto row = on.create_table(shape);
        on.solve_rows({.ratings = ratings.get(),
                       .fixed = fixed.get(),
                       .gram = gram.get(),
                       .target = row.get(),
                       .rows = {0, 1},
                       .objective = named.objective,
                       .inner = InnerSolver::kCholesky});
        const FactorTable folded = download(on, *row, shape);
        const double scale = norm(users.row(u)) + 1e-30;
        for (std::size_t c = 0; c < 9; ++c) {
          EXPECT_NEAR(folded.row(0)[c], users.row(u)[c], 1e-5 * scale) << named.name << ", user " << u;
        }
        EXPECT_NEAR(folded.bias(0), users.bias(u), 1e-5) << named.name << ", user " << u;
      }
      return Outcome{};
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Properties, ::testing::ValuesIn(all_backends()), case_name);

/// Half the derivative of the objective, gathered from the half-gradients of the entries.
struct GatheredGradient {
  std::vector<std::vector<double>> users;
  std::vector<std::vector<double>> items;
  std::vector<double> user_biases;
  std::vector<double> item_biases;
};

GatheredGradient gather_gradients(const Objective& objective, const Problem& problem, const DoubleTable& x,
                                  const DoubleTable& y, std::size_t rank) {
  GatheredGradient sum{std::vector(x.rows.size(), std::vector<double>(rank, 0.0)),
                       std::vector(y.rows.size(), std::vector<double>(rank, 0.0)),
                       std::vector<double>(x.rows.size(), 0.0), std::vector<double>(y.rows.size(), 0.0)};
  const CompressedRows view = problem.by_user.view();
  std::vector<double> gradient(rank);
  for (RowIndex u = 0; u < view.rows; ++u) {
    for (EntryIndex k = view.offsets[u]; k < view.offsets[u + 1]; ++k) {
      const RowIndex i = view.columns[k];
      const auto of_user = reference::sgd_decay(objective, static_cast<double>(view.count(u)));
      const auto of_item = reference::sgd_decay(objective, static_cast<double>(problem.by_item.view().count(i)));
      const double error =
          reference::sgd_error(objective, view.value(k), x.rows[u], x.biases[u], y.rows[i], y.biases[i]);
      reference::sgd_gradient(error, of_user.factors, x.rows[u], y.rows[i], gradient);
      for (std::size_t c = 0; c < rank; ++c) sum.users[u][c] += gradient[c];
      reference::sgd_gradient(error, of_item.factors, y.rows[i], x.rows[u], gradient);
      for (std::size_t c = 0; c < rank; ++c) sum.items[i][c] += gradient[c];
      sum.user_biases[u] += reference::sgd_bias_gradient(error, of_user.bias, x.biases[u]);
      sum.item_biases[i] += reference::sgd_bias_gradient(error, of_item.bias, y.biases[i]);
    }
  }
  return sum;
}

TEST(SgdGradient, IsHalfTheDerivativeOfTheObjective) {
  constexpr std::size_t kRank = 4;
  for (const NamedObjective& named : explicit_objectives()) {
    const Problem problem = small_problem(Values::kRatings, 7);
    // Rows without entries are never visited and keep their penalty where nu = 0: start them at zero.
    DoubleTable x(random_table({13, kRank, named.objective.biases}, 8));
    DoubleTable y(random_table({11, kRank, named.objective.biases}, 9));
    for (const RowIndex u : {0U, 12U}) x.rows[u].assign(kRank, 0.0), x.biases[u] = 0.0;
    for (const RowIndex i : {0U, 10U}) y.rows[i].assign(kRank, 0.0), y.biases[i] = 0.0;
    const GatheredGradient gathered = gather_gradients(named.objective, problem, x, y, kRank);
    const auto expect_half_derivative = [&](double gradient, double& number) {
      const double expected = 0.5 * derivative(named.objective, problem, x, y, number);
      EXPECT_NEAR(gradient, expected, 1e-3 * std::max(1.0, std::fabs(expected))) << named.name;
    };
    for (RowIndex u = 0; u < 13; ++u) {
      for (std::size_t c = 0; c < kRank; ++c) expect_half_derivative(gathered.users[u][c], x.rows[u][c]);
      if (named.objective.biases) expect_half_derivative(gathered.user_biases[u], x.biases[u]);
    }
    for (RowIndex i = 0; i < 11; ++i) {
      for (std::size_t c = 0; c < kRank; ++c) expect_half_derivative(gathered.items[i][c], y.rows[i][c]);
      if (named.objective.biases) expect_half_derivative(gathered.item_biases[i], y.biases[i]);
    }
  }
}

}  // namespace
}  // namespace concerto::test
