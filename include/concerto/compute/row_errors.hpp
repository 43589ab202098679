// The error that ends a step when an exact row system cannot be solved, the same in every backend.
#pragma once

#include <sstream>
#include <string>

#include "concerto/base/error.hpp"
#include "concerto/base/ids.hpp"
#include "concerto/model/objective.hpp"

namespace concerto {

/// Which solver the system belongs to.
enum class RowSystem : std::uint8_t { kRow, kSlice };

/// For a system that is not positive definite, or whose solution is not finite, in single precision. `row` is the
/// stored row, `entries` how many it has.
[[nodiscard]] inline Error not_positive_definite(RowSystem system, RowIndex row, EntryIndex entries,
                                                 const Objective& objective) {
  std::ostringstream message;
  message << "the system of " << (system == RowSystem::kSlice ? "a slice of " : "") << "stored row " << row << " ("
          << entries << " entries) is not positive definite in single precision; raise the regularization (now "
          << objective.regularization << ")" << (system == RowSystem::kRow ? " or use inner = \"cg\"" : "");
  return {ErrorCode::kBadInput, message.str(), "model.regularization"};
}

}  // namespace concerto
