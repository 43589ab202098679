// The message links of one rank with all others.
//
// Each rank listens, and says in the store where. Of each pair the higher rank connects to the lower one, and again
// whenever the connection is lost, after a pause that grows and is drawn. A pair has one connection at a time; each has
// a number of its own. Within a connection messages are ordered and arrive at most once; nothing is promised across
// connections: what was under way when one ended is for the user to send again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/channel.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

/// Of a pair's connections, from 1; rises with each new one. Each side counts for itself.
using ConnectionNumber = std::uint64_t;

/// The type of messages that a mesh itself sends; users have all others.
inline constexpr std::uint16_t kMeshMessage = 0xffff;

/// From the network's thread, one at a time. They must not block, and not destroy the mesh. Of a connection: connected,
/// then messages and room, then disconnected. Those that are empty are not called.
struct MeshEvents {
  std::function<void(Rank peer, Incarnation incarnation, ConnectionNumber connection)> on_connected;
  std::function<void(Rank peer, ConnectionNumber connection, Message message)> on_message;
  /// kCorrupt: the peer sent what it must not, and was cut off; the message names it.
  std::function<void(Rank peer, ConnectionNumber connection, const Failure& failure)> on_disconnected;
  /// After a send that was refused because the queue was full: half of it is free again.
  std::function<void(Rank peer, ConnectionNumber connection)> on_room;
  /// Somebody came who has no business here, or an attempt to connect failed: for logs. Also from the mesh's own
  /// thread.
  std::function<void(const Failure& failure)> on_refused;
};

struct MeshOptions {
  Identity self;  ///< a rank
  Rank size = 1;  ///< ranks of the job
  std::string listen_address = "127.0.0.1:0";
  /// What others connect to where that is not the address listened at: a relay, a forwarded port.
  std::string reached_at;
  /// Below which the mesh's ranks meet in the store ("ranks/R/PREFIX"); another prefix is another mesh.
  std::string prefix = "mesh";
  bool connects_anew = true;  ///< false: the first connection with each peer is the only one
  std::uint64_t seed = 0;     ///< of the pauses' lengths
  std::chrono::milliseconds connect_limit{5'000};
  std::chrono::milliseconds first_pause{50};  ///< doubled with each failure, and drawn between half and all of it
  std::chrono::milliseconds longest_pause{5'000};
};

/// Of one peer, over all its connections.
struct MeshCounters {
  std::uint64_t connections = 0;
  std::uint64_t failed_attempts = 0;  ///< to connect, from this side
  std::uint64_t refused_sends = 0;    ///< the queue was full
  ChannelCounters channel;
};

class Mesh {
 public:
  /// Ends all connections, after what is queued in them (Channel::close). No event comes any more when it returns.
  virtual ~Mesh() = default;
  /// Where it listens, with the port that was really taken.
  [[nodiscard]] virtual std::string address() const = 0;
  /// The connection that there is with a peer; nothing: none.
  [[nodiscard]] virtual std::optional<ConnectionNumber> connection(Rank peer) const = 0;
  /// Queues; never waits. kLost where that connection is gone; kConflict where its queue is full: on_room follows.
  [[nodiscard]] virtual Result<void> send(Rank peer, ConnectionNumber connection, Outgoing message) = 0;
  /// The peer has sent what its user cannot make sense of: the connection ends now, and on_disconnected tells why.
  virtual void reject(Rank peer, ConnectionNumber connection, const std::string& why) = 0;
  [[nodiscard]] virtual MeshCounters counters(Rank peer) const = 0;
};

/// Listens and begins to connect; `network` and `store` outlive the mesh. One thread besides the network's. Error{kIo}
/// where it cannot be listened or the store does not take the address; Error{kBadInput} where a later incarnation of
/// this rank is there already.
[[nodiscard]] std::unique_ptr<Mesh> make_mesh(Network& network, Store& store, const MeshOptions& options,
                                              MeshEvents events);

}  // namespace concerto
