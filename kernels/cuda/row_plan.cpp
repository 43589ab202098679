// Sorting rows into their classes.
#include "row_plan.hpp"

#include <algorithm>

namespace concerto::cuda {
namespace {

void longest_first(std::vector<WorkItem>& items) {
  std::stable_sort(items.begin(), items.end(),
                   [](const WorkItem& a, const WorkItem& b) { return a.length > b.length; });
}

/// Segments of nearly equal length, so that none is a short rest.
void cut(RowIndex row, EntryIndex begin, EntryIndex length, std::uint32_t most, RowPlan& plan) {
  const EntryIndex count = std::min<EntryIndex>((length + most - 1) / most, kMostSegments);
  plan.giants.push_back({row, static_cast<std::uint32_t>(plan.segments.size()), static_cast<std::uint32_t>(count)});
  for (EntryIndex s = 0; s < count; ++s) {
    const EntryIndex from = length * s / count;
    const EntryIndex to = length * (s + 1) / count;
    plan.segments.push_back({begin + from, row, static_cast<std::uint32_t>(to - from)});
  }
}

}  // namespace

RowPlan plan_rows(std::span<const EntryIndex> offsets, std::span<const EntryIndex> counted, RowRange rows,
                  const PlanLimits& limits) {
  RowPlan plan;
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    const EntryIndex begin = offsets[row];
    const EntryIndex length = offsets[row + 1] - begin;
    if (length == 0 || (!counted.empty() && counted[row] == 0)) {
      plan.empty.push_back(row);
    } else if (length > limits.segment_entries) {
      cut(row, begin, length, limits.segment_entries, plan);
    } else {
      auto& items = length <= limits.light_entries ? plan.light : plan.medium;
      items.push_back({begin, row, static_cast<std::uint32_t>(length)});
    }
  }
  longest_first(plan.light);
  longest_first(plan.medium);
  return plan;
}

std::vector<GiantBatch> batch_giants(std::span<const GiantRow> giants, std::uint32_t most_segments) {
  std::vector<GiantBatch> batches;
  for (std::uint32_t g = 0; g < giants.size(); ++g) {
    const GiantRow& giant = giants[g];
    if (batches.empty() || batches.back().segments + giant.segments > most_segments) {
      batches.push_back({g, 0, giant.first_segment, 0});
    }
    ++batches.back().giants;
    batches.back().segments += giant.segments;
  }
  return batches;
}

DeviceRowPlan::DeviceRowPlan(MemoryPool& pool, const Stream& stream, const RowPlan& plan)
    : empty(pool, stream, plan.empty, "the plan of a step"),
      light(pool, stream, plan.light, "the plan of a step"),
      medium(pool, stream, plan.medium, "the plan of a step"),
      segments(pool, stream, plan.segments, "the plan of a step"),
      giants(pool, stream, plan.giants, "the plan of a step"),
      host_giants(plan.giants) {}

}  // namespace concerto::cuda
