// A rank's run, put together.
#include "ranked_training.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/comm/communicators.hpp"

#include "fabric.hpp"
#include "rank_driver.hpp"
#include "rendezvous.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kMembershipEpoch = 1;

std::chrono::milliseconds milliseconds(std::uint32_t count) {
  return std::chrono::milliseconds(count);
}

template <class T>
void add_bytes(ChecksumStream& digest, std::span<const T> values) {
  digest.update(std::as_bytes(values));
}

/// Of everything that ranks must have alike: entries of training and of both held-out parts.
std::uint64_t digest_of(const LoadedData& data) {
  ChecksumStream digest;
  const auto add = [&](const CompressedRows& rows) {
    add_bytes(digest, rows.offsets);
    add_bytes(digest, rows.columns);
    add_bytes(digest, rows.values);
  };
  add(data.train.by_user());
  for (const auto* part : {&data.test, &data.validation}) {
    if (*part) add((*part)->known.view());
  }
  return digest.digest();
}

RankFacts facts_of(const JobEnvironment& job, const RankedInputs& inputs) {
  const Dataset& train = inputs.data.train;
  RankFacts facts;
  facts.version = CONCERTO_VERSION;
  facts.world_size = job.world_size;
  facts.config_json = comparable_config(config_to_json(inputs.config));
  facts.data_digest = digest_of(inputs.data);
  facts.data_words =
      fmt::format("{} users, {} items, {} entries", train.users().size(), train.items().size(), train.entries());
  facts.place = place_of_this_process(inputs.config.cluster);
  facts.process = static_cast<std::uint64_t>(getpid());
  facts.incarnation = job.incarnation;
  return facts;
}

std::unique_ptr<Communicator> connect(const JobEnvironment& job, Store& store, const Config& config,
                                      const std::string& address) {
  GlooOptions options;
  options.address = address;
  options.prefix = fmt::format("collectives/{}", kMembershipEpoch);
  CommLimits limits;
  limits.operation = milliseconds(config.cluster.operation_limit_ms);
  limits.connect = milliseconds(config.cluster.meet_limit_ms);
  auto made = make_gloo_communicator(store, job.rank, job.world_size, options, limits);
  if (!made) throw Error(ErrorCode::kIo, made.failure().message, "connecting ranks");
  return std::move(made).value();
}

/// The factors are gathered rather than the Gram matrices of their rows, which would be smaller only where one side has
/// more rows than f / 2 times the other's.
std::string collective_words(const TableShape& users, const TableShape& items) {
  const double rank = users.rank;
  const double factors = rank;  // floats a user row
  const double grams = rank * (rank + 3) / 2 * items.rows / std::max<double>(users.rows, 1);
  return fmt::format("all-gather of factors: {:.0f} floats a user row; Gram matrices of item rows would be {:.0f}",
                     factors, grams);
}

}  // namespace

std::uint32_t threads_of_rank(const JobEnvironment& job, std::uint32_t configured, unsigned usable, unsigned present) {
  if (configured > 0) return configured;
  return std::max(1U, std::min(usable, present / std::max(1U, job.local_size)));
}

TrainResult train_as_rank(const JobEnvironment& job, Store& store, const RankedInputs& inputs, Engine& engine,
                          const TrainObserver& observer, const std::stop_token& stop, ReplicationFacts& facts,
                          Log& log) {
  const Config& config = inputs.config;
  const HeldOut* test = inputs.data.test ? &*inputs.data.test : nullptr;
  const HeldOut* validation = inputs.data.validation ? &*inputs.data.validation : nullptr;
  ShardedOptions sharding;
  sharding.rank = job.rank;
  sharding.ranks = job.world_size;
  sharding.rounds = config.replication.rounds;
  sharding.digest_every = config.replication.digest_every;
  ShardedTrainer trainer(engine.backend(), inputs.data.train, test, validation, inputs.options, inputs.warm_start,
                         sharding);
  const std::vector<RankFacts> ranks =
      meet(store, job, facts_of(job, inputs), milliseconds(config.cluster.meet_limit_ms));
  std::vector<RankPlace> places;
  for (const RankFacts& rank : ranks) places.push_back(rank.place);
  const std::vector<std::string> addresses = addresses_used(places, config.cluster);
  facts.links_in_the_clear = links_between_machines(places, addresses);
  require_allowed(config.security, "gloo", facts.links_in_the_clear);
  const std::unique_ptr<Communicator> communicator = connect(job, store, config, addresses[job.rank]);

  RankRun run;
  run.node.rank = job.rank;
  run.node.ranks = job.world_size;
  run.node.epochs = inputs.options.epochs;
  run.node.rounds = sharding.rounds;
  run.node.limits.heartbeat_every = milliseconds(config.cluster.heartbeat_ms);
  run.node.limits.dead_after = milliseconds(config.cluster.dead_after_ms);
  run.node.limits.stalled_after = milliseconds(config.cluster.stalled_after_ms);
  run.node.blame_after = run.node.limits.dead_after + milliseconds(1000);
  run.incarnation = job.incarnation;
  run.membership_epoch = kMembershipEpoch;
  run.on_epoch = observer.on_epoch;
  run.stop = stop;
  run.make_board = [&](BoardEvents events) {
    return std::make_unique<RankBoard>(store, job.rank, job.world_size, run.node.limits.dead_after, std::move(events));
  };
  log.info(fmt::format("rank {} of {} has met the others; {} connects them", job.rank, job.world_size,
                       communicator->name()));
  const RankOutcome outcome = drive_rank(trainer, *communicator, run);
  if (outcome.failure) throw Error(ErrorCode::kIo, outcome.failure->failure.message, fmt::format("rank {}", job.rank));

  facts.collectives = communicator->name();
  facts.collective = collective_words({inputs.data.train.users().size(), inputs.options.rank, false},
                                      {inputs.data.train.items().size(), inputs.options.rank, false});
  facts.ranks = job.world_size;
  facts.rounds = sharding.rounds;
  const LoadFacts load = load_of(trainer.plan());
  facts.largest_load = load.mean > 0.0 ? load.largest / load.mean : 1.0;
  facts.bytes_sent = outcome.bytes_sent;
  facts.least_bytes_per_epoch = trainer.least_bytes_per_epoch();
  facts.seconds = outcome.seconds;
  facts.compute_seconds = outcome.compute_seconds;
  TrainResult result = trainer.finish();
  result.epochs = outcome.epochs;
  return result;
}

}  // namespace concerto
