// Levels but strong over real components.
#include "asynchronous_training.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "promise_exchange.hpp"
#include "rank_steps.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kMembershipEpoch = 1;
constexpr std::uint32_t kTable = 8;  // of operation tags
constexpr std::uint32_t kEndTable = 9;
constexpr std::uint32_t kPromisesTable = 10;

Membership record_of(const ShardPlan& plan, const BlockPlan& blocks, std::vector<Incarnation> incarnations) {
  std::vector<Rank> owners = plan.items.owners;
  owners.insert(owners.end(), plan.users.owners.begin(), plan.users.owners.end());
  return first_membership(blocks.placed, std::move(incarnations), owners);
}

TableLevel level_of(const ReplicationConfig& run, const TableReplicationConfig& table) {
  const bool is_same = table.level == "same";
  const std::string& level = is_same ? run.level : table.level;
  return {level == "strong"    ? Level::kStrong
          : level == "bounded" ? Level::kBounded
                               : Level::kEventual,
          is_same ? run.max_lag : table.max_lag};
}

AsynchronousOptions node_options(const AsynchronousSetup& setup, const BlockPlan& blocks) {
  const ReplicationConfig& config = setup.inputs.config.replication;
  AsynchronousOptions node;
  node.replicator.self = setup.job.rank;
  node.replicator.ranks = setup.job.world_size;
  node.replicator.incarnation = setup.job.incarnation;
  node.replicator.window_bytes = std::uint64_t{config.window_kib} << 10;
  node.is_adding = setup.inputs.options.solver == SolverKind::kSgd;
  node.epochs = setup.inputs.options.epochs;
  node.blocks_per_step = blocks.blocks_per_step;
  static_assert(static_cast<int>(Side::kUsers) == 0, "levels are by Side");
  node.levels = {level_of(config, config.users), level_of(config, config.items)};
  node.weights = blocks.weights;
  return node;
}

DetectorLimits limits_of(const ClusterConfig& cluster) {
  return {Tick(cluster.heartbeat_ms), Tick(cluster.dead_after_ms), Tick(cluster.stalled_after_ms)};
}

/// What this rank has measured of itself.
void take_up(const AsynchronousOutcome& outcome, ReplicationFacts& facts) {
  facts.seconds = outcome.seconds;
  facts.compute_seconds = outcome.compute_seconds;
  facts.bytes_sent = {std::accumulate(outcome.bytes_sent.begin(), outcome.bytes_sent.end(), std::uint64_t{0})};
}

}  // namespace

TrainResult train_asynchronously(const AsynchronousSetup& setup, ShardedTrainer& trainer, const TrainObserver& observer,
                                 const std::stop_token& stop, ReplicationFacts& facts) {
  RankSteps steps(setup.communicator, kMembershipEpoch, kTable, "measuring the result");
  const auto exchange = [&](const Exchange& what) {
    if (!what.blocks.empty()) steps.all_gather(what.buffer, what.blocks);
  };
  exchange(trainer.facts());
  trainer.take_facts();

  const Dataset& data = setup.inputs.data.train;
  TrainOptions options = setup.inputs.options;
  options.objective = trainer.objective();
  const BlockPlan blocks =
      plan_blocks(data.lengths(Side::kUsers), data.lengths(Side::kItems), options, setup.job.world_size);
  AsynchronousRun run;
  run.node = node_options(setup, blocks);
  run.record = record_of(trainer.plan(), blocks, setup.incarnations);
  std::vector<BlockId> own;
  for (BlockId b = 0; b < blocks.rows.size(); ++b) {
    if (run.record.places[b].owner == setup.job.rank) own.push_back(b);
  }
  // All begin together, however long each takes to make its blocks ready.
  std::optional<AsynchronousTrainer> ready;
  steps.work_together([&] {
    ready.emplace(setup.backend, data, options, setup.inputs.warm_start, blocks);
    ready->own(own);
  });
  AsynchronousTrainer& asynchronous = *ready;
  run.watch = setup.watch;
  run.limits = limits_of(setup.inputs.config.cluster);
  run.stop = stop;
  run.sampling.every_seconds = setup.inputs.config.replication.sample_seconds;
  if (run.sampling.every_seconds > 0.0) run.sampling.rows = sampled_rows(blocks, options.seed);
  std::vector<EpochRecord> epochs;
  run.on_sweep = [&](SweepClock sweep, double seconds) {
    EpochRecord& record = epochs.emplace_back();
    record.epoch = sweep;
    record.seconds = seconds;
    // What a fast rank does beyond its share is not progress of the run.
    if (observer.on_epoch && sweep <= options.epochs) observer.on_epoch(record);
  };
  Store& store = setup.meeting_place.store();
  run.make_board = [&](BoardEvents events) {
    return std::make_unique<RankBoard>(store, setup.job.rank, setup.job.world_size, run.limits.dead_after,
                                       std::move(events));
  };
  const auto network = make_rank_network(setup.job, setup.meeting_place, setup.inputs.config);
  run.make_mesh = [&](MeshEvents events) {
    return make_mesh(*network, store, mesh_options(setup.job, setup.inputs.config.cluster, setup.links),
                     std::move(events));
  };
  run.meet_at_end = [&] { return setup.communicator.barrier({kMembershipEpoch, kEndTable, 0, 0}); };
  const AsynchronousOutcome outcome = drive_asynchronous(asynchronous, blocks, run);
  if (outcome.failure) throw Error(ErrorCode::kIo, *outcome.failure, fmt::format("rank {}", setup.job.rank));
  if (outcome.sweeps == 0) throw Error(ErrorCode::kCancelled, "stopped before the first epoch was complete");
  take_up(outcome, facts);
  const bool is_adding = run.node.is_adding;
  RankSteps promises(setup.communicator, kMembershipEpoch, kPromisesTable, "gathering what ranks have measured");
  facts.promises = gather_promises(
      promises, outcome, run,
      shares_of_entries(data.lengths(Side::kUsers), data.lengths(Side::kItems), blocks, run.record, is_adding));

  trainer.adopt(asynchronous.table(Side::kUsers), asynchronous.table(Side::kItems), is_adding);
  const std::uint32_t epoch = std::min(outcome.sweeps, options.epochs);
  trainer.measure(epoch, outcome.was_stopped);
  exchange(trainer.sums());
  (void)trainer.decide(epoch);
  EpochRecord last = trainer.last_epoch();
  trainer.prepare_result();
  exchange(trainer.result());
  trainer.measure_result();
  exchange(trainer.sums());
  trainer.take_result();
  TrainResult result = trainer.finish();
  // Seconds are this rank's own sweeps; what was measured belongs to the end.
  if (epochs.empty()) epochs.emplace_back();
  last.epoch = epochs.back().epoch;
  last.seconds = epochs.back().seconds;
  epochs.back() = last;
  result.epochs = std::move(epochs);
  return result;
}

}  // namespace concerto
