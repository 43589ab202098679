// Both orientations of the ratings, built on the device from the triples in which they were read.
//
// The result is that of load_ratings for each orientation, byte by byte: columns ascend within a row, entries of the
// same pair stay in the order given. It does not merge such entries, and does not check values.
#pragma once

#include <memory>
#include <span>

#include "cuda_backend.hpp"
#include "orientation_plan.hpp"

namespace concerto::cuda {

/// Entries as parallel arrays in host memory, pinned or pageable; `values` is empty when every entry counts as 1.
struct TripleArrays {
  RowIndex user_count = 0;
  RowIndex item_count = 0;
  std::span<const RowIndex> users;
  std::span<const RowIndex> items;
  std::span<const float> values;
  [[nodiscard]] OrientationShape shape() const noexcept {
    return {user_count, item_count, users.size(), !values.empty()};
  }
};

struct Orientations {
  std::unique_ptr<RatingsBuffer> by_user;
  std::unique_ptr<RatingsBuffer> by_item;
};

/// Builds both by this plan; the bytes do not depend on it. The host arrays may be changed or freed on return.
///
/// By user: triples are uploaded in slices (12 bytes each), become keys (user, item) with their value, and are sorted.
/// By item: the other orientation is read in its order and sorted by the item alone; the sort is stable, so that users
/// ascend. In pieces, the triples are uploaded once a piece, and the users once more to be counted. Traffic on the
/// device: 24 bytes an entry for each 8 bits of a key, and about 60 for the rest.
///
/// Peak of memory with values, in one piece: by user 24 bytes an entry (keys and values twice), by item 8 + 24, so 32
/// where both orientations are 16: 2.0 times the result, and a quarter of a byte an entry for the counts of a sort.
/// Without values: 16, then 4 + 16 = 20 where both are 8: 2.5 times in one piece, for which reason plan_orientations
/// takes two by item (about 17: 2.1 times).
///
/// Error{kBadInput} where an index is not below its count; Error{kOutOfMemory} where the memory does not suffice.
[[nodiscard]] Orientations build_orientations(MemoryPool& pool, const Stream& stream, const TripleArrays& triples,
                                              const OrientationPlan& plan);
/// By the plan for the memory that the pool can still give.
[[nodiscard]] Orientations build_orientations(MemoryPool& pool, const Stream& stream, const TripleArrays& triples);

}  // namespace concerto::cuda
