// The communicator of a rank, and the network under it where it has one of its own.
#pragma once

#include <memory>
#include <string>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/communicator.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/mesh.hpp"
#include "concerto/config/config.hpp"

#include "fabric.hpp"
#include "job_store.hpp"

namespace concerto {

/// The network of this rank's channels: TLS, or plain where the configuration says so and choose_links has let it
/// pass. A thread of its own, so that signs of life to the store do not wait behind factors.
[[nodiscard]] std::unique_ptr<Network> make_rank_network(const JobEnvironment& job, const JobStore& meeting_place,
                                                         const Config& config);

/// The mesh of levels but strong.
[[nodiscard]] MeshOptions mesh_options(const JobEnvironment& job, const ClusterConfig& cluster, const RankLinks& links);

class RankConnections {
 public:
  /// Connects this rank with all others, which are called with the same `links` and `prefix` (as in GlooOptions);
  /// blocks for at most cluster.meet_limit_ms. Error{kIo} naming the ranks that did not come. What is given outlives
  /// this.
  RankConnections(const JobEnvironment& job, const JobStore& meeting_place, const Config& config,
                  const RankLinks& links, const std::string& prefix);
  [[nodiscard]] Communicator& communicator() const noexcept { return *communicator_; }

 private:
  std::unique_ptr<Network> network_;
  std::unique_ptr<Communicator> communicator_;
};

}  // namespace concerto
