// TCP connections between all ranks, by Gloo: this is all that is used of it. No Gloo header is seen outside its
// source.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"

#include "transport.hpp"

namespace concerto {

/// Two listening sockets for each other rank, then two connections with each.
class GlooTransport : public Transport {
 public:
  /// Listens at `address`, a number of this machine. Connecting to a rank takes at most `connect_limit`.
  /// Error{kBadInput} where it cannot be listened there.
  [[nodiscard]] static std::unique_ptr<GlooTransport> listen(Rank rank, Rank size, const std::string& address,
                                                             std::chrono::milliseconds connect_limit);
  /// What the other ranks have to be told: bytes.
  [[nodiscard]] virtual std::string addresses() const = 0;
  /// Connects with `peer`, whose addresses() these are; blocks. In ascending order of ranks on all of them.
  /// kUnreachable, kCorrupt.
  [[nodiscard]] virtual Result<void> connect(Rank peer, const std::string& addresses) = 0;
};

}  // namespace concerto
