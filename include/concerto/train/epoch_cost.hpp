// What an epoch of alternating half-sweeps takes on several ranks, predicted from the partition, the time of one rank
// alone and two numbers of the link. It follows the node's schedule (node/node.hpp) round by round, so that uneven
// blocks, what overlaps and what cannot are in it; what is not: measuring, and ranks that disturb each other on one
// machine. Pure.
#pragma once

#include <cstdint>

#include "concerto/train/shards.hpp"

namespace concerto {

/// The slowest connection of the ring of ranks, in each direction.
struct LinkSpeed {
  double latency_seconds = 0.0;  ///< from the start of a message to its arrival, without its bytes
  double bytes_per_second = 1e9;
};

struct EpochCost {
  double seconds = 0.0;
  double compute_seconds = 0.0;  ///< of the rank that has most
  double sending_seconds = 0.0;  ///< of all exchanges, one after another
};

/// `seconds_alone`: of an epoch on one rank, solved by rows in the plan's units of work; `row_bytes`: of a row of
/// either table on its way. A round's exchange begins when all ranks have solved their part of it and the exchange
/// before has ended; a half-sweep ends with its last exchange. O(blocks).
[[nodiscard]] EpochCost predict_epoch(const ShardPlan& plan, double seconds_alone, std::uint64_t row_bytes,
                                      const LinkSpeed& link);

}  // namespace concerto
