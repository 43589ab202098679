// Choosing the pieces in which orientations are built.
#include "orientation_plan.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "sort.hpp"

namespace concerto::cuda {
namespace {

/// More pieces than this would read the triples, or the other orientation, too often.
constexpr EntryIndex kMostPieces = 64;
constexpr EntryIndex kMostSlice = EntryIndex{4} << 20;
constexpr EntryIndex kLeastSlice = EntryIndex{64} << 10;
/// Peaks up to this need no saving.
constexpr std::uint64_t kLittle = std::uint64_t{256} << 20;

std::uint64_t side_bytes(const OrientationShape& shape, RowIndex rows) noexcept {
  const std::uint64_t entry = sizeof(RowIndex) + (shape.values ? sizeof(float) : 0);
  return shape.entries * entry + (std::uint64_t{rows} + 1) * sizeof(EntryIndex);
}

/// Of a piece: a key and a value.
std::uint64_t keyed_bytes(const OrientationShape& shape, EntryIndex piece) noexcept {
  return piece * (sizeof(std::uint64_t) + (shape.values ? sizeof(float) : 0));
}

/// While one side is built beside `held` bytes: a sort has keys and values twice; what it leaves stands beside the
/// result, which in one piece is not there before. Besides, counts of rows and of tiles of entries.
std::uint64_t side_peak(const OrientationShape& shape, std::uint64_t held, RowIndex rows, EntryIndex piece) noexcept {
  const bool is_whole = piece >= shape.entries;
  const EntryIndex at_once = std::min(piece, shape.entries);
  const std::uint64_t result = side_bytes(shape, rows);
  const std::uint64_t sorting = (is_whole ? 0 : result) + 2 * keyed_bytes(shape, at_once) + sort_scratch_bytes(at_once);
  const std::uint64_t writing = result + keyed_bytes(shape, at_once);
  return held + std::max(sorting, writing) + sizeof(std::uint64_t) * rows + shape.entries / 32;
}

std::uint64_t by_user_peak(const OrientationShape& shape, EntryIndex piece) noexcept {
  return side_peak(shape, 0, shape.users, piece);
}
std::uint64_t by_item_peak(const OrientationShape& shape, EntryIndex piece) noexcept {
  return side_peak(shape, side_bytes(shape, shape.users), shape.items, piece);
}

/// The largest piece of n, n/2, n/3, ... entries whose peak fits; 0 where none does.
template <class Peak>
EntryIndex largest_piece(const OrientationShape& shape, std::uint64_t budget, Peak peak) {
  for (EntryIndex pieces = 1; pieces <= kMostPieces; ++pieces) {
    // Whole rows do not cut as evenly as entries: room for an eighth more.
    const EntryIndex even = (shape.entries + pieces - 1) / pieces;
    const EntryIndex piece = pieces == 1 ? even : even + even / 8;
    if (peak(shape, piece) <= budget) return std::max<EntryIndex>(piece, 1);
  }
  return 0;
}

}  // namespace

std::uint64_t orientation_bytes(const OrientationShape& shape) noexcept {
  return side_bytes(shape, shape.users) + side_bytes(shape, shape.items);
}

std::uint64_t peak_bytes(const OrientationShape& shape, const OrientationPlan& plan) noexcept {
  return std::max(by_user_peak(shape, plan.by_user_piece), by_item_peak(shape, plan.by_item_piece));
}

OrientationPlan plan_orientations(const OrientationShape& shape, std::uint64_t available) {
  const std::uint64_t result = orientation_bytes(shape);
  const std::uint64_t budget = std::min(available, std::max(result / 5 * 12, kLittle));
  OrientationPlan plan;
  plan.by_user_piece = largest_piece(shape, budget, by_user_peak);
  plan.by_item_piece = largest_piece(shape, budget, by_item_peak);
  if (plan.by_user_piece == 0 || plan.by_item_piece == 0) {
    constexpr double kMebibyte = 1 << 20;
    const EntryIndex least = (shape.entries + kMostPieces - 1) / kMostPieces;
    const auto needed = static_cast<double>(std::max(by_user_peak(shape, least), by_item_peak(shape, least)));
    throw Error(ErrorCode::kOutOfMemory,
                fmt::format("{} ratings need at least {:.1f} MiB of GPU memory to be put in order, and {:.1f} MiB are "
                            "left: {:.1f} MiB too few; use compute.backend = \"cpu\"",
                            shape.entries, needed / kMebibyte, static_cast<double>(available) / kMebibyte,
                            (needed - static_cast<double>(available)) / kMebibyte),
                "GPU memory");
  }
  // An eighth of a piece of triples, at 12 bytes each, is less than the second copy that a sort needs later.
  plan.slice = std::clamp(plan.by_user_piece / 8, kLeastSlice, kMostSlice);
  plan.slice = std::max<EntryIndex>(1, std::min(plan.slice, plan.by_user_piece));
  return plan;
}

std::vector<RowRange> cut_rows(std::span<const unsigned long long> counts, EntryIndex most) {
  std::vector<RowRange> ranges;
  EntryIndex taken = 0;
  for (RowIndex row = 0; row < counts.size(); ++row) {
    if (ranges.empty() || (taken > 0 && counts[row] > most - std::min(most, taken))) {
      ranges.push_back({row, row});
      taken = 0;
    }
    taken += counts[row];
    ranges.back().end = row + 1;
  }
  return ranges;
}

void check_found(const OrientationShape& shape, EntryIndex found) {
  if (found == shape.entries) return;
  throw Error(ErrorCode::kBadInput,
              fmt::format("{} of {} ratings name a user or an item beyond the {} users and {} items",
                          shape.entries - found, shape.entries, shape.users, shape.items),
              "ratings");
}

}  // namespace concerto::cuda
