// What a backend holds the arguments of solve_systems to; a mismatch is the caller's bug.
#pragma once

#include <string>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"
#include "concerto/compute/backend.hpp"

namespace concerto {

/// Error{kUnsupported} beyond the rank of exact systems.
inline void check_systems(const SystemsStep& step, const TableShape& target) {
  const SystemLayout layout{target.rank, step.objective.biases};
  CONCERTO_CHECK(step.rows.begin <= step.rows.end && step.rows.end <= target.rows, "rows outside the table");
  CONCERTO_CHECK(step.systems.size() == step.rows.size() * layout.floats() && step.counts.size() == step.rows.size(),
                 "systems of other rows than those to be solved");
  CONCERTO_CHECK(!step.objective.is_implicit() || step.gram.size() == layout.gram_floats(),
                 "implicit objectives need the Gram matrix");
  CONCERTO_CHECK(!step.objective.biases || target.biases, "biases need tables with biases");
  if (target.rank > kMaxCholeskyRank) {
    throw Error(
        ErrorCode::kUnsupported,
        "summed row systems are limited to rank " + std::to_string(kMaxCholeskyRank) + ": gather factors instead",
        "replication.collective");
  }
}

}  // namespace concerto
