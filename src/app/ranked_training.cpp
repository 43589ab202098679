// A rank's run, put together.
#include "ranked_training.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/comm/communicators.hpp"

#include "rank_driver.hpp"
#include "rendezvous.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kMembershipEpoch = 1;

std::chrono::milliseconds milliseconds(std::uint32_t count) {
  return std::chrono::milliseconds(count);
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "an unnamed machine";
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

Collective collective_of(const JobEnvironment& job, const RankedInputs& inputs, const Backend& backend) {
  using Kind = CollectiveWish::Kind;
  const std::string& word = inputs.config.replication.collective;
  const CollectiveWish wish{word == "grams"     ? Kind::kGrams
                            : word == "factors" ? Kind::kFactors
                                                : Kind::kAuto,
                            inputs.config.compute.deterministic};
  const Dataset& train = inputs.data.train;
  return choose_collective(backend, train.users().size(), train.items().size(), inputs.options, job.world_size, wish);
}

RankFacts facts_of(const JobEnvironment& job, const RankedInputs& inputs, Collective collective) {
  const Dataset& train = inputs.data.train;
  RankFacts facts;
  facts.version = CONCERTO_VERSION;
  facts.world_size = job.world_size;
  // Ranks with different backends may choose differently: they are compared by what was chosen.
  Config config = inputs.config;
  config.replication.collective = collective == Collective::kGrams ? "grams" : "factors";
  facts.config_json = comparable_config(config_to_json(config));
  facts.data_digest = digest_of(inputs.data);
  facts.data_words =
      fmt::format("{} users, {} items, {} entries", train.users().size(), train.items().size(), train.entries());
  facts.host = host_name();
  facts.process = static_cast<std::uint64_t>(getpid());
  facts.incarnation = job.incarnation;
  return facts;
}

/// Factors in the clear between machines, where that was forbidden.
void require_allowed(const SecurityConfig& security, const std::vector<RankFacts>& ranks) {
  if (!security.require_encryption || security.trusted_fabric) return;
  for (const RankFacts& rank : ranks) {
    if (rank.host == ranks.front().host) continue;
    throw Error(ErrorCode::kBadInput,
                fmt::format("gloo would send factors from {} to {} in the clear; set security.trusted_fabric = true if "
                            "nobody listens on that network",
                            ranks.front().host, rank.host),
                "security.require_encryption");
  }
}

std::unique_ptr<Communicator> connect(const JobEnvironment& job, Store& store, const Config& config,
                                      const std::vector<RankFacts>& ranks) {
  GlooOptions options;
  options.network_interface = config.cluster.network_interface;
  const bool is_one_machine =
      std::ranges::all_of(ranks, [&](const RankFacts& rank) { return rank.host == ranks.front().host; });
  if (options.network_interface.empty() && is_one_machine) options.address = "127.0.0.1";
  options.prefix = fmt::format("collectives/{}", kMembershipEpoch);
  CommLimits limits;
  limits.operation = milliseconds(config.cluster.operation_limit_ms);
  limits.connect = milliseconds(config.cluster.meet_limit_ms);
  auto made = make_gloo_communicator(store, job.rank, job.world_size, options, limits);
  if (!made) throw Error(ErrorCode::kIo, made.failure().message, "connecting ranks");
  return std::move(made).value();
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
  sharding.collective = collective_of(job, inputs, engine.backend());
  ShardedTrainer trainer(engine.backend(), inputs.data.train, test, validation, inputs.options, inputs.warm_start,
                         sharding);
  const std::vector<RankFacts> ranks =
      meet(store, job, facts_of(job, inputs, sharding.collective), milliseconds(config.cluster.meet_limit_ms));
  require_allowed(config.security, ranks);
  const std::unique_ptr<Communicator> communicator = connect(job, store, config, ranks);

  RankRun run;
  run.node = node_options(inputs.options, sharding);
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
  const MoveFacts moves = trainer.moves();
  facts.schedule = moves.schedule;
  facts.collective = moves.words;
  facts.ranks = job.world_size;
  facts.rounds = moves.rounds;
  facts.largest_load = moves.load.mean > 0.0 ? moves.load.largest / moves.load.mean : 1.0;
  facts.bytes_sent = outcome.bytes_sent;
  facts.bytes_sent_at_end = outcome.bytes_sent_at_end;
  facts.least_bytes_per_epoch = moves.least_bytes_per_epoch;
  facts.seconds = outcome.seconds;
  facts.compute_seconds = outcome.compute_seconds;
  TrainResult result = trainer.finish();
  result.epochs = outcome.epochs;
  return result;
}

}  // namespace concerto
