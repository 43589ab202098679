// Measures against the reference and against sums written out in the test: losses, penalties, errors of predictions.
#include "training.hpp"

namespace concerto::test {
namespace {

class Loss : public ::testing::TestWithParam<BackendCase> {};

TEST_P(Loss, MeasuresAgreeWithTheReference) {
  for (const NamedObjective& named : all_objectives()) {
    for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 129U, 257U, 640U, 2048U}) {
      SCOPED_TRACE(named.name + ", rank " + std::to_string(rank));
      const Problem problem =
          rank <= 640 ? awkward_problem(67, 131, 900, named.values, 2) : awkward_problem(11, 17, 60, named.values, 2);
      const Objective& objective = named.objective;
      const RowIndex users = problem.by_user.rows;
      const RowIndex items = problem.by_item.rows;
      const Computation compute = [&](Backend& on) {
        const auto by_user = on.load_ratings(problem.by_user.view());
        const auto by_item = on.load_ratings(problem.by_item.view());
        const auto x = upload(on, random_table({users, rank, objective.biases}, 41));
        const auto y = upload(on, random_table({items, rank, objective.biases}, 42));
        const ErrorSums errors = on.prediction_errors(problem.by_user.view(), *x, *y, objective.mean, 1.0F, 4.0F);
        return Outcome{
            {},
            {on.entry_loss(*by_user, {0, users}, *x, *y, objective),
             on.entry_loss(*by_user, {3, users - 2}, *x, *y, objective),
             on.entry_loss(*by_user, {4, 4}, *x, *y, objective), on.penalty(*by_user, {0, users}, *x, objective),
             on.penalty(*by_item, {0, items}, *y, objective), on.penalty(*by_item, {2, items - 3}, *y, objective),
             errors.squared, errors.absolute}};
      };
      const Outcome& expected = reference_outcome("loss/" + named.name + "/" + std::to_string(rank), compute);
      const Outcome actual = run_on(GetParam(), compute);
      for (std::size_t k = 0; k < expected.numbers.size(); ++k) {
        EXPECT_NEAR(actual.numbers[k], expected.numbers[k], 1e-5 * std::fabs(expected.numbers[k])) << "measure " << k;
      }
    }
  }
}

TEST_P(Loss, PartsAddUpToTheWhole) {
  const Problem problem = awkward_problem(1031, 67, 5000, Values::kIntegers, 3);
  Objective objective = explicit_objective("", 0.5, 1.0, false).objective;
  objective.mean = 3.0;
  run_on(GetParam(), [&](Backend& on) {
    const auto by_user = on.load_ratings(problem.by_user.view());
    const auto x = upload(on, integer_table({1031, 7, false}, 1));
    const auto y = upload(on, integer_table({67, 7, false}, 2));
    const double whole = on.entry_loss(*by_user, {0, 1031}, *x, *y, objective);
    const double parts = on.entry_loss(*by_user, {0, 100}, *x, *y, objective) +
                         on.entry_loss(*by_user, {100, 777}, *x, *y, objective) +
                         on.entry_loss(*by_user, {777, 1031}, *x, *y, objective);
    EXPECT_GT(whole, 0.0);
    EXPECT_EQ(whole, parts);  // whole numbers: exact in any order
    return Outcome{};
  });
}

TEST_P(Loss, PredictionErrorsAreClampedSums) {
  FactorTable users({2, 2, true});
  FactorTable items({2, 2, true});
  std::ranges::copy(std::vector<float>{1.0F, 2.0F}, users.row(0).begin());
  std::ranges::copy(std::vector<float>{3.0F, 0.0F}, users.row(1).begin());
  std::ranges::copy(std::vector<float>{1.0F, 1.0F}, items.row(0).begin());
  std::ranges::copy(std::vector<float>{-4.0F, 0.0F}, items.row(1).begin());
  users.biases()[0] = 0.5F;
  items.biases()[1] = -0.25F;
  // predictions: (0,0) 2 + 3 + 0.5 = 5.5 -> 5; (0,1) 2 - 4 + 0.25 = -1.75 -> 1; (1,0) 2 + 3 = 5
  const Problem held_out = make_problem("held out", 2, 2, {{0, 0, 4.5F}, {0, 1, 3.0F}, {1, 0, 5.25F}}, true);
  run_on(GetParam(), [&](Backend& on) {
    const ErrorSums errors =
        on.prediction_errors(held_out.by_user.view(), *upload(on, users), *upload(on, items), 2.0, 1.0F, 5.0F);
    EXPECT_DOUBLE_EQ(errors.squared, 0.25 + 4.0 + 0.0625);
    EXPECT_DOUBLE_EQ(errors.absolute, 0.5 + 2.0 + 0.25);
    return Outcome{};
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, Loss, ::testing::ValuesIn(all_backends()), case_name);

}  // namespace
}  // namespace concerto::test
