// What ranks find out together: the store, every pair's connection, and their clocks.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "concerto/comm/communicator.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/store.hpp"
#include "concerto/config/config.hpp"

#include "facts.hpp"
#include "job_store.hpp"

namespace concerto::doctor {

/// Asks the store a few times; what it answers goes into `facts`.
void probe_store(Store& store, Facts& facts);

/// Meets the other ranks, measures with each of them, and gives what all have found: on rank 0 of every rank that told
/// within `cluster.meet_limit_ms`, on the others of this rank alone. What goes wrong is a fact, not an error.
[[nodiscard]] std::vector<Facts> probe_together(const JobEnvironment& job, const JobStore& meeting_place,
                                                const Config& config, bool has_config, Facts mine);

/// Measures this rank's connections, a round of pairs after another, all ranks at the same time; each link is told by
/// the lower of its ranks, clocks by the higher. Stops at the first failure.
void probe_links(Communicator& communicator, Facts& facts);

/// With whom `rank` measures in a round, of which there are rounds_of(ranks): everybody once with everybody. kNoRank:
/// with nobody. Pure.
[[nodiscard]] Rank partner_of(Rank rank, Rank ranks, Rank round);
[[nodiscard]] Rank rounds_of(Rank ranks);

}  // namespace concerto::doctor
