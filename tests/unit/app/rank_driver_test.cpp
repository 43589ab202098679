// Whole sharded runs with real threads: ranks are threads of this process, their communicators share memory.
#include "../src/app/rank_driver.hpp"

#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/comm/communicators.hpp"
#include "concerto/comm/stores.hpp"
#include "concerto/compute/backends.hpp"

#include "../train/ranks.hpp"
#include "support/inproc_network.hpp"
#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::planted_data;
using test::same_bytes;
using ::testing::HasSubstr;

TrainOptions options_of(std::uint32_t epochs) {
  TrainOptions options;
  options.objective.regularization = 0.03;
  options.objective.biases = true;
  options.objective.bias_regularization = 0.02;
  options.rank = 8;
  options.inner = InnerSolver::kCholesky;
  options.epochs = epochs;
  return options;
}

TrainOptions sgd_options_of(std::uint32_t epochs) {
  TrainOptions options = options_of(epochs);
  options.solver = SolverKind::kSgd;
  return options;
}

std::vector<std::pair<TrainOptions, Collective>> each_way(std::uint32_t epochs) {
  return {{options_of(epochs), Collective::kFactors},
          {options_of(epochs), Collective::kGrams},
          {sgd_options_of(epochs), Collective::kFactors}};
}

/// A store served in this process, and a client of it for each rank.
class Stores {
 public:
  explicit Stores(Rank ranks) {
    for (Rank r = 0; r < ranks; ++r) {
      networks_.push_back(hub_.network({"job", Role::kRank, r, 1}));
      stores_.push_back(make_embedded_store(*networks_.back(), server_->address(), kLauncher));
    }
  }
  Store& operator[](Rank rank) { return *stores_[rank]; }

 private:
  static inline const Identity kLauncher{"job", Role::kLauncher, 0, 0};
  test::InprocHub hub_;
  std::unique_ptr<Network> server_network_ = hub_.network(kLauncher);
  std::unique_ptr<StoreServer> server_ = make_embedded_store_server(*server_network_, "127.0.0.1:0", "job");
  std::vector<std::unique_ptr<Network>> networks_;
  std::vector<std::unique_ptr<Store>> stores_;
};

struct Ended {
  RankOutcome outcome;
  std::optional<TrainResult> result;
};

/// Runs `ranks` threads; `during` is called while they run.
std::vector<Ended> run_ranks(const Dataset& data, const TrainOptions& options, Rank ranks, const CommLimits& limits,
                             const std::function<void(InprocGroup&)>& during = {}, std::stop_token stop = {},
                             const DetectorLimits& detector = {},
                             const std::function<void(Rank, TrainOptions&)>& change = {},
                             Collective collective = Collective::kFactors, const std::filesystem::path& versions = {}) {
  InprocGroup group = make_inproc_group(ranks, limits);
  Stores stores(ranks);
  std::vector<Ended> ended(ranks);
  {
    std::vector<std::jthread> threads;
    for (Rank r = 0; r < ranks; ++r) {
      threads.emplace_back([&, r] {
        ThreadPool pool(1);
        const auto backend = make_cpu_backend(pool);
        TrainOptions own = options;
        if (change) change(r, own);
        const ShardedOptions sharding{r, ranks, 4, 2, collective};
        ShardedTrainer trainer(*backend, data, nullptr, nullptr, own, std::nullopt, sharding);
        RankRun run;
        run.node = node_options(own, sharding);
        run.node.limits = detector;
        run.node.blame_after = Tick{200};
        run.make_board = [&, r](BoardEvents events) {
          return std::make_unique<RankBoard>(stores[r], r, ranks, std::chrono::seconds(2), std::move(events));
        };
        if (r == 1) run.stop = stop;
        Pace pace({.pace = 1.1, .slow_ranks = 1, .slow_factor = 1.5}, r, ranks);
        std::optional<VersionLog> log;
        if (!versions.empty()) {
          log.emplace(versions, r, ranks, trainer.host_table(Side::kUsers).shape(),
                      trainer.host_table(Side::kItems).shape());
          run.watch = {&pace, &*log};
        }
        ended[r].outcome = drive_rank(trainer, *group.ranks[r], run);
        if (log) log->finish();
        if (!ended[r].outcome.failure) ended[r].result = trainer.finish();
      });
    }
    if (during) during(group);
  }
  return ended;
}

std::vector<Ended> run_ranks(const Dataset& data, const TrainOptions& options, Rank ranks, Collective collective) {
  return run_ranks(data, options, ranks, {}, {}, {}, {}, {}, collective);
}

TEST(RankDriver, RanksAsThreadsTrainTheModelOfOneProcess) {
  const Dataset data = planted_data(700, 300);
  const TrainOptions options = options_of(4);
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const TrainResult alone = train(*backend, data, nullptr, nullptr, options, std::nullopt, {}, {});
  for (const Rank ranks : {1U, 2U, 3U, 4U}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    const auto ended = run_ranks(data, options, ranks, {});
    for (const Ended& rank : ended) {
      ASSERT_TRUE(rank.result) << rank.outcome.failure->failure.message;
      EXPECT_TRUE(same_bytes(rank.result->users, alone.users));
      EXPECT_TRUE(same_bytes(rank.result->items, alone.items));
      ASSERT_EQ(rank.outcome.epochs.size(), 4U);
      EXPECT_EQ(rank.outcome.epochs.back().loss, alone.epochs.back().loss);
      EXPECT_GT(rank.outcome.compute_seconds, 0.0);
    }
  }
}

TEST(RankDriver, LogsOfVersionsEndAtTheResult) {
  const Dataset data = planted_data(700, 300);
  const auto folder = std::filesystem::path(::testing::TempDir()) / "rank-driver-versions";
  for (const auto& [options, collective] : each_way(3)) {
    SCOPED_TRACE(static_cast<int>(options.solver) * 10 + static_cast<int>(collective));
    std::filesystem::remove_all(folder);
    const auto ended = run_ranks(data, options, 3, {}, {}, {}, {}, {}, collective, folder);
    for (const Ended& rank : ended) ASSERT_TRUE(rank.result) << rank.outcome.failure->failure.message;
    VersionHistory history(folder);
    ASSERT_FALSE(history.times().empty());
    history.advance(history.times().front());
    EXPECT_FALSE(same_bytes(history.users(), ended[0].result->users));
    history.advance(history.times().back());
    EXPECT_TRUE(same_bytes(history.users(), ended[0].result->users));
    EXPECT_TRUE(same_bytes(history.items(), ended[0].result->items));
  }
  std::filesystem::remove_all(folder);
}

TEST(RankDriver, BytesSentAreTheLeastForARingAndWhatSumsTake) {
  const Dataset data = planted_data(1400, 600, 0.05);
  TrainOptions options = options_of(2);
  options.rank = 32;
  const auto ended = run_ranks(data, options, 2, {});
  std::uint64_t sent = 0;
  for (const Ended& rank : ended) sent += rank.outcome.bytes_sent.front();
  const std::uint64_t rows = std::uint64_t{33} * 4 * (1400 + 600);
  EXPECT_GE(sent, rows);
  EXPECT_LE(sent, rows + rows / 20);
}

TEST(RankDriver, RanksAsThreadsRotateAsRanksInOneThreadDo) {
  for (const Dataset& data : {planted_data(700, 300), planted_data(70, 3, 0.9)}) {
    const TrainOptions options = sgd_options_of(5);
    for (const Rank ranks : {1U, 2U, 4U}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks");
      test::Ranks alone({&data, nullptr, nullptr, options, 2}, ranks, 4);
      alone.run();
      const TrainResult expected = alone.member(0).trainer->finish();
      const auto ended = run_ranks(data, options, ranks, {});
      for (const Ended& rank : ended) {
        ASSERT_TRUE(rank.result) << rank.outcome.failure->failure.message;
        EXPECT_TRUE(same_bytes(rank.result->users, expected.users));
        EXPECT_TRUE(same_bytes(rank.result->items, expected.items));
        EXPECT_EQ(rank.outcome.epochs.back().loss, alone.member(0).epochs.back().loss);
      }
    }
  }
}

TEST(RankDriver, BytesSentByARotationAreTheLeastAndWhatSumsTake) {
  const Dataset data = planted_data(1400, 600, 0.05);
  TrainOptions options = sgd_options_of(2);
  options.rank = 32;
  const Rank ranks = 3;
  std::uint64_t sent = 0;
  std::uint64_t sent_at_end = 0;
  for (const Ended& rank : run_ranks(data, options, ranks, {})) {
    sent += rank.outcome.bytes_sent.front();
    sent_at_end += rank.outcome.bytes_sent_at_end;
  }
  const std::uint64_t item_bytes = std::uint64_t{34} * 4 * 600;
  const std::uint64_t user_bytes = std::uint64_t{33} * 4 * 1400;
  EXPECT_GE(sent, 2 * (ranks - 1) * item_bytes);
  EXPECT_LE(sent, 2 * (ranks - 1) * item_bytes * 21 / 20);
  EXPECT_GE(sent_at_end, (ranks - 1) * user_bytes);
  EXPECT_LE(sent_at_end, (ranks - 1) * user_bytes * 21 / 20);
}

TEST(RankDriver, RanksAsThreadsSumPartialsAsRanksInOneThreadDo) {
  const Dataset ratings = planted_data(700, 90);
  const Dataset clicks = planted_data(700, 90, 0.1, false);
  for (const Dataset* data : {&ratings, &clicks}) {
    TrainOptions options = options_of(4);
    if (data == &clicks) {
      options.objective.kind = ObjectiveKind::kImplicitUnobserved;
      options.objective.biases = false;
    }
    for (const Rank ranks : {1U, 2U, 4U}) {
      SCOPED_TRACE(std::to_string(ranks) + " ranks");
      test::Ranks alone({data, nullptr, nullptr, options, 2, Collective::kGrams}, ranks, 4);
      alone.run();
      const TrainResult expected = alone.member(0).trainer->finish();
      const auto ended = run_ranks(*data, options, ranks, Collective::kGrams);
      for (const Ended& rank : ended) {
        ASSERT_TRUE(rank.result) << rank.outcome.failure->failure.message;
        EXPECT_TRUE(same_bytes(rank.result->users, expected.users));
        EXPECT_TRUE(same_bytes(rank.result->items, expected.items));
        EXPECT_EQ(rank.outcome.epochs.back().loss, alone.member(0).epochs.back().loss);
      }
    }
  }
}

TEST(RankDriver, BytesSentWithPartialsAreThosePredictedAndWhatSumsTake) {
  const Dataset data = planted_data(9000, 64, 0.05);
  const TrainOptions options = options_of(2);
  const Rank ranks = 3;
  std::uint64_t sent = 0;
  std::uint64_t sent_at_end = 0;
  for (const Ended& rank : run_ranks(data, options, ranks, Collective::kGrams)) {
    sent += rank.outcome.bytes_sent.front();
    sent_at_end += rank.outcome.bytes_sent_at_end;
  }
  const CollectiveBytes bytes = collective_bytes(9000, 64, options, ranks);
  EXPECT_GE(sent, ranks * bytes.grams_epoch - ranks);
  EXPECT_LE(sent, ranks * bytes.grams_epoch * 5 / 4);  // sums of 141 chunks of users are seen at this size
  EXPECT_LT(5 * sent, ranks * bytes.factors_epoch);
  EXPECT_GE(sent_at_end, ranks * bytes.grams_end - ranks);
  EXPECT_LE(sent_at_end, ranks * bytes.grams_end * 21 / 20);
}

TEST(RankDriver, ARequestToStopOnOneRankEndsAllAlike) {
  const Dataset data = planted_data();
  std::stop_source stop;
  stop.request_stop();
  for (const auto& [options, collective] : each_way(1000)) {
    for (const Ended& rank : run_ranks(data, options, 3, {}, {}, stop.get_token(), {}, {}, collective)) {
      ASSERT_TRUE(rank.result);
      EXPECT_TRUE(rank.result->was_stopped);
      EXPECT_EQ(rank.result->kept_epoch, 1U);
    }
  }
}

TEST(RankDriver, ARankWhoseConnectionsEndEndsTheRunForAll) {
  const Dataset data = planted_data();
  for (const auto& [options, collective] : each_way(1'000'000)) {
    const auto cut = [](InprocGroup& group) { group.faults->cut(1); };
    const auto ended = run_ranks(data, options, 3, {}, cut, {}, {}, {}, collective);
    for (Rank r = 0; r < 3; ++r) {
      ASSERT_TRUE(ended[r].outcome.failure) << "rank " << r;
      // It lives and its heartbeats go on, so nobody is dead: what is named is the connection.
      EXPECT_THAT(ended[r].outcome.failure->failure.message, HasSubstr("the connection with rank "));
    }
  }
}

TEST(RankDriver, ARankThatNeverAnswersEndsInTheTimeLimit) {
  const Dataset data = planted_data();
  CommLimits limits;
  limits.operation = std::chrono::milliseconds(500);
  const auto ended =
      run_ranks(data, options_of(1'000'000), 2, limits, [](InprocGroup& group) { group.faults->pause(1); });
  for (const Ended& rank : ended) ASSERT_TRUE(rank.outcome.failure);
}

TEST(RankDriver, ARankThatFailsTellsTheOthersWhy) {
  const Dataset data = planted_data();
  TrainOptions options = options_of(1000);
  options.rank = 64;  // more than any row has entries
  const auto ended = run_ranks(data, options, 3, {}, {}, {}, {}, [](Rank rank, TrainOptions& own) {
    if (rank == 2) own.objective.regularization = own.objective.bias_regularization = 0.0;
  });
  ASSERT_TRUE(ended[2].outcome.failure);
  EXPECT_THAT(ended[2].outcome.failure->failure.message, HasSubstr("not positive definite"));
  for (Rank r = 0; r < 2; ++r) {
    ASSERT_TRUE(ended[r].outcome.failure);
    EXPECT_EQ(ended[r].outcome.failure->blamed, 2U);
    EXPECT_THAT(ended[r].outcome.failure->failure.message, HasSubstr("rank 2 gave up: "));
    EXPECT_THAT(ended[r].outcome.failure->failure.message, HasSubstr("not positive definite"));
  }
}

}  // namespace
}  // namespace concerto
