// The loop around a node: events from threads into one queue, effects out of the node to whoever performs them.
#include "rank_driver.hpp"

#include <chrono>
#include <deque>
#include <exception>
#include <memory>

#include "concerto/base/error.hpp"

#include "work_queue.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

class Driver {
 public:
  Driver(ShardedTrainer& trainer, Communicator& communicator, const RankRun& run)
      : trainer_(trainer), communicator_(communicator), run_(run), node_(run.node, run.incarnation, now()) {}
  RankOutcome run();

 private:
  struct PendingExchange {
    OperationHandle handle;
    std::function<void()> done;
  };

  [[nodiscard]] Tick now() const { return std::chrono::duration_cast<Tick>(Clock::now() - origin_); }
  [[nodiscard]] BoardEvents board_events();
  void loop();
  void look_at_exchanges();
  void perform_effects();

  void perform(const ExchangeFacts& e) {
    exchange(trainer_.facts(), e.operation, kFactsTable, [this] {
      trainer_.take_facts();
      node_.facts_exchanged();
    });
  }
  void perform(const BeginSweep& e) {
    compute([this, e] { trainer_.begin_sweep(e.epoch, e.side); }, [this] { node_.sweep_begun(); });
  }
  void perform(const RunStep& e) {
    compute(
        [this, e] {
          run_.watch.paced(e.step.epoch, e.step.side, [&] { trainer_.run_step(e.step); });
          if (!has_systems(e.step)) log(trainer_.changed_rows(e.step));
        },
        [this, e] { node_.step_finished(e.step); });
  }
  void perform(const InstallRows& e) {
    compute([this, e] { trainer_.install(e.step); }, [this, e] { node_.rows_installed(e.step); });
  }
  /// Done when the last of the gathers is: they end in their order.
  void perform(const ExchangePartials& e) {
    const std::vector<PartialGather> gathers = trainer_.partials(e.step);
    OperationHandle last;
    for (Rank root = 0; root < gathers.size(); ++root) {
      const OperationTag tag{run_.membership_epoch, kPartialsTable, e.operation, root};
      last = communicator_.gather(tag, root, gathers[root].mine, gathers[root].received, gathers[root].sizes);
    }
    await(last, [this, step = e.step] { node_.partials_exchanged(step); });
  }
  void perform(const SolveSystems& e) {
    compute(
        [this, e] {
          run_.watch.paced(e.step.epoch, e.step.side, [&] { trainer_.solve_systems(e.step); });
          log(trainer_.changed_rows(e.step));
        },
        [this, e] { node_.systems_solved(e.step); });
  }
  void perform(const SendBlock& e) {
    const auto handle = communicator_.send(pass_tag(e.pass), e.pass.to, trainer_.block(e.pass));
    await(handle, [this, pass = e.pass] { node_.block_sent(pass); });
  }
  void perform(const ReceiveBlock& e) {
    const auto handle = communicator_.receive(pass_tag(e.pass), e.pass.from, trainer_.block(e.pass));
    await(handle, [this, pass = e.pass] { node_.block_received(pass); });
  }
  void perform(const InstallBlock& e) {
    compute([this, e] { trainer_.install_block(e.pass); }, [] {});
  }
  void perform(const MeasureEpoch& e) {
    compute(
        [this, e] {
          trainer_.measure(e.epoch, run_.stop.stop_requested());
          log(trainer_.changed_rows_of_epoch());
        },
        [this] { node_.epoch_measured(); });
  }
  void perform(const DecideEpoch& e);
  void perform(const ExchangeRows& e) {
    exchange(trainer_.rows(e.step), e.operation, e.step.side == Side::kUsers ? kUsersTable : kItemsTable,
             [this, step = e.step] { node_.rows_exchanged(step); });
  }
  void perform(const ExchangeSums& e) {
    exchange(trainer_.sums(), e.operation, kSumsTable, [this] { node_.sums_exchanged(); });
  }
  void perform(const PrepareResult&) {
    compute([this] { trainer_.prepare_result(); }, [this] { node_.result_prepared(); });
  }
  void perform(const ExchangeResult& e) {
    exchange(trainer_.result(), e.operation, kResultTable, [this] { node_.result_exchanged(); });
  }
  void perform(const MeasureResult&) {
    compute([this] { trainer_.measure_result(); }, [this] { node_.result_measured(); });
  }
  void perform(const TakeResult&) {
    compute([this] { trainer_.take_result(); }, [this] { node_.result_taken(); });
  }
  void perform(const MeetAtEnd& e) {
    const OperationTag tag{run_.membership_epoch, kEndTable, e.operation, 0};
    await(communicator_.barrier(tag), [this] { node_.met_at_end(); });
  }
  void perform(const PublishHeartbeat& e) {
    if (board_) board_->publish(e.heartbeat);
  }
  void perform(const AbortCollectives& e) { communicator_.abort(e.reason); }
  void perform(const FinishRun&) {
    if (board_) board_->finish();
  }
  void perform(const FailRun& e) {
    if (board_) board_->publish_failure(e.blamed, e.failure.message);
    outcome_.failure = e;
  }

  /// Does `work` on the compute lane, then `finished` on this thread.
  void compute(std::function<void()> work, std::function<void()> finished);
  /// The step's rows are there only when its systems are solved.
  [[nodiscard]] bool has_systems(const StepId& step) const {
    return run_.node.schedule == ScheduleKind::kSumming && step.side == Side::kItems;
  }
  void log(const std::vector<TableRows>& changed) {
    if (run_.watch.versions == nullptr) return;
    for (const auto& [side, rows] : changed) run_.watch.versions->add(side, rows, trainer_.host_table(side));
  }
  void exchange(const Exchange& what, std::uint64_t operation, std::uint32_t table, std::function<void()> done);
  /// Does `done` on this thread when the operation is done.
  void await(OperationHandle operation, std::function<void()> done);
  /// Of a block's way: the same on both ranks, whatever else they do.
  [[nodiscard]] OperationTag pass_tag(const BlockPass& pass) const {
    return {run_.membership_epoch, kItemsTable, std::uint64_t{pass.epoch} << 32 | pass.stratum, pass.part};
  }

  static constexpr std::uint32_t kUsersTable = 0;
  static constexpr std::uint32_t kItemsTable = 1;
  static constexpr std::uint32_t kSumsTable = 2;
  static constexpr std::uint32_t kFactsTable = 3;
  static constexpr std::uint32_t kEndTable = 4;
  static constexpr std::uint32_t kResultTable = 5;
  static constexpr std::uint32_t kPartialsTable = 6;

  ShardedTrainer& trainer_;
  Communicator& communicator_;
  const RankRun& run_;
  Clock::time_point origin_ = Clock::now();
  WorkQueue events_;
  Doorbell bell_{events_};
  Node node_;
  std::unique_ptr<RankBoard> board_;
  std::deque<PendingExchange> exchanges_;
  std::uint64_t bytes_before_ = 0;
  RankOutcome outcome_;
  std::optional<ComputeLane> lane_;
};

BoardEvents Driver::board_events() {
  const auto post = [this](auto what) { events_.push(std::move(what)); };
  BoardEvents events;
  events.heard = [this, post](Rank rank, const Heartbeat& heartbeat) {
    post([this, rank, heartbeat] { node_.heard(rank, heartbeat, now()); });
  };
  events.lost = [this, post](Rank rank, const std::string& evidence) {
    post([this, rank, evidence] { node_.lost(rank, evidence, now()); });
  };
  events.finished = [this, post](Rank rank) { post([this, rank] { node_.finished(rank); }); };
  events.failed = [this, post](Rank rank, Rank blamed, const std::string& message) {
    post([this, rank, blamed, message] { node_.peer_failed(rank, blamed, message); });
  };
  events.store_lost = [this, post](const std::string& message) {
    post([this, message] { node_.store_lost(message); });
  };
  return events;
}

void Driver::compute(std::function<void()> work, std::function<void()> finished) {
  lane_->push([this, work = std::move(work), finished = std::move(finished)] {
    try {
      work();
      events_.push(finished);
    } catch (const std::exception& error) {
      events_.push([this, message = std::string(error.what())] { node_.work_failed(message); });
    }
  });
}

void Driver::perform(const DecideEpoch& e) {
  const auto goes_on = std::make_shared<bool>(false);
  compute([this, e, goes_on] { *goes_on = trainer_.decide(e.epoch); },
          [this, goes_on] {
            const CommCounters counters = communicator_.counters();
            outcome_.epochs.push_back(trainer_.last_epoch());
            outcome_.bytes_sent.push_back(counters.bytes_sent - bytes_before_);
            bytes_before_ = counters.bytes_sent;
            if (run_.on_epoch) run_.on_epoch(outcome_.epochs.back());
            node_.epoch_decided(*goes_on);
          });
}

void Driver::exchange(const Exchange& what, std::uint64_t operation, std::uint32_t table, std::function<void()> done) {
  const OperationTag tag{run_.membership_epoch, table, operation, 0};
  await(communicator_.all_gather(tag, what.buffer, what.blocks), std::move(done));
}

void Driver::await(OperationHandle operation, std::function<void()> done) {
  exchanges_.push_back({std::move(operation), std::move(done)});
  events_.push([] {});  // it may be done already
}

/// Collectives complete in order, and so do the passes between two ranks; the first that failed ends them all.
void Driver::look_at_exchanges() {
  for (std::size_t next = 0; next < exchanges_.size();) {
    const OperationState state = exchanges_[next].handle->state();
    if (state == OperationState::kPending) {
      ++next;
      continue;
    }
    if (state == OperationState::kFailed) {
      exchanges_.clear();
      const auto failure = communicator_.failure();
      node_.collective_failed(failure ? failure->failure : Failure{FailureKind::kLost, "a collective failed"},
                              failure ? failure->suspects : std::vector<Rank>{}, now());
      return;
    }
    const auto done = std::move(exchanges_[next].done);
    exchanges_.erase(exchanges_.begin() + static_cast<std::ptrdiff_t>(next));
    done();
  }
}

void Driver::perform_effects() {
  for (auto effects = node_.take_effects(); !effects.empty(); effects = node_.take_effects()) {
    for (const Effect& effect : effects) std::visit([this](const auto& e) { perform(e); }, effect);
  }
}

void Driver::loop() {
  const auto patience = std::min<Tick>(Tick{200}, run_.node.limits.heartbeat_every / 2);
  node_.start(now());
  perform_effects();
  while (!node_.is_over()) {
    if (const auto event = events_.pop(patience)) (*event)();
    look_at_exchanges();
    std::uint64_t moved = trainer_.progress();
    const CommCounters counters = communicator_.counters();
    moved += counters.bytes_sent + counters.bytes_received;
    node_.progress(moved);
    node_.tick(now());
    perform_effects();
  }
  perform_effects();
}

RankOutcome Driver::run() {
  communicator_.on_change(bell_.ringer());
  if (run_.make_board) board_ = run_.make_board(board_events());
  if (run_.node.ranks == 1) {
    (void)trainer_.facts();
    trainer_.take_facts();
  }
  const Clock::time_point begin = Clock::now();
  log(trainer_.own_rows());
  lane_.emplace();
  loop();
  lane_.reset();  // a step that is under way ends first
  outcome_.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  outcome_.compute_seconds = trainer_.compute_seconds() + run_.watch.held_seconds();
  outcome_.bytes_sent_at_end = communicator_.counters().bytes_sent - bytes_before_;
  board_.reset();
  return std::move(outcome_);
}

}  // namespace

RankOutcome drive_rank(ShardedTrainer& trainer, Communicator& communicator, const RankRun& run) {
  return Driver(trainer, communicator, run).run();
}

}  // namespace concerto
