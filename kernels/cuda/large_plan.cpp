// Cutting rows into pieces and filling batches with them.
#include "large_plan.hpp"

#include <algorithm>

namespace concerto::cuda {
namespace {

std::uint32_t pieces_of(EntryIndex entries) {
  return static_cast<std::uint32_t>(std::min<EntryIndex>(kMostPieces, (entries + kPieceEntries - 1) / kPieceEntries));
}

void add_row(RowIndex row, EntryIndex begin, EntryIndex entries, std::uint32_t pieces, LargePlan& plan) {
  LargeBatch& batch = plan.batches.back();
  if (pieces > kDirectPieces) {
    plan.longs.push_back(batch.rows);
    ++batch.longs;
  }
  for (EntryIndex p = 0; p < pieces; ++p) {
    const EntryIndex from = entries * p / pieces;
    const EntryIndex to = entries * (p + 1) / pieces;
    plan.pieces.push_back({begin + from, static_cast<std::uint32_t>(to - from), batch.rows});
  }
  plan.rows.push_back({row, batch.pieces, pieces});
  ++batch.rows;
  batch.pieces += pieces;
}

}  // namespace

LargePlan plan_large_rows(std::span<const EntryIndex> offsets, std::span<const EntryIndex> counted, RowRange rows,
                          const LargeLimits& limits) {
  LargePlan plan;
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    const EntryIndex begin = offsets[row];
    const EntryIndex entries = offsets[row + 1] - begin;
    if (entries == 0 || (!counted.empty() && counted[row] == 0)) {
      plan.empty.push_back(row);
      continue;
    }
    const std::uint32_t pieces = pieces_of(entries);
    if (plan.batches.empty() || plan.batches.back().rows >= limits.rows ||
        plan.batches.back().pieces + pieces > limits.pieces) {
      plan.batches.push_back({plan.rows.size(), plan.pieces.size(), plan.longs.size(), 0, 0, 0});
    }
    add_row(row, begin, entries, pieces, plan);
  }
  for (const LargeBatch& batch : plan.batches) {
    plan.most_rows = std::max(plan.most_rows, batch.rows);
    plan.most_pieces = std::max(plan.most_pieces, batch.pieces);
  }
  return plan;
}

}  // namespace concerto::cuda
