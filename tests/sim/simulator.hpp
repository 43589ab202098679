// A cluster of production nodes in one thread and virtual time: connections, records, deaths and delays are drawn from
// the scenario's seed, and an oracle watches (oracle.hpp). The same scenario gives the same events on any machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "scenario.hpp"

namespace concerto::sim {

struct SimulationResult {
  std::optional<std::string> violation;
  std::uint64_t hash = 0;  ///< of all that happened
  std::uint64_t events = 0;
  std::uint64_t messages = 0;
  std::uint64_t faults = 0;
  Ticks ended_at = 0;  ///< in virtual milliseconds
};

/// `trace`: every event to standard error.
[[nodiscard]] SimulationResult simulate(const Scenario& scenario, bool trace = false);

/// The least scenario that still fails: without each fault, the level change, each rank, epochs and blocks that it does
/// not take. `is_failing` says whether one fails.
[[nodiscard]] Scenario shrink(const Scenario& scenario, bool (*is_failing)(const Scenario&));

}  // namespace concerto::sim
