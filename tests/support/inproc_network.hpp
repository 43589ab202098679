// A Network between objects of one process, with faults on command: connections that are cut, peers that cannot be
// reached, messages that come late, connections that swallow what is sent without ending.
//
// It keeps the promises of concerto/comm/channel.hpp: ordered and at most once within a connection, callbacks from the
// network's own thread, on_closed last.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "concerto/comm/channel.hpp"

namespace concerto::test {

/// What the networks of a test have in common: the places where one can listen, and the faults.
class InprocHub {
 public:
  InprocHub();
  ~InprocHub();
  InprocHub(const InprocHub&) = delete;
  InprocHub& operator=(const InprocHub&) = delete;

  /// The network of one process. Does not outlive the hub.
  [[nodiscard]] std::unique_ptr<Network> network(const Identity& self, const NetworkLimits& limits = {});

  /// Ends every connection that was made to `address`, as a broken cable or a killed peer does: what was under way is
  /// lost.
  void cut(const std::string& address);
  /// Whether connecting to `address` is possible.
  void set_reachable(const std::string& address, bool reachable);
  /// Connections to `address` stay, but nothing arrives any more, on either side; new ones are made and are silent too.
  void set_silent(const std::string& address, bool silent);
  /// Of every message sent from now on.
  void set_delay(std::chrono::milliseconds delay);

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace concerto::test
