// All ranks of a sharded training in one thread: nodes say what to do, exchanges and passes are copies between buffers.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/train/sharded.hpp"

#include "small_data.hpp"

namespace concerto::test {

/// Held-out entries of the same planted model, some of users and items that training does not know.
inline HeldOut planted_test(const Dataset& data) {
  const RowIndex users = data.users().size();
  const RowIndex items = data.items().size();
  HeldOut part = held_out_of(users, items, planted_entries(users, items, 0.03, 9));
  part.unknown = {{kNoRow, 3, 4.0F}, {5, kNoRow, 2.0F}, {kNoRow, kNoRow, 3.0F}, {users - 1, kNoRow, 1.0F}};
  part.unknown_users = 2;
  return part;
}

struct Case {
  const Dataset* data = nullptr;
  const HeldOut* test = nullptr;
  const HeldOut* validation = nullptr;
  TrainOptions options;
  std::uint32_t digest_every = 1;
  Collective collective = Collective::kFactors;
  std::function<std::unique_ptr<Backend>(Rank)> backend = {};  ///< empty: the cpu's
};

/// All ranks of a run.
class Ranks {
 public:
  Ranks(const Case& c, Rank ranks, std::uint32_t rounds = 4, unsigned threads = 1) : pool_(threads) {
    for (Rank r = 0; r < ranks; ++r) {
      const ShardedOptions sharding{r, ranks, rounds, c.digest_every, c.collective};
      backends_.push_back(c.backend ? c.backend(r) : make_cpu_backend(pool_));
      members_.push_back(
          std::make_unique<Member>(node_options(c.options, sharding),
                                   std::make_unique<ShardedTrainer>(*backends_.back(), *c.data, c.test, c.validation,
                                                                    c.options, std::nullopt, sharding)));
    }
    for (auto& m : members_) m->node.start(Tick{0});
    if (ranks > 1) return;
    (void)members_[0]->trainer->facts();
    members_[0]->trainer->take_facts();
  }

  /// Performs effects, one rank after another, until all have finished. Throws what a rank throws.
  void run() {
    for (bool is_moving = true; is_moving;) {
      is_moving = false;
      for (auto& m : members_) {
        for (Effect& e : m->node.take_effects()) m->pending.push_back(std::move(e));
        while (!m->pending.empty()) {
          const Effect effect = m->pending.front();
          m->pending.pop_front();
          std::visit([&](const auto& e) { perform(*m, e); }, effect);
          for (Effect& e : m->node.take_effects()) m->pending.push_back(std::move(e));
          is_moving = true;
        }
      }
      if (complete_passes() || complete_exchange()) is_moving = true;
    }
    for (auto& m : members_) ASSERT_TRUE(m->has_finished);
  }

  struct Member {
    Member(const NodeOptions& options, std::unique_ptr<ShardedTrainer> its_trainer)
        : node(options, 1, Tick{0}), trainer(std::move(its_trainer)) {}
    Node node;
    std::unique_ptr<ShardedTrainer> trainer;
    std::deque<Effect> pending;
    /// An all-gather, or gathers to each rank.
    struct Pending {
      Exchange exchange;
      std::function<void()> done;
      std::vector<PartialGather> gathers;
    };
    std::deque<Pending> exchanges;
    std::vector<EpochRecord> epochs;
    bool has_finished = false;
    bool stop = false;
  };
  Member& member(Rank r) { return *members_[r]; }
  std::function<void(Rank, Exchange&)> tamper;                               ///< sees what a rank has received from all
  std::function<void(const BlockPass&, std::span<std::byte>)> tamper_block;  ///< and from one
  std::uint64_t bytes_passed = 0;
  std::uint64_t bytes_of_partials = 0;  ///< from one rank to another

 private:
  void perform(Member& m, const ExchangeFacts&) {
    const auto done = [&m] {
      m.trainer->take_facts();
      m.node.facts_exchanged();
    };
    m.exchanges.push_back({m.trainer->facts(), done, {}});
  }
  void perform(Member& m, const BeginSweep& e) {
    m.trainer->begin_sweep(e.epoch, e.side);
    m.node.sweep_begun();
  }
  void perform(Member& m, const RunStep& e) {
    m.trainer->run_step(e.step);
    m.node.step_finished(e.step);
  }
  void perform(Member& m, const ExchangePartials& e) {
    m.exchanges.push_back({{}, [&m, step = e.step] { m.node.partials_exchanged(step); }, m.trainer->partials(e.step)});
  }
  void perform(Member& m, const SolveSystems& e) {
    m.trainer->solve_systems(e.step);
    m.node.systems_solved(e.step);
  }
  void perform(Member& m, const InstallRows& e) {
    m.trainer->install(e.step);
    m.node.rows_installed(e.step);
  }
  void perform(Member& m, const MeasureEpoch& e) {
    m.trainer->measure(e.epoch, m.stop);
    m.node.epoch_measured();
  }
  void perform(Member& m, const DecideEpoch& e) {
    const bool goes_on = m.trainer->decide(e.epoch);
    m.epochs.push_back(m.trainer->last_epoch());
    m.node.epoch_decided(goes_on);
  }
  void perform(Member& m, const ExchangeRows& e) {
    m.exchanges.push_back({m.trainer->rows(e.step), [&m, step = e.step] { m.node.rows_exchanged(step); }, {}});
  }
  void perform(Member& m, const ExchangeSums&) {
    m.exchanges.push_back({m.trainer->sums(), [&m] { m.node.sums_exchanged(); }, {}});
  }
  void perform(Member& m, const SendBlock& e) { links_[{e.pass.from, e.pass.to}].sends.push_back({&m, e.pass}); }
  void perform(Member& m, const ReceiveBlock& e) { links_[{e.pass.from, e.pass.to}].receives.push_back({&m, e.pass}); }
  void perform(Member& m, const InstallBlock& e) { m.trainer->install_block(e.pass); }
  void perform(Member& m, const PrepareResult&) {
    m.trainer->prepare_result();
    m.node.result_prepared();
  }
  void perform(Member& m, const ExchangeResult&) {
    m.exchanges.push_back({m.trainer->result(), [&m] { m.node.result_exchanged(); }, {}});
  }
  void perform(Member& m, const MeasureResult&) {
    m.trainer->measure_result();
    m.node.result_measured();
  }
  void perform(Member& m, const TakeResult&) {
    m.trainer->take_result();
    m.node.result_taken();
  }
  void perform(Member& m, const MeetAtEnd&) {
    m.exchanges.push_back({Exchange{}, [&m] { m.node.met_at_end(); }, {}});
  }
  void perform(Member& m, const FinishRun&) { m.has_finished = true; }
  void perform(Member&, const FailRun& e) { FAIL() << e.failure.message; }
  void perform(Member&, const AbortCollectives&) {}
  void perform(Member&, const PublishHeartbeat&) {}

  /// Blocks between two ranks, in the order in which both begin them.
  bool complete_passes() {
    bool is_moving = false;
    for (auto& [ranks, link] : links_) {
      while (!link.sends.empty() && !link.receives.empty()) {
        const auto [from, pass] = link.sends.front();
        const auto [to, awaited] = link.receives.front();
        link.sends.pop_front();
        link.receives.pop_front();
        EXPECT_EQ(pass, awaited);
        const std::span<std::byte> sent = from->trainer->block(pass);
        const std::span<std::byte> received = to->trainer->block(pass);
        EXPECT_EQ(sent.size(), received.size());
        std::ranges::copy(sent, received.begin());
        bytes_passed += sent.size();
        if (tamper_block) tamper_block(pass, received);
        from->node.block_sent(pass);
        to->node.block_received(pass);
        is_moving = true;
      }
    }
    return is_moving;
  }

  bool complete_exchange() {
    for (auto& m : members_) {
      if (m->exchanges.empty()) return false;
    }
    std::vector<Exchange> now;
    for (auto& m : members_) now.push_back(m->exchanges.front().exchange);
    exchange(now);
    for (Rank root = 0; root < members_.size(); ++root) gather(root);
    for (auto& m : members_) {
      const auto done = m->exchanges.front().done;
      m->exchanges.pop_front();
      done();
    }
    return true;
  }

  void gather(Rank root) {
    const auto& of_root = members_[root]->exchanges.front().gathers;
    for (auto& m : members_) ASSERT_EQ(m->exchanges.front().gathers.size(), of_root.size());
    if (of_root.empty()) return;
    std::byte* to = of_root[root].received.data();
    for (Rank from = 0; from < members_.size(); ++from) {
      const PartialGather& given = members_[from]->exchanges.front().gathers[root];
      EXPECT_EQ(given.sizes, of_root[root].sizes);
      ASSERT_EQ(given.mine.size(), of_root[root].sizes[from]);
      if (!given.mine.empty()) std::memcpy(to, given.mine.data(), given.mine.size());
      to += given.mine.size();
      if (from != root) bytes_of_partials += given.mine.size();
    }
    EXPECT_EQ(to, of_root[root].received.data() + of_root[root].received.size());
  }

  void exchange(std::vector<Exchange>& ranks) {
    for (Rank to = 0; to < ranks.size(); ++to) {
      EXPECT_EQ(ranks[to].blocks, ranks[0].blocks) << "rank " << to << " lays its buffer out otherwise";
      for (const GatherBlock& block : ranks[0].blocks) {
        if (block.owner == to) continue;
        std::memcpy(ranks[to].buffer.data() + block.offset, ranks[block.owner].buffer.data() + block.offset,
                    block.bytes);
      }
      if (tamper) tamper(to, ranks[to]);
    }
  }

  struct Link {
    std::deque<std::pair<Member*, BlockPass>> sends;
    std::deque<std::pair<Member*, BlockPass>> receives;
  };

  ThreadPool pool_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<std::unique_ptr<Member>> members_;
  std::map<std::pair<Rank, Rank>, Link> links_;
};

}  // namespace concerto::test
