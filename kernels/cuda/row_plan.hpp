// Which rows a step solves in which way, decided on the host once for each range of rows and kept.
//
// Rows differ in length by five orders of magnitude. Those without counted entries are set to zero; light ones are
// solved in the space of their entries; medium ones are one thread block's work each, the longest first; giant ones are
// cut into segments of equal length that blocks accumulate apart, and are put together in the order of the segments, so
// that the result does not depend on which block ended first. Nothing here knows a device: it is tested on the host.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"

#include "runtime.hpp"

namespace concerto::cuda {

/// A run of entries of one row, for one thread block.
struct WorkItem {
  EntryIndex begin = 0;
  RowIndex row = 0;
  std::uint32_t length = 0;
  friend bool operator==(const WorkItem&, const WorkItem&) = default;
};

/// A row cut into segments [first_segment, first_segment + segments) of the plan.
struct GiantRow {
  RowIndex row = 0;
  std::uint32_t first_segment = 0;
  std::uint32_t segments = 0;
  friend bool operator==(const GiantRow&, const GiantRow&) = default;
};

/// A row is cut into at most this many segments: of the longest rows they are longer, so that their sums stay few.
inline constexpr std::uint32_t kMostSegments = 256;

struct PlanLimits {
  std::uint32_t light_entries = 0;       ///< rows of at most this many entries are light; 0: none is
  std::uint32_t segment_entries = 8192;  ///< rows with more entries are cut into segments of about this many
  friend auto operator<=>(const PlanLimits&, const PlanLimits&) = default;
};

struct RowPlan {
  std::vector<RowIndex> empty;
  std::vector<WorkItem> light;  ///< longest first, as medium
  std::vector<WorkItem> medium;
  std::vector<WorkItem> segments;  ///< of the giant rows, in order
  std::vector<GiantRow> giants;
};

/// The plan of [rows.begin, rows.end). `counted` gives each row's number of entries that count; empty: all do. Rows
/// that have entries but none that counts are empty. O(rows log rows).
[[nodiscard]] RowPlan plan_rows(std::span<const EntryIndex> offsets, std::span<const EntryIndex> counted, RowRange rows,
                                const PlanLimits& limits);

/// Consecutive giant rows of a plan whose segments' sums are kept at the same time.
struct GiantBatch {
  std::uint32_t first_giant = 0;
  std::uint32_t giants = 0;
  std::uint32_t first_segment = 0;
  std::uint32_t segments = 0;
  friend bool operator==(const GiantBatch&, const GiantBatch&) = default;
};
/// As few batches of at most `most_segments` segments as consecutive rows allow; a row that has more is alone in its
/// batch.
[[nodiscard]] std::vector<GiantBatch> batch_giants(std::span<const GiantRow> giants, std::uint32_t most_segments);

/// Which plan of a RatingsBuffer.
struct RowPlanKey {
  RowIndex begin = 0;
  RowIndex end = 0;
  bool positive_only = false;  ///< entries count where their value is above 0
  PlanLimits limits;
  friend auto operator<=>(const RowPlanKey&, const RowPlanKey&) = default;
};

/// A plan in device memory.
struct DeviceRowPlan {
  DeviceRowPlan(MemoryPool& pool, const Stream& stream, const RowPlan& plan);
  DeviceArray<RowIndex> empty;
  DeviceArray<WorkItem> light;
  DeviceArray<WorkItem> medium;
  DeviceArray<WorkItem> segments;
  DeviceArray<GiantRow> giants;
  std::vector<GiantRow> host_giants;
};

}  // namespace concerto::cuda
