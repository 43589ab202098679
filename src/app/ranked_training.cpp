// A rank's run, put together.
#include "ranked_training.hpp"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/train/sharded_popularity.hpp"

#include "asynchronous_training.hpp"
#include "fabric.hpp"
#include "rank_driver.hpp"
#include "rank_steps.hpp"
#include "rendezvous.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kMembershipEpoch = 1;
constexpr std::uint32_t kPopularityTable = 6;  // of operation tags
constexpr std::uint32_t kPacingTable = 11;

std::chrono::milliseconds milliseconds(std::uint32_t count) {
  return std::chrono::milliseconds(count);
}

Collective collective_of(const JobEnvironment& job, const RankedInputs& inputs, const Backend& backend) {
  using Kind = CollectiveWish::Kind;
  const std::string& word = inputs.config.replication.collective;
  const CollectiveWish wish{word == "grams"     ? Kind::kGrams
                            : word == "factors" ? Kind::kFactors
                                                : Kind::kAuto,
                            inputs.config.compute.deterministic};
  const Dataset& train = inputs.data.train;
  return choose_collective(backend, train.lengths(Side::kUsers).rows, train.lengths(Side::kItems).rows, inputs.options,
                           job.world_size, wish);
}

RankFacts facts_of(const JobEnvironment& job, const RankedInputs& inputs, Collective collective,
                   const Backend& backend) {
  const Dataset& train = inputs.data.train;
  const RowIndex users = train.lengths(Side::kUsers).rows;
  const RowIndex items = train.lengths(Side::kItems).rows;
  RankFacts facts;
  facts.version = CONCERTO_VERSION;
  facts.world_size = job.world_size;
  // Ranks with different backends may choose differently: they are compared by what was chosen.
  Config config = inputs.config;
  config.replication.collective = collective == Collective::kGrams ? "grams" : "factors";
  facts.config_json = comparable_config(config_to_json(config));
  facts.data_digest = inputs.data.digest;
  facts.data_words = fmt::format("{} users, {} items, {} entries", users, items, train.entries());
  facts.place = place_of_this_process(inputs.config.cluster);
  find_device(facts.place, inputs.config.cluster, backend.name() == "cuda");
  facts.process = static_cast<std::uint64_t>(getpid());
  facts.incarnation = job.incarnation;
  return facts;
}

}  // namespace

std::uint32_t threads_of_rank(const JobEnvironment& job, std::uint32_t configured, unsigned usable, unsigned present) {
  if (configured > 0) return configured;
  return std::max(1U, std::min(usable, present / std::max(1U, job.local_size)));
}

RankedTraining::RankedTraining(const JobEnvironment& job, const JobStore& meeting_place, const RankedInputs& inputs,
                               Engine& engine, Log& log)
    : job_(job),
      store_(meeting_place.store()),
      inputs_(inputs),
      log_(log),
      meeting_place_(meeting_place),
      engine_(engine) {
  const Config& config = inputs.config;
  sharding_.rank = job.rank;
  sharding_.ranks = job.world_size;
  const Dataset& train = inputs.data.train;
  sharding_.rounds = config.replication.rounds > 0 ? config.replication.rounds
                                                   : best_rounds(inputs.options, train.lengths(Side::kUsers),
                                                                 train.lengths(Side::kItems), job.world_size);
  sharding_.digest_every = config.replication.digest_every;
  sharding_.collective = collective_of(job, inputs, engine.backend());
  const auto begin = std::chrono::steady_clock::now();
  try {
    trainer_ = std::make_unique<ShardedTrainer>(engine.backend(), inputs.data.train, inputs.data.test,
                                                inputs.data.validation, inputs.options, inputs.warm_start, sharding_);
  } catch (const std::exception& error) {
    publish_failure(store_, job.rank, {job.rank, error.what()});  // the others wait to meet this rank
    throw;
  }
  load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const std::vector<RankFacts> ranks = meet(store_, job, facts_of(job, inputs, sharding_.collective, engine.backend()),
                                            milliseconds(config.cluster.meet_limit_ms));
  std::vector<RankPlace> places;
  for (const RankFacts& rank : ranks) {
    places.push_back(rank.place);
    incarnations_.push_back(rank.incarnation);
  }
  links_ = choose_links(places, config, meeting_place.credentials().has_value());
  if (links_.collectives == "channel" && config.security.plain_channel) {
    log.warn(
        "security.plain_channel: what ranks send each other is NOT encrypted, and they believe who they say they are");
  }
  connections_.emplace(job, meeting_place, config, links_, fmt::format("collectives/{}", kMembershipEpoch));
  const std::string why = links_.why_not_nccl.empty() ? "" : fmt::format(" (not NCCL: {})", links_.why_not_nccl);
  log.info(fmt::format("rank {} of {} has met the others; {} connects them{}", job.rank, job.world_size,
                       connections_->communicator().name(), why));
}

TrainResult RankedTraining::train(const TrainObserver& observer, const std::stop_token& stop, ReplicationFacts& facts) {
  const Config& config = inputs_.config;
  std::optional<Pace> pace;
  if (config.emulation.pace > 0.0) pace.emplace(config.emulation, job_.rank, job_.world_size);
  std::optional<VersionLog> versions;
  if (!config.output.versions.empty()) {
    const Dataset& data = inputs_.data.train;
    const auto shape = [&](Side side) {
      return TableShape{data.lengths(side).rows, inputs_.options.rank, inputs_.options.objective.biases};
    };
    versions.emplace(config.output.versions, job_.rank, job_.world_size, shape(Side::kUsers), shape(Side::kItems));
  }
  TrainResult result = train_watched({pace ? &*pace : nullptr, versions ? &*versions : nullptr}, observer, stop, facts);
  if (versions) versions->finish();
  if (pace) facts.pacing = pacing_of_all(*pace);
  return result;
}

PacingFacts RankedTraining::pacing_of_all(const Pace& pace) {
  std::vector<double> numbers(2 * std::size_t{job_.world_size});
  std::vector<GatherBlock> blocks;
  for (Rank r = 0; r < job_.world_size; ++r) blocks.push_back({r, r * 2 * sizeof(double), 2 * sizeof(double)});
  numbers[2 * std::size_t{job_.rank}] = pace.error();
  numbers[2 * std::size_t{job_.rank} + 1] = pace.held_seconds();
  RankSteps steps(connections_->communicator(), kMembershipEpoch, kPacingTable, "gathering how steps were paced");
  steps.all_gather(std::as_writable_bytes(std::span(numbers)), blocks);
  PacingFacts facts;
  for (Rank r = 0; r < job_.world_size; ++r) {
    facts.errors.push_back(numbers[2 * std::size_t{r}]);
    facts.held_seconds.push_back(numbers[2 * std::size_t{r} + 1]);
  }
  return facts;
}

TrainResult RankedTraining::train_watched(const StepWatch& watch, const TrainObserver& observer,
                                          const std::stop_token& stop, ReplicationFacts& facts) {
  facts.level = inputs_.config.replication.level;
  facts.collectives = connections_->communicator().name();
  facts.links_in_the_clear = links_.in_the_clear;
  facts.ranks = job_.world_size;
  const LoadFacts load = trainer_->moves().load;
  facts.largest_load = load.mean > 0.0 ? load.largest / load.mean : 1.0;
  if (facts.level != "strong" && job_.world_size > 1) {
    facts.schedule = "asynchronous";
    facts.collective = "messages: puts of blocks, and with sgd deltas to their owners";
    return train_asynchronously(
        {job_, meeting_place_, inputs_, links_, engine_.backend(), connections_->communicator(), incarnations_, watch},
        *trainer_, observer, stop, facts);
  }
  const ClusterConfig& limits = inputs_.config.cluster;
  RankRun run;
  run.node = node_options(inputs_.options, sharding_);
  run.node.limits.heartbeat_every = milliseconds(limits.heartbeat_ms);
  run.node.limits.dead_after = milliseconds(limits.dead_after_ms);
  run.node.limits.stalled_after = milliseconds(limits.stalled_after_ms);
  run.node.blame_after = run.node.limits.dead_after + milliseconds(1000);
  run.incarnation = job_.incarnation;
  run.membership_epoch = kMembershipEpoch;
  run.on_epoch = observer.on_epoch;
  run.stop = stop;
  run.watch = watch;
  run.make_board = [&](BoardEvents events) {
    return std::make_unique<RankBoard>(store_, job_.rank, job_.world_size, run.node.limits.dead_after,
                                       std::move(events));
  };
  const RankOutcome outcome = drive_rank(*trainer_, connections_->communicator(), run);
  if (outcome.failure) throw Error(ErrorCode::kIo, outcome.failure->failure.message, fmt::format("rank {}", job_.rank));

  const MoveFacts moves = trainer_->moves();
  facts.schedule = moves.schedule;
  facts.collective = moves.words;
  facts.rounds = moves.rounds;
  facts.bytes_sent = outcome.bytes_sent;
  facts.bytes_sent_at_end = outcome.bytes_sent_at_end;
  facts.least_bytes_per_epoch = moves.least_bytes_per_epoch;
  facts.seconds = outcome.seconds;
  facts.compute_seconds = outcome.compute_seconds;
  TrainResult result = trainer_->finish();
  result.epochs = outcome.epochs;
  return result;
}

WritingFacts RankedTraining::write_model(const Model& model, const std::filesystem::path& target) {
  return write_model_together(model, target, trainer_->plan(), connections_->communicator(), kMembershipEpoch);
}

std::optional<MetricValues> RankedTraining::popularity() {
  const RankShare share = trainer_->share();
  if (share.test == nullptr) return std::nullopt;
  RankSteps steps(connections_->communicator(), kMembershipEpoch, kPopularityTable, "measuring popularity");
  ShardedPopularity measured(inputs_.data.train, trainer_->plan(), job_.rank, share, inputs_.options.metrics);
  const Exchange items = measured.item_sums();
  steps.all_gather(items.buffer, items.blocks);
  const Exchange users = measured.user_sums();
  steps.all_gather(users.buffer, users.blocks);
  return measured.values();
}

}  // namespace concerto
