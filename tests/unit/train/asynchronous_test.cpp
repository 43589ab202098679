// Asynchronous training of several ranks in one thread and virtual time, with real numbers: strong equals the run of
// one process to the byte; the other levels reach its loss; all copies end equal.
#include "concerto/train/asynchronous.hpp"

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <queue>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/compute/backends.hpp"

#include "small_data.hpp"
#include "support/same_bytes.hpp"

namespace concerto {
namespace {

using test::planted_data;
using test::same_bytes;

TrainOptions options_for(ObjectiveKind kind, SolverKind solver) {
  TrainOptions options;
  options.objective.kind = kind;
  options.objective.regularization = 0.05;
  options.objective.bias_regularization = 0.02;
  options.objective.biases = kind == ObjectiveKind::kExplicit;
  options.rank = 6;
  options.solver = solver;
  options.inner = InnerSolver::kCholesky;
  options.slice = 4;
  options.epochs = 6;
  return options;
}

/// Ranks, messages with drawn delays, and steps that take drawn times; `slow` of them are three times as slow.
class Group {
 public:
  Group(const Dataset& data, TrainOptions options, Rank ranks, TableLevel level, double mean, Rank slow = 0,
        std::uint64_t seed = 1)
      : random_(seed), slow_(slow) {
    options.objective.mean = mean;
    plan_ = plan_blocks(data.lengths(Side::kUsers), data.lengths(Side::kItems), options, ranks, 4);
    record_ = first_membership(plan_.placed, std::vector<Incarnation>(ranks, 1));
    for (Rank r = 0; r < ranks; ++r) {
      AsynchronousOptions node;
      node.replicator.self = r;
      node.replicator.ranks = ranks;
      node.replicator.window_bytes = 8'192;
      node.is_adding = options.solver == SolverKind::kSgd;
      node.epochs = options.epochs;
      node.blocks_per_step = plan_.blocks_per_step;
      node.levels = {level, level};
      node.weights = plan_.weights;
      members_.push_back(std::make_unique<Member>(data, options, plan_, std::move(node), pool_));
      std::vector<BlockId> own;
      for (BlockId b = 0; b < plan_.rows.size(); ++b) {
        if (record_.places[b].owner == r) own.push_back(b);
      }
      members_[r]->trainer.own(own);
    }
    for (Rank r = 0; r < ranks; ++r) {
      after(0, [this, r] { act(r, {}, [&](AsynchronousEffects& out) { at(r).node.membership(record_, out); }); });
      for (Rank s = 0; s < ranks; ++s) {
        if (s != r)
          after(1, [this, r, s] { act(r, {}, [&](AsynchronousEffects& out) { at(r).node.connected(s, 1, out); }); });
      }
    }
  }

  void run() {
    for (std::uint64_t events = 0; !queue_.empty(); ++events) {
      ASSERT_LT(events, 1'000'000U) << "no end";
      const Event next = queue_.top();
      queue_.pop();
      now_ = next.at;
      next.what();
    }
    for (const auto& m : members_) EXPECT_EQ(m->node.phase(), RunPhase::kFinished);
  }

  [[nodiscard]] const FactorTable& table(Rank rank, Side side) { return members_[rank]->trainer.table(side); }
  /// With sgd users are with their owners.
  [[nodiscard]] FactorTable users() {
    FactorTable whole = table(0, Side::kUsers);
    for (BlockId b = 0; b < plan_.rows.size(); ++b) {
      if (plan_.blocks[b].table != Side::kUsers) continue;
      const FactorTable& own = table(record_.places[b].owner, Side::kUsers);
      for (RowIndex u = plan_.rows[b].begin; u < plan_.rows[b].end; ++u) {
        std::ranges::copy(own.row(u), whole.row(u).begin());
        if (!whole.biases().empty()) whole.biases()[u] = own.biases()[u];
      }
    }
    return whole;
  }
  [[nodiscard]] std::vector<float> copied_row(Rank rank, Side side, RowIndex row) {
    std::vector<float> values(at(rank).trainer.row_values());
    for (BlockId b = 0; b < plan_.rows.size(); ++b) {
      const bool is_in = row >= plan_.rows[b].begin && row < plan_.rows[b].end;
      if (plan_.blocks[b].table == side && is_in) at(rank).trainer.copy_row(b, row, values);
    }
    return values;
  }
  [[nodiscard]] std::uint64_t duration() const { return now_; }
  [[nodiscard]] std::uint32_t largest_lag() const { return largest_lag_; }

 private:
  struct Member {
    Member(const Dataset& data, const TrainOptions& options, const BlockPlan& plan, AsynchronousOptions its_node,
           ThreadPool& pool)
        : backend(make_cpu_backend(pool)),
          trainer(*backend, data, options, std::nullopt, plan),
          node(std::move(its_node), plan.blocks) {}
    std::unique_ptr<Backend> backend;
    AsynchronousTrainer trainer;
    AsynchronousNode node;
  };
  struct Event {
    std::uint64_t at;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& other) const { return std::pair(at, order) > std::pair(other.at, other.order); }
  };

  Member& at(Rank rank) { return *members_[rank]; }
  void after(std::uint64_t ticks, std::function<void()> what) {
    queue_.push({now_ + ticks, order_++, std::move(what)});
  }
  /// In order, as on a connection.
  void send(Rank from, Rank to, std::function<void()> what) {
    std::uint64_t& last = last_[{from, to}];
    last = std::max(last, now_ + 1 + random_.below(20));
    queue_.push({last, order_++, std::move(what)});
  }

  void act(Rank rank, std::span<const std::byte> payload, const std::function<void(AsynchronousEffects&)>& event) {
    AsynchronousEffects out;
    event(out);
    Member& me = at(rank);
    for (const ReplicaEffect& effect : out.replica.list) {
      if (effect.kind != ReplicaEffectKind::kSend) {
        EXPECT_TRUE(me.trainer.perform(effect, payload));
        continue;
      }
      const auto bytes = me.trainer.payload(effect.message);
      std::vector<FrontierEntry> frontier;
      if (effect.message.kind == ReplicaMessageKind::kPut) {
        const auto first = out.replica.frontiers.begin() + effect.frontier;
        frontier.assign(first, first + static_cast<std::ptrdiff_t>(members_.size()));
      }
      send(rank, effect.peer,
           [this, rank, to = effect.peer, message = effect.message, frontier,
            bytes = std::vector<std::byte>(bytes.begin(), bytes.end())] {
             act(to, bytes,
                 [&](AsynchronousEffects& then) { EXPECT_TRUE(at(to).node.received(rank, message, frontier, then)); });
           });
    }
    for (const auto& [peer, message] : out.sends) {
      send(rank, peer, [this, rank, to = peer, message = message] {
        act(to, {}, [&](AsynchronousEffects& then) { at(to).node.received(rank, message, then); });
      });
    }
    if (out.step) begin(rank, *out.step);
  }

  void begin(Rank rank, const BlockStep& step) {
    Member& me = at(rank);
    for (BlockId b = 0; b < plan_.rows.size(); ++b) {
      if (plan_.blocks[b].table == me.node.reads(step)) {
        largest_lag_ = std::max(largest_lag_, lag_of(me.node.need(step), me.node.replicator().clock(b)));
      }
    }
    me.trainer.prepare(step, me.node.replicator());
    me.trainer.run(step);
    const std::uint64_t takes = (20 + random_.below(20)) * (rank < slow_ ? 3 : 1);
    after(takes, [this, rank] { act(rank, {}, [&](AsynchronousEffects& out) { at(rank).node.step_finished(out); }); });
  }

  Random random_;
  Rank slow_;
  ThreadPool pool_{1};
  BlockPlan plan_;
  Membership record_;
  std::vector<std::unique_ptr<Member>> members_;
  std::priority_queue<Event> queue_;
  std::map<std::pair<Rank, Rank>, std::uint64_t> last_;
  std::uint64_t now_ = 0;
  std::uint64_t order_ = 0;
  std::uint32_t largest_lag_ = 0;
};

TrainResult alone(const Dataset& data, const TrainOptions& options) {
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  return train(*backend, data, nullptr, nullptr, options, std::nullopt, {}, {});
}

double training_rmse(const Dataset& data, const FactorTable& users, const FactorTable& items, double mean) {
  double sum = 0.0;
  std::size_t count = 0;
  const CompressedRows matrix = data.by_user();
  for (RowIndex u = 0; u < matrix.rows; ++u) {
    for (EntryIndex k = matrix.offsets[u]; k < matrix.offsets[u + 1]; ++k) {
      const RowIndex i = matrix.columns[k];
      double predicted = mean + users.bias(u) + items.bias(i);
      for (std::uint32_t f = 0; f < users.rank(); ++f)
        predicted += static_cast<double>(users.row(u)[f]) * items.row(i)[f];
      sum += (matrix.values[k] - predicted) * (matrix.values[k] - predicted);
      ++count;
    }
  }
  return std::sqrt(sum / static_cast<double>(count));
}

TEST(Asynchronous, StrongIsTheRunOfOneProcessToTheByte) {
  const Dataset ratings = planted_data(700, 300);
  const Dataset clicks = planted_data(700, 300, 0.1, false);
  for (const ObjectiveKind kind : {ObjectiveKind::kExplicit, ObjectiveKind::kImplicitUnobserved}) {
    const Dataset& data = kind == ObjectiveKind::kExplicit ? ratings : clicks;
    for (const SolverKind solver : {SolverKind::kAls, SolverKind::kSubspace}) {
      const TrainOptions options = options_for(kind, solver);
      const TrainResult expected = alone(data, options);
      for (const Rank ranks : {1U, 2U, 4U}) {
        SCOPED_TRACE("kind " + std::to_string(static_cast<int>(kind)) + ", solver " +
                     std::to_string(static_cast<int>(solver)) + ", ranks " + std::to_string(ranks));
        Group group(data, options, ranks, {Level::kStrong, 0}, expected.mean);
        group.run();
        for (Rank r = 0; r < ranks; ++r) {
          EXPECT_TRUE(same_bytes(group.table(r, Side::kUsers), expected.users)) << "rank " << r;
          EXPECT_TRUE(same_bytes(group.table(r, Side::kItems), expected.items)) << "rank " << r;
        }
        EXPECT_EQ(group.largest_lag(), 0U);
      }
    }
  }
}

TEST(Asynchronous, OtherLevelsReachTheSameErrorAndEndWithEqualCopies) {
  const Dataset data = planted_data(700, 300);
  const TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kAls);
  const TrainResult expected = alone(data, options);
  const double goal = training_rmse(data, expected.users, expected.items, expected.mean);
  for (const TableLevel level : {TableLevel{Level::kBounded, 1}, TableLevel{Level::kEventual, 0}}) {
    for (const Rank slow : {0U, 1U}) {
      SCOPED_TRACE("level " + std::to_string(static_cast<int>(level.level)) + ", slow " + std::to_string(slow));
      Group group(data, options, 4, level, expected.mean, slow);
      group.run();
      for (Rank r = 1; r < 4; ++r) {
        EXPECT_TRUE(same_bytes(group.table(r, Side::kUsers), group.table(0, Side::kUsers)));
        EXPECT_TRUE(same_bytes(group.table(r, Side::kItems), group.table(0, Side::kItems)));
      }
      const double reached =
          training_rmse(data, group.table(0, Side::kUsers), group.table(0, Side::kItems), expected.mean);
      EXPECT_NEAR(reached / goal, 1.0, 0.02);
      if (level.level == Level::kBounded) {
        EXPECT_LE(group.largest_lag(), 1U);
      }
    }
  }
}

TEST(Asynchronous, ARowIsCopiedAsTheStateOfItsBlockHasIt) {
  const Dataset data = planted_data(700, 300);
  for (const SolverKind solver : {SolverKind::kAls, SolverKind::kSgd}) {
    Group group(data, options_for(ObjectiveKind::kExplicit, solver), 2, {Level::kEventual, 0}, 3.0);
    group.run();
    for (const Side side : {Side::kItems, Side::kUsers}) {
      const FactorTable& table = group.table(1, side);
      for (const RowIndex row : {RowIndex{0}, RowIndex{129}, table.rows() - 1}) {
        std::vector<float> expected(table.row(row).begin(), table.row(row).begin() + 6);
        expected.push_back(table.biases()[row]);
        EXPECT_EQ(group.copied_row(1, side, row), expected) << "row " << row;
      }
    }
  }
}

TEST(Asynchronous, ASlowRankHoldsStrongUpAndEventualNot) {
  const Dataset data = planted_data(700, 300);
  const TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kAls);
  const auto duration = [&](TableLevel level) {
    Group group(data, options, 4, level, 3.0, 1);
    group.run();
    return group.duration();
  };
  EXPECT_LT(duration({Level::kEventual, 0}), duration({Level::kStrong, 0}) * 6 / 10) << "virtual time";
}

TEST(Asynchronous, SgdAddsUpWhatAllWritersHaveDone) {
  const Dataset data = planted_data(700, 300);
  TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kSgd);
  options.epochs = 12;
  options.learning_rate = 0.1;
  const TrainResult expected = alone(data, options);
  const double goal = training_rmse(data, expected.users, expected.items, expected.mean);
  for (const TableLevel level : {TableLevel{Level::kBounded, 0}, TableLevel{Level::kEventual, 0}}) {
    for (const Rank ranks : {1U, 3U}) {
      SCOPED_TRACE("level " + std::to_string(static_cast<int>(level.level)) + ", ranks " + std::to_string(ranks));
      Group group(data, options, ranks, level, expected.mean);
      group.run();
      for (Rank r = 1; r < ranks; ++r) {
        EXPECT_TRUE(same_bytes(group.table(r, Side::kItems), group.table(0, Side::kItems)));
      }
      const FactorTable users = group.users();
      EXPECT_NEAR(training_rmse(data, users, group.table(0, Side::kItems), expected.mean) / goal, 1.0, 0.05);
    }
  }
}

TEST(Asynchronous, SgdsRanksThatAllFollowASlowOneDoNotDiverge) {
  const Dataset data = planted_data(700, 300, 0.8);
  TrainOptions options = options_for(ObjectiveKind::kExplicit, SolverKind::kSgd);
  options.epochs = 30;
  options.learning_rate = 0.3;
  const TrainResult expected = alone(data, options);
  const double goal = training_rmse(data, expected.users, expected.items, expected.mean);
  Group group(data, options, 8, {Level::kBounded, 2}, expected.mean, 1);
  group.run();
  const double reached = training_rmse(data, group.users(), group.table(0, Side::kItems), expected.mean);
  EXPECT_LT(reached, 1.1 * goal) << "all added whole: 1.8 * goal";
}

}  // namespace
}  // namespace concerto
