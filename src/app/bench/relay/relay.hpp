// A relay: forwards TCP connections from ports of this machine to others, as over wires with delay, jitter, a rate and
// cuts. For sweeps over slow networks, and for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "shaper.hpp"

namespace concerto::bench {

/// What has passed, over all connections.
struct RelayCounts {
  std::uint64_t connections = 0;
  std::uint64_t up = 0;  ///< bytes from those who connect to whom they are forwarded to
  std::uint64_t down = 0;
};

/// Each connection is a wire of its own, drawn from (seed, its number). On the thread that runs `io`, but for its
/// construction.
class Relay {
 public:
  Relay(boost::asio::io_context& io, std::uint64_t seed);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  /// From "HOST:PORT" (port 0: any) to "HOST:PORT"; returns where it listens. Throws what Asio throws.
  std::string forward(const std::string& from, const std::string& to);

  /// Carries one command out and says what came of it, in one line:
  ///   up|down|both SHAPE   (shaper.hpp), from now on
  ///   cut                  connections end at once, new ones too
  ///   hold                 connections stay, nothing passes, and nobody is told
  ///   heal                 ends both
  ///   counts               "connections N up BYTES down BYTES"
  std::string command(const std::string& line);
  [[nodiscard]] RelayCounts counts() const;
  /// Ends everything, so that `io` runs out of work.
  void stop();

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace concerto::bench
