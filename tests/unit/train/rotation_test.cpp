// SGD on several ranks: what comes out is the serial execution of the strata in order, to the byte, whatever the number
// of threads; and how the items are cut.
#include "concerto/node/rotation.hpp"

#include <numeric>

#include <gmock/gmock.h>

#include "ranks.hpp"
#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::Case;
using test::planted_data;
using test::planted_test;
using test::Ranks;
using test::same_bytes;
using ::testing::HasSubstr;

TrainOptions sgd_options() {
  TrainOptions options;
  options.objective.regularization = 0.05;
  options.objective.regularization_exponent = 0.7;  // penalties depend on counts of whole rows
  options.objective.bias_regularization = 0.02;
  options.objective.biases = true;
  options.rank = 10;
  options.solver = SolverKind::kSgd;
  options.learning_rate = 0.1;
  options.decay = 0.05;
  options.epochs = 4;
  options.metrics = {parse_metric("rmse"), parse_metric("mae")};
  return options;
}

double mean_of(const Dataset& data) {
  const auto values = data.by_user().values;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// The entries of some users and some items, in both orientations.
struct Submatrix {
  CompressedMatrix by_user;
  CompressedMatrix by_item;
};

Submatrix submatrix(const Dataset& data, std::span<const RowRange> users, RowRange items) {
  std::vector<test::Entry> entries;
  const CompressedRows all = data.by_user();
  for (const RowRange range : users) {
    for (RowIndex u = range.begin; u < range.end; ++u) {
      for (EntryIndex k = all.offsets[u]; k < all.offsets[u + 1]; ++k) {
        if (all.columns[k] >= items.begin && all.columns[k] < items.end) {
          entries.push_back({u, all.columns[k], all.values[k]});
        }
      }
    }
  }
  Submatrix part;
  part.by_user = test::matrix_of(all.rows, all.column_count, entries);
  for (test::Entry& entry : entries) std::swap(entry.user, entry.item);
  part.by_item = test::matrix_of(all.column_count, all.rows, entries);
  return part;
}

std::vector<EntryIndex> counts_of(const CompressedRows& matrix) {
  std::vector<EntryIndex> counts;
  for (RowIndex r = 0; r < matrix.rows; ++r) counts.push_back(matrix.count(r));
  return counts;
}

FactorTable start_of(const Dataset& data, Side side, const TrainOptions& options) {
  const CompressedRows ratings = side == Side::kUsers ? data.by_user() : data.by_item();
  FactorTable table({ratings.rows, options.rank, options.objective.biases});
  initialize(table, side, options.seed, options.init_stddev);
  for (RowIndex r = 0; r < table.rows(); ++r) {
    for (float& value : table.row(r)) {
      if (ratings.count(r) == 0) value = 0.0F;
      if (options.nonnegative) value = std::fabs(value);
    }
  }
  return table;
}

struct Tables {
  FactorTable users;
  FactorTable items;
};

/// The oracle: one process executes the strata in order, in each the ranks' blocks in order, on whole tables.
Tables serial_execution(const Dataset& data, const TrainOptions& options, Rank ranks, std::uint32_t rounds) {
  const Rotation rotation{ranks, kPartsPerRank, options.seed};
  const ShardPlan plan = plan_shards(data.by_user(), data.by_item(), {1.0, 1.0}, ranks, rounds);
  const std::vector<RowRange> parts = cut_item_parts(data.by_item(), rotation.parts());
  const std::vector<EntryIndex> user_counts = counts_of(data.by_user());
  const std::vector<EntryIndex> item_counts = counts_of(data.by_item());
  ThreadPool pool(2);
  const auto backend = make_cpu_backend(pool);
  std::vector<Submatrix> held;
  std::vector<std::vector<std::unique_ptr<Buffer>>> grids(ranks);
  held.reserve(std::size_t{ranks} * parts.size());
  for (Rank r = 0; r < ranks; ++r) {
    for (const RowRange items : parts) {
      const Submatrix& part = held.emplace_back(submatrix(data, owned_rows(plan.users, r), items));
      grids[r].push_back(backend->load_grid(part.by_user.view(), part.by_item.view(), {user_counts, item_counts}));
    }
  }
  Tables tables{start_of(data, Side::kUsers, options), start_of(data, Side::kItems, options)};
  const auto users = backend->create_table(tables.users.shape());
  const auto items = backend->create_table(tables.items.shape());
  backend->write_rows(*users, {0, tables.users.rows()}, tables.users);
  backend->write_rows(*items, {0, tables.items.rows()}, tables.items);
  SgdStep step;
  step.users = users.get();
  step.items = items.get();
  step.objective = options.objective;
  step.objective.mean = mean_of(data);
  step.nonnegative = options.nonnegative;
  step.seed = options.seed;
  for (std::uint32_t epoch = 1; epoch <= options.epochs; ++epoch) {
    step.rate = options.learning_rate / (1.0 + options.decay * (epoch - 1));
    for (std::uint32_t stratum = 0; stratum < ranks; ++stratum) {
      for (Rank r = 0; r < ranks; ++r) {
        for (std::uint32_t j = 0; j < kPartsPerRank; ++j) {
          const std::uint32_t part = rotation.part(r, epoch, stratum * kPartsPerRank + j);
          step.grid = grids[r][part].get();
          step.epoch = (epoch - 1) * rotation.parts() + part;
          backend->sgd_epoch(step);
        }
      }
    }
  }
  backend->read_rows(*users, {0, tables.users.rows()}, tables.users);
  backend->read_rows(*items, {0, tables.items.rows()}, tables.items);
  return tables;
}

TEST(Rotation, EqualsTheSerialExecutionOfItsStrata) {
  const Dataset data = planted_data(700, 300);
  const HeldOut held_out = planted_test(data);
  for (const bool nonnegative : {false, true}) {
    TrainOptions options = sgd_options();
    options.nonnegative = nonnegative;
    for (const Rank ranks : {1U, 2U, 3U, 5U}) {
      const Tables expected = serial_execution(data, options, ranks, 4);
      for (const unsigned threads : {1U, 3U}) {
        SCOPED_TRACE(std::to_string(ranks) + " ranks of " + std::to_string(threads) + " threads" +
                     (nonnegative ? ", nonnegative" : ""));
        Ranks run({&data, &held_out, nullptr, options}, ranks, 4, threads);
        run.run();
        for (Rank r = 0; r < ranks; ++r) {
          const TrainResult result = run.member(r).trainer->finish();
          EXPECT_TRUE(same_bytes(result.users, expected.users)) << "rank " << r;
          EXPECT_TRUE(same_bytes(result.items, expected.items)) << "rank " << r;
        }
      }
      if (!nonnegative) continue;
      for (RowIndex r = 0; r < expected.items.rows(); ++r) {
        EXPECT_THAT(expected.items.row(r), ::testing::Each(::testing::Ge(0.0F)));
      }
    }
  }
}

TEST(Rotation, LossAndMetricsAreThoseOfTheResult) {
  const Dataset data = planted_data(700, 300);
  const HeldOut held_out = planted_test(data);
  TrainOptions options = sgd_options();
  Ranks run({&data, &held_out, nullptr, options}, 3);
  run.run();
  const std::vector<EpochRecord>& epochs = run.member(0).epochs;
  const TrainResult result = run.member(0).trainer->finish();
  // Measured once more, by one backend that has all of it.
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const auto users = backend->create_table(result.users.shape());
  const auto items = backend->create_table(result.items.shape());
  backend->write_rows(*users, {0, result.users.rows()}, result.users);
  backend->write_rows(*items, {0, result.items.rows()}, result.items);
  Objective objective = options.objective;
  objective.mean = result.mean;
  const auto grid = backend->load_grid(data.by_user(), data.by_item());
  const double loss = backend->grid_loss(*grid, *users, *items, objective);
  EXPECT_NEAR(*epochs.back().loss, loss, 1e-9 * loss);
  EXPECT_LT(*epochs.back().loss, *epochs.front().loss);
  Scorer scorer;
  scorer.backend = backend.get();
  scorer.users = users.get();
  scorer.items = items.get();
  scorer.host_users = &result.users;
  scorer.host_items = &result.items;
  scorer.mean = result.mean;
  const MetricValues values = evaluate(scorer, held_out, data.by_user(), options.metrics);
  EXPECT_NEAR(result.final_test->at("rmse"), values.at("rmse"), 1e-12);
  EXPECT_NEAR(epochs.back().test[1].second, values.at("mae"), 1e-12);
  for (Rank r = 1; r < 3; ++r) EXPECT_EQ(run.member(r).epochs.back().loss, epochs.back().loss);
}

TEST(Rotation, FewerItemsThanPartsStillTrain) {
  const Dataset data = planted_data(70, 5, 0.8);
  TrainOptions options = sgd_options();
  options.metrics.clear();
  const Tables expected = serial_execution(data, options, 4, 4);
  Ranks run({&data, nullptr, nullptr, options}, 4);
  run.run();
  EXPECT_TRUE(same_bytes(run.member(3).trainer->finish().users, expected.users));
}

TEST(Rotation, TheBestEpochIsKeptWithItsUsers) {
  const Dataset data = planted_data(150, 90);
  const HeldOut held_out = planted_test(data);
  TrainOptions options = sgd_options();
  options.objective.regularization = 1e-4;  // overfits soon
  options.learning_rate = 0.15;
  options.decay = 0.0;
  options.epochs = 200;
  options.stop_after = 3;
  options.evaluate_every = 500;
  Ranks run({&data, &held_out, &held_out, options}, 3);
  run.run();
  const TrainResult first = run.member(0).trainer->finish();
  ASSERT_TRUE(first.stopped_early);
  ASSERT_LT(first.kept_epoch, run.member(0).epochs.size());
  options.epochs = first.kept_epoch;
  options.stop_after = 0;
  const Tables expected = serial_execution(data, options, 3, 4);
  EXPECT_TRUE(same_bytes(first.users, expected.users));
  EXPECT_TRUE(same_bytes(first.items, expected.items));
  for (Rank r = 1; r < 3; ++r) {
    const TrainResult other = run.member(r).trainer->finish();
    EXPECT_EQ(other.kept_epoch, first.kept_epoch);
    EXPECT_TRUE(same_bytes(other.users, first.users));
    EXPECT_TRUE(same_bytes(other.items, first.items));
    // It was not evaluated when it ended: measured at the end.
    ASSERT_TRUE(other.final_test && other.final_validation);
    EXPECT_EQ(other.final_validation->at("rmse"), run.member(0).epochs[first.kept_epoch - 1].validation.front().second);
  }
}

TEST(Rotation, APartIsGoneOnWithAsItArrives) {
  // A byte changed on the way reaches every rank through the same part: copies stay equal, the result is another.
  const Dataset data = planted_data(700, 300);
  TrainOptions options = sgd_options();
  options.metrics.clear();
  const Tables expected = serial_execution(data, options, 3, 4);
  Ranks run({&data, nullptr, nullptr, options}, 3);
  run.tamper_block = [](const BlockPass& pass, std::span<std::byte> received) {
    if (pass.epoch == 2 && pass.stratum == 1 && pass.to == 1 && !received.empty()) received[2] ^= std::byte{0x40};
  };
  run.run();
  EXPECT_FALSE(same_bytes(run.member(0).trainer->finish().items, expected.items));
}

TEST(Rotation, ItemsThatDifferAfterAnEpochAreNoticedAndNamed) {
  const Dataset data = planted_data(700, 300);
  TrainOptions options = sgd_options();
  options.metrics.clear();
  Ranks run({&data, nullptr, nullptr, options}, 3);
  int exchanges = 0;
  run.tamper = [&](Rank to, Exchange& received) {
    if (to != 2 || ++exchanges != 2) return;  // the first after the facts: items
    for (const GatherBlock& block : received.blocks) {
      if (block.owner == 2 || block.bytes == 0) continue;
      received.buffer[block.offset + block.bytes - 2] ^= std::byte{1};  // an adaptive rate
      return;
    }
  };
  try {
    run.run();
    FAIL() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("copies differ"));
    EXPECT_THAT(error.what(), HasSubstr("of items (rows "));
    EXPECT_THAT(error.what(), HasSubstr("on rank 2"));
  }
}

TEST(Rotation, BytesPassedAreThoseOfTheSchedule) {
  const Dataset data = planted_data(700, 300);
  TrainOptions options = sgd_options();
  options.metrics.clear();
  options.epochs = 1;
  for (const Rank ranks : {2U, 4U}) {
    Ranks run({&data, nullptr, nullptr, options}, ranks);
    run.run();
    const std::uint64_t items = std::uint64_t{300} * (10 + 1 + 1) * sizeof(float);
    EXPECT_EQ(run.bytes_passed, (ranks - 1) * items) << "every part moves on after each stratum but the last";
    const MoveFacts moves = run.member(0).trainer->moves();
    EXPECT_EQ(moves.least_bytes_per_epoch, 2 * (items * (ranks - 1) / ranks));
    EXPECT_EQ(moves.schedule, "rotating");
    EXPECT_EQ(moves.rounds, 2 * ranks);
  }
}

TEST(Rotation, ItemsAreCutAtEqualEntriesAndWholeChunksWhereThereAreMany) {
  const Dataset few = planted_data(500, 300);
  const Dataset many = planted_data(60, 9000, 0.2);
  for (const Dataset* data : {&few, &many}) {
    const CompressedRows by_item = data->by_item();
    for (const std::uint32_t count : {1U, 2U, 6U, 8U}) {
      const std::vector<RowRange> parts = cut_item_parts(by_item, count);
      ASSERT_EQ(parts.size(), count);
      RowIndex next = 0;
      for (const RowRange part : parts) {
        EXPECT_EQ(part.begin, next);
        next = part.end;
        const double share = static_cast<double>(by_item.offsets[part.end] - by_item.offsets[part.begin]) /
                             static_cast<double>(by_item.entries());
        EXPECT_NEAR(share, 1.0 / count, 0.15 / count);
        if (data == &many && part.end != by_item.rows) {
          EXPECT_EQ(part.end % chunk_rows(by_item.rows), 0U);
        }
      }
      EXPECT_EQ(next, by_item.rows);
    }
  }
}

TEST(Rotation, KeptColumnsAreTheColumnsAndNothingElse) {
  const Dataset data = planted_data(150, 90);
  const CompressedRows whole = data.by_user();
  for (const RowRange columns : {RowRange{0, 90}, RowRange{0, 1}, RowRange{17, 60}, RowRange{40, 40}}) {
    const CompressedMatrix kept = keep_columns(whole, columns);
    ASSERT_EQ(kept.offsets.size(), whole.offsets.size());
    std::vector<std::pair<RowIndex, float>> expected;
    for (RowIndex r = 0; r < whole.rows; ++r) {
      EXPECT_EQ(kept.offsets[r], expected.size());
      for (EntryIndex k = whole.offsets[r]; k < whole.offsets[r + 1]; ++k) {
        const RowIndex c = whole.columns[k];
        if (c >= columns.begin && c < columns.end) expected.emplace_back(c, whole.values[k]);
      }
    }
    ASSERT_EQ(kept.columns.size(), expected.size());
    for (std::size_t k = 0; k < expected.size(); ++k) {
      EXPECT_EQ(kept.columns[k], expected[k].first);
      EXPECT_EQ(kept.values[k], expected[k].second);
    }
  }
}

}  // namespace
}  // namespace concerto
