// Gloo, channels, or NCCL.
#include "rank_connections.hpp"

#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"
#include "concerto/comm/communicators.hpp"
#include "concerto/comm/networks.hpp"

namespace concerto {
namespace {

std::string host_and_port(const std::string& host, std::uint32_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

/// The address `by` ports further; the configuration has been checked.
std::string further(const std::string& address, Rank by) {
  const std::size_t colon = address.rfind(':');
  return address.substr(0, colon + 1) + std::to_string(std::stoul(address.substr(colon + 1)) + by);
}

ChannelOptions channel_options(const JobEnvironment& job, const ClusterConfig& cluster, const RankLinks& links,
                               const std::string& prefix) {
  ChannelOptions options;
  options.self = {job.job, Role::kRank, job.rank, job.incarnation};
  options.size = job.world_size;
  options.prefix = prefix;
  const std::uint32_t port = cluster.channel_port == 0 ? 0 : cluster.channel_port + job.rank;
  options.listen_address = host_and_port(links.addresses.at(job.rank), port);
  if (!cluster.channel_reached_at.empty()) options.reached_at = further(cluster.channel_reached_at, job.rank);
  return options;
}

}  // namespace

MeshOptions mesh_options(const JobEnvironment& job, const ClusterConfig& cluster, const RankLinks& links) {
  MeshOptions options;
  options.self = {job.job, Role::kRank, job.rank, job.incarnation};
  options.size = job.world_size;
  options.seed = job.rank;
  const Rank further_by = job.world_size + job.rank;  // the ports before are those of channels
  const std::uint32_t port = cluster.channel_port == 0 ? 0 : cluster.channel_port + further_by;
  options.listen_address = host_and_port(links.addresses.at(job.rank), port);
  if (!cluster.channel_reached_at.empty()) options.reached_at = further(cluster.channel_reached_at, further_by);
  return options;
}

std::unique_ptr<Network> make_rank_network(const JobEnvironment& job, const JobStore& meeting_place,
                                           const Config& config) {
  if (config.security.plain_channel) return make_plain_network({job.job, Role::kRank, job.rank, job.incarnation});
  CONCERTO_CHECK(meeting_place.credentials(), "channels without certificates were let pass");
  return make_tls_network(*meeting_place.credentials());
}

RankConnections::RankConnections(const JobEnvironment& job, const JobStore& meeting_place, const Config& config,
                                 const RankLinks& links, const std::string& prefix) {
  CommLimits limits;
  limits.operation = std::chrono::milliseconds(config.cluster.operation_limit_ms);
  limits.connect = std::chrono::milliseconds(config.cluster.meet_limit_ms);
  Store& store = meeting_place.store();
  const auto made = [&] {
    if (links.collectives == "channel") {
      network_ = make_rank_network(job, meeting_place, config);
      return make_channel_communicator(*network_, store, channel_options(job, config.cluster, links, prefix), limits);
    }
    if (links.collectives == "nccl") {
      NcclOptions options;
      options.prefix = prefix;
      return make_staged_nccl_communicator(store, job.rank, job.world_size, options, limits);
    }
    GlooOptions options;
    options.address = links.addresses.at(job.rank);
    options.prefix = prefix;
    return make_gloo_communicator(store, job.rank, job.world_size, options, limits);
  };
  auto communicator = made();
  if (!communicator) throw Error(ErrorCode::kIo, communicator.failure().message, "connecting ranks");
  communicator_ = std::move(communicator).value();
}

}  // namespace concerto
