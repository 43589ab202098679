// Ranks meet in the store, connect, and become a communicator.
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/comm/communicators.hpp"

#include "gloo_transport.hpp"
#include "host_address.hpp"
#include "rendezvous.hpp"
#include "scheduled_communicator.hpp"
#include "threads.hpp"

namespace concerto {
namespace {

Result<void> connect_all(GlooTransport& transport, Store& store, Rank rank, Rank size, const std::string& prefix,
                         Deadline deadline) {
  if (const Result<void> announced = announce(store, rank, prefix, transport.addresses(), deadline); !announced) {
    return announced.failure();
  }
  const Result<std::vector<std::string>> addresses = await_announcements(store, size, prefix, deadline);
  if (!addresses) return addresses.failure();
  for (Rank peer = 0; peer < size; ++peer) {
    if (peer == rank) continue;
    const Result<void> connected = transport.connect(peer, addresses.value()[peer]);
    if (connected) continue;
    Failure failure = connected.failure();
    if (time_until(deadline).count() == 0) failure.kind = FailureKind::kTimeout;
    return failure;
  }
  return {};
}

}  // namespace

std::string gloo_address(const GlooOptions& options) {
  return listening_address(options.network_interface, options.address);
}

Result<std::unique_ptr<Communicator>> make_gloo_communicator(Store& store, Rank rank, Rank size,
                                                             const GlooOptions& options, const CommLimits& limits) {
  CONCERTO_CHECK(rank < size, "a rank outside its group");
  const Deadline deadline = std::chrono::steady_clock::now() + limits.connect;
  const std::uint64_t group = checksum(std::as_bytes(std::span(options.prefix)));
  std::unique_ptr<Transport> transport = no_transport();
  if (size > 1) {
    const std::string address = gloo_address(options);
    auto mesh = GlooTransport::listen(rank, size, address, limits.connect);
    const PipeSignalBlock block;
    if (const Result<void> connected = connect_all(*mesh, store, rank, size, options.prefix, deadline); !connected) {
      return connected.failure();
    }
    transport = std::move(mesh);
  }
  return std::unique_ptr<Communicator>(
      std::make_unique<ScheduledCommunicator>("gloo", rank, size, group, std::move(transport), limits));
}

}  // namespace concerto
