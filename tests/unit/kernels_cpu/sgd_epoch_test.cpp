// SGD on the cpu backend: the same bytes for any number of threads and the serial updates in double, for every
// instruction set; projection on non-negative values; rows without entries.
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/compute/sgd_order.hpp"

#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::same_bytes;

struct Problem {
  CompressedMatrix by_user;
  CompressedMatrix by_item;
};

/// Each pair observed with probability `density`, except in users and items whose number is 3 modulo 11; one user has
/// everything. Values are 1 to 5.
Problem random_problem(RowIndex users, RowIndex items, double density) {
  Random random(42);
  Problem problem;
  problem.by_user = {users, items, {0}, {}, {}};
  std::vector<std::vector<std::pair<RowIndex, float>>> columns(items);
  for (RowIndex u = 0; u < users; ++u) {
    for (RowIndex i = 0; i < items; ++i) {
      const bool is_empty = u % 11 == 3 || i % 11 == 3;
      if (is_empty || (u != 1 && random.uniform() >= density)) continue;
      const auto value = static_cast<float>(1 + random.below(5));
      problem.by_user.columns.push_back(i);
      problem.by_user.values.push_back(value);
      columns[i].emplace_back(u, value);
    }
    problem.by_user.offsets.push_back(problem.by_user.columns.size());
  }
  problem.by_item = {items, users, {0}, {}, {}};
  for (const auto& column : columns) {
    for (const auto& [user, value] : column) {
      problem.by_item.columns.push_back(user);
      problem.by_item.values.push_back(value);
    }
    problem.by_item.offsets.push_back(problem.by_item.columns.size());
  }
  return problem;
}

struct Tables {
  FactorTable users;
  FactorTable items;
};

Tables initial_tables(const Problem& problem, std::uint32_t rank, bool biases) {
  Tables tables{FactorTable({problem.by_user.rows, rank, biases}), FactorTable({problem.by_item.rows, rank, biases})};
  initialize(tables.users, Side::kUsers, 5, 0.7);
  initialize(tables.items, Side::kItems, 5, 0.7);
  return tables;
}

SgdStep settings(bool biases, bool nonnegative) {
  SgdStep step;
  step.objective.regularization = 0.04;
  step.objective.regularization_exponent = 0.7;
  step.objective.bias_regularization = 0.02;
  step.objective.biases = biases;
  step.objective.mean = 3.0;
  step.rate = 0.05;
  step.nonnegative = nonnegative;
  step.seed = 9;
  return step;
}

constexpr std::uint32_t kEpochs = 2;

Tables run_backend(const Problem& problem, std::uint32_t rank, SgdStep step, unsigned threads) {
  ThreadPool pool(threads);
  const auto backend = make_cpu_backend(pool);
  const auto grid = backend->load_grid(problem.by_user.view(), problem.by_item.view());
  Tables tables = initial_tables(problem, rank, step.objective.biases);
  const auto users = backend->create_table(tables.users.shape());
  const auto items = backend->create_table(tables.items.shape());
  backend->write_rows(*users, {0, tables.users.rows()}, tables.users);
  backend->write_rows(*items, {0, tables.items.rows()}, tables.items);
  step.grid = grid.get();
  step.users = users.get();
  step.items = items.get();
  for (step.epoch = 0; step.epoch < kEpochs; ++step.epoch) backend->sgd_epoch(step);
  backend->read_rows(*users, {0, tables.users.rows()}, tables.users);
  backend->read_rows(*items, {0, tables.items.rows()}, tables.items);
  return tables;
}

/// One side of the textbook update, in double.
struct Row {
  std::vector<double> x;
  double bias = 0.0;
  double accumulator = 1.0;
  double count = 0.0;

  void update(const SgdStep& step, double error, const std::vector<double>& y) {
    const double weight = std::pow(count, step.objective.regularization_exponent - 1.0);
    const double rate = step.rate / std::sqrt(accumulator);
    double square = 0.0;
    for (std::size_t c = 0; c < x.size(); ++c) {
      const double gradient = -error * y[c] + step.objective.regularization * weight * x[c];
      square += gradient * gradient;
      x[c] -= rate * gradient;
      if (step.nonnegative) x[c] = std::max(x[c], 0.0);
    }
    accumulator += square / static_cast<double>(x.size());
    if (step.objective.biases) bias -= rate * (-error + step.objective.bias_regularization * weight * bias);
  }
};

std::vector<Row> rows_of(const FactorTable& table, const CompressedMatrix& matrix) {
  std::vector<Row> rows(table.rows());
  for (RowIndex r = 0; r < table.rows(); ++r) {
    rows[r].x.assign(table.row(r).begin(), table.row(r).end());
    rows[r].count = static_cast<double>(matrix.view().count(r));
  }
  return rows;
}

/// Epochs by the definition, entry after entry in the order of sgd_order.hpp.
void run_serially(const Problem& problem, const SgdStep& step, std::vector<Row>& users, std::vector<Row>& items) {
  const CompressedRows by_user = problem.by_user.view();
  const std::uint32_t side = sgd_blocks_per_side(by_user.entries(), by_user.rows, by_user.column_count);
  const auto user_blocks = sgd_cut(by_user, side);
  const auto item_blocks = sgd_cut(problem.by_item.view(), side);
  for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    for (const std::uint32_t shift : sgd_strata(side, step.seed, epoch)) {
      for (std::uint32_t p = 0; p < side; ++p) {
        const RowRange item_block = item_blocks[sgd_item_block(p, shift, side)];
        for (RowIndex u = user_blocks[p].begin; u < user_blocks[p].end; ++u) {
          for (EntryIndex k = by_user.offsets[u]; k < by_user.offsets[u + 1]; ++k) {
            const RowIndex i = by_user.columns[k];
            if (i < item_block.begin || i >= item_block.end) continue;
            double error = by_user.value(k) - step.objective.mean - users[u].bias - items[i].bias;
            for (std::size_t c = 0; c < users[u].x.size(); ++c) error -= users[u].x[c] * items[i].x[c];
            const std::vector<double> old_user = users[u].x;
            users[u].update(step, error, items[i].x);
            items[i].update(step, error, old_user);
          }
        }
      }
    }
  }
}

/// The largest distance of a row from its expectation, relative to its norm, or to the table's where a row is nearly
/// zero.
double worst_row_error(const FactorTable& table, const std::vector<Row>& expected) {
  double worst = 0.0;
  double mean_square = 0.0;
  for (const Row& row : expected) {
    for (const double value : row.x) mean_square += value * value / static_cast<double>(expected.size());
  }
  for (RowIndex r = 0; r < table.rows(); ++r) {
    double distance = std::pow(table.bias(r) - expected[r].bias, 2);
    double norm = std::pow(expected[r].bias, 2) + mean_square;
    for (std::size_t c = 0; c < expected[r].x.size(); ++c) {
      distance += std::pow(table.row(r)[c] - expected[r].x[c], 2);
      norm += std::pow(expected[r].x[c], 2);
    }
    worst = std::max(worst, std::sqrt(distance / norm));
  }
  return worst;
}

class SgdEpoch : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  void TearDown() override { select_cpu_instruction_set(""); }
};

TEST_P(SgdEpoch, MatchesTheSerialUpdatesInDouble) {
  const Problem problem = random_problem(150, 110, 0.7);
  ASSERT_GT(sgd_blocks_per_side(problem.by_user.columns.size(), 150, 110), 1U);
  for (const bool biases : {false, true}) {
    for (const bool nonnegative : {false, true}) {
      const SgdStep step = settings(biases, nonnegative);
      const Tables initial = initial_tables(problem, GetParam(), biases);
      std::vector<Row> users = rows_of(initial.users, problem.by_user);
      std::vector<Row> items = rows_of(initial.items, problem.by_item);
      run_serially(problem, step, users, items);
      for (const std::string& set : cpu_instruction_sets()) {
        select_cpu_instruction_set(set);
        const Tables tables = run_backend(problem, GetParam(), step, 2);
        EXPECT_LT(worst_row_error(tables.users, users), 1e-4) << set << (nonnegative ? ", non-negative" : "");
        EXPECT_LT(worst_row_error(tables.items, items), 1e-4) << set << (nonnegative ? ", non-negative" : "");
      }
    }
  }
}

TEST_P(SgdEpoch, WritesTheSameBytesForAnyNumberOfThreads) {
  const Problem problem = random_problem(700, 500, 0.3);
  const Tables serial = run_backend(problem, GetParam(), settings(true, false), 1);
  for (const unsigned threads : {2U, 3U, 7U}) {
    const Tables parallel = run_backend(problem, GetParam(), settings(true, false), threads);
    EXPECT_TRUE(same_bytes(parallel.users, serial.users)) << threads << " threads";
    EXPECT_TRUE(same_bytes(parallel.items, serial.items)) << threads << " threads";
  }
}

TEST_P(SgdEpoch, LeavesRowsWithoutEntriesAndPaddingAlone) {
  const Problem problem = random_problem(60, 40, 0.5);
  const Tables before = initial_tables(problem, GetParam(), true);
  const Tables after = run_backend(problem, GetParam(), settings(true, false), 2);
  for (RowIndex r = 3; r < 60; r += 11) {
    EXPECT_TRUE(same_bytes<float>(after.users.row(r), before.users.row(r)));
    EXPECT_EQ(after.users.bias(r), 0.0F);
  }
  EXPECT_FALSE(same_bytes<float>(after.users.row(1), before.users.row(1)));
  for (RowIndex r = 0; r < 60; ++r) {
    for (std::size_t c = after.users.rank(); c < after.users.stride(); ++c) {
      EXPECT_EQ(after.users.data()[r * after.users.stride() + c], 0.0F);
    }
  }
}

TEST_P(SgdEpoch, KeepsProjectedFactorsNonnegative) {
  const Problem problem = random_problem(60, 40, 0.5);
  const Tables after = run_backend(problem, GetParam(), settings(false, true), 2);
  double sum = 0.0;
  for (RowIndex r = 0; r < 60; ++r) {
    if (r % 11 == 3) continue;  // never updated, so never projected
    for (const float value : after.users.row(r)) {
      EXPECT_GE(value, 0.0F);
      sum += value;
    }
  }
  EXPECT_GT(sum, 0.0);
}

INSTANTIATE_TEST_SUITE_P(Ranks, SgdEpoch, ::testing::Values(1U, 7U, 16U, 33U, 64U, 67U, 128U, 129U, 257U));

TEST(SgdGrid, RunsAtRank8192) {
  const Problem problem = random_problem(12, 10, 0.6);
  const SgdStep step = settings(true, false);
  const Tables initial = initial_tables(problem, 8192, true);
  std::vector<Row> users = rows_of(initial.users, problem.by_user);
  std::vector<Row> items = rows_of(initial.items, problem.by_item);
  run_serially(problem, step, users, items);
  const Tables tables = run_backend(problem, 8192, step, 2);
  EXPECT_LT(worst_row_error(tables.users, users), 1e-4);
  EXPECT_LT(worst_row_error(tables.items, items), 1e-4);
}

TEST(SgdGrid, LearnsAPlantedModel) {
  Problem problem = random_problem(400, 300, 0.3);
  FactorTable x({400, 2, false});
  FactorTable y({300, 2, false});
  initialize(x, Side::kUsers, 77, 1.4);
  initialize(y, Side::kItems, 77, 1.4);
  const auto planted = [&](RowIndex u, RowIndex i) {
    return 3.0F + x.row(u)[0] * y.row(i)[0] + x.row(u)[1] * y.row(i)[1];
  };
  for (RowIndex u = 0; u < 400; ++u) {
    for (EntryIndex k = problem.by_user.offsets[u]; k < problem.by_user.offsets[u + 1]; ++k) {
      problem.by_user.values[k] = planted(u, problem.by_user.columns[k]);
    }
  }
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  const auto grid = backend->load_grid(problem.by_user.view(), problem.by_item.view());
  Tables tables = initial_tables(problem, 8, false);
  const auto users = backend->create_table(tables.users.shape());
  const auto items = backend->create_table(tables.items.shape());
  backend->write_rows(*users, {0, 400}, tables.users);
  backend->write_rows(*items, {0, 300}, tables.items);
  SgdStep step = settings(false, false);
  step.objective.regularization = 0.001;
  step.grid = grid.get();
  step.users = users.get();
  step.items = items.get();
  const auto rmse = [&] {
    const ErrorSums sums = backend->prediction_errors(problem.by_user.view(), *users, *items, 3.0, -100.0F, 100.0F);
    return std::sqrt(sums.squared / static_cast<double>(problem.by_user.columns.size()));
  };
  const double before = rmse();
  for (step.epoch = 0; step.epoch < 60; ++step.epoch) backend->sgd_epoch(step);
  EXPECT_GT(before, 1.0);
  EXPECT_LT(rmse(), 0.05);
}

}  // namespace
}  // namespace concerto
