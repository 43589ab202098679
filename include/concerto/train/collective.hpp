// How als moves what ranks need of each other in a synchronous half-sweep, and which way is the cheaper one for a
// shape: gathering the factors of both sides everywhere, or keeping users apart and gathering the partial Gram systems
// of the items at the items' owners.
#pragma once

#include <cstdint>

#include "concerto/compute/backend.hpp"
#include "concerto/train/trainer.hpp"

namespace concerto {

enum class Collective : std::uint8_t { kFactors, kGrams };

struct CollectiveWish {
  enum class Kind : std::uint8_t { kAuto, kFactors, kGrams } kind = Kind::kAuto;
  bool same_for_any_number_of_ranks = false;  ///< results; sums of partials depend on it
};

/// Bytes that a rank sends of factors and partials, for equal shares.
struct CollectiveBytes {
  std::uint64_t factors_epoch = 0;
  std::uint64_t grams_epoch = 0;
  std::uint64_t grams_end = 0;  ///< once, when users are gathered for the result
};
[[nodiscard]] CollectiveBytes collective_bytes(RowIndex users, RowIndex items, const TrainOptions& options, Rank ranks);

/// kAuto takes partials where they are fewer bytes in the whole run, and with cg only up to the rank at which forming a
/// row's matrix is no more work than cg's passes over its entries, 4 (cg_steps + 1). A wish for kGrams where they
/// cannot be had is Error{kUnsupported} that says why: another solver than als, a backend that sums no systems, a
/// result that must not depend on the number of ranks.
[[nodiscard]] Collective choose_collective(const Backend& backend, RowIndex users, RowIndex items,
                                           const TrainOptions& options, Rank ranks, const CollectiveWish& wish);

}  // namespace concerto
