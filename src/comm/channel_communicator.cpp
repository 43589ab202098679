// Ranks meet in a mesh and become a communicator.
#include <chrono>
#include <memory>
#include <span>
#include <utility>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/comm/communicators.hpp"

#include "channel_transport.hpp"
#include "scheduled_communicator.hpp"

namespace concerto {

Result<std::unique_ptr<Communicator>> make_channel_communicator(Network& network, Store& store,
                                                                const ChannelOptions& options,
                                                                const CommLimits& limits) {
  CONCERTO_CHECK(options.self.role == Role::kRank && options.self.index < options.size, "a rank outside its group");
  const Deadline deadline = std::chrono::steady_clock::now() + limits.connect;
  const std::uint64_t group = checksum(std::as_bytes(std::span(options.prefix)));
  std::unique_ptr<Transport> transport = no_transport();
  if (options.size > 1) {
    MeshOptions mesh;
    mesh.self = options.self;
    mesh.size = options.size;
    mesh.listen_address = options.listen_address;
    mesh.reached_at = options.reached_at;
    mesh.prefix = options.prefix;
    mesh.seed = group;
    auto opened = ChannelTransport::open(network, store, mesh);
    if (const Result<void> met = opened->await_all(deadline); !met) return met.failure();
    transport = std::move(opened);
  }
  return std::unique_ptr<Communicator>(std::make_unique<ScheduledCommunicator>(
      "channel", options.self.index, options.size, group, std::move(transport), limits));
}

}  // namespace concerto
