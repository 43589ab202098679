// The ratings as SGD walks them: B x B blocks (compute/sgd_order.hpp), each with its entries grouped by user.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu_backend.hpp"
#include "sgd_kernel.hpp"

namespace concerto::cpu {

/// Block (p, q) of user block p and item block q is number p * side + q. Its entries are [entry_offsets[number],
/// entry_offsets[number + 1]) of `entries`, its runs likewise. 8 bytes an entry and 8 a run. What it was made of stays
/// in the caller's memory.
struct GridBuffer final : Buffer {
  GridBuffer(const CompressedRows& users, const CompressedRows& items) : by_user(users), by_item(items) {}
  [[nodiscard]] std::uint64_t bytes() const noexcept override {
    return entries.size() * sizeof(SgdEntry) + runs.size() * sizeof(SgdRun) +
           (entry_offsets.size() + run_offsets.size()) * sizeof(EntryIndex);
  }
  [[nodiscard]] std::span<const SgdEntry> block_entries(std::size_t number) const noexcept {
    return std::span(entries).subspan(entry_offsets[number], entry_offsets[number + 1] - entry_offsets[number]);
  }
  [[nodiscard]] std::span<const SgdRun> block_runs(std::size_t number) const noexcept {
    return std::span(runs).subspan(run_offsets[number], run_offsets[number + 1] - run_offsets[number]);
  }

  [[nodiscard]] const CompressedRows& orientation(Side which) const noexcept {
    return which == Side::kUsers ? by_user.view : by_item.view;
  }
  /// n of a row of one side.
  [[nodiscard]] EntryIndex count(Side which, RowIndex row) const noexcept {
    const std::span<const EntryIndex> of_side = which == Side::kUsers ? counts.users : counts.items;
    return of_side.empty() ? orientation(which).count(row) : of_side[row];
  }

  std::uint32_t side = 1;
  std::vector<SgdEntry> entries;
  std::vector<SgdRun> runs;
  std::vector<EntryIndex> entry_offsets;
  std::vector<EntryIndex> run_offsets;
  RatingsBuffer by_user;
  RatingsBuffer by_item;
  RowCounts counts;  ///< n of each row, of the whole matrix; empty: as the orientations have it
};

}  // namespace concerto::cpu
