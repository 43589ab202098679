// Messages of schedules over the connections of a mesh.
#pragma once

#include <memory>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/mesh.hpp"
#include "concerto/comm/store.hpp"

#include "rendezvous.hpp"
#include "transport.hpp"

namespace concerto {

/// The first connection of each pair is the only one: when it ends the peer is lost.
class ChannelTransport : public Transport {
 public:
  /// `network` and `store` outlive it. As make_mesh.
  [[nodiscard]] static std::unique_ptr<ChannelTransport> open(Network& network, Store& store,
                                                              const MeshOptions& options);
  /// Until there is a connection with every other rank. kTimeout names those that have not come; kUnreachable adds what
  /// was met last.
  [[nodiscard]] virtual Result<void> await_all(Deadline deadline) = 0;
};

}  // namespace concerto
