// The network of a case: every connection among the ranks of a run passes a relay of this process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/config/sweep.hpp"

namespace concerto::bench {

/// From its making to its end, which ends all connections. A thread, of little work beside that of training.
class SlowNetwork {
 public:
  /// Takes ports of this machine's loopback. Error{kIo} where too few can be had.
  SlowNetwork(const SweepNetwork& network, Rank ranks, std::uint64_t seed);
  ~SlowNetwork();
  SlowNetwork(const SlowNetwork&) = delete;
  SlowNetwork& operator=(const SlowNetwork&) = delete;

  /// Of the run whose connections are to pass.
  [[nodiscard]] std::vector<std::string> settings() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace concerto::bench
