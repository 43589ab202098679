// Sorting rows by column and merging entries of the same pair.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"

#include "grouping.hpp"

namespace concerto {
namespace {

constexpr std::size_t kRowsAtATime = 256;

/// Reusable memory of one worker.
struct Scratch {
  std::vector<std::uint64_t> keys;
  std::vector<float> values;
};

/// Sorts one row by column; equal columns keep their order.
void sort_row(std::span<RowIndex> columns, std::span<float> values, Scratch& scratch) {
  if (std::ranges::is_sorted(columns)) return;
  if (values.empty()) {
    std::ranges::sort(columns);
    return;
  }
  CONCERTO_CHECK(columns.size() <= std::numeric_limits<std::uint32_t>::max(), "a row's entries fit 32-bit positions");
  scratch.keys.resize(columns.size());
  for (std::size_t i = 0; i < columns.size(); ++i) scratch.keys[i] = std::uint64_t{columns[i]} << 32 | i;
  std::ranges::sort(scratch.keys);
  scratch.values.assign(values.begin(), values.end());
  for (std::size_t i = 0; i < columns.size(); ++i) {
    columns[i] = static_cast<RowIndex>(scratch.keys[i] >> 32);
    values[i] = scratch.values[scratch.keys[i] & 0xffffffffU];
  }
}

[[nodiscard]] EntryIndex count_repeats(std::span<const RowIndex> columns) {
  EntryIndex repeats = 0;
  for (std::size_t i = 1; i < columns.size(); ++i) repeats += columns[i] == columns[i - 1] ? 1 : 0;
  return repeats;
}

/// Sorts all rows; returns the number of entries that repeat the pair before them.
[[nodiscard]] EntryIndex sort_rows(CompressedMatrix& matrix, ThreadPool& pool) {
  std::vector<Scratch> scratches(pool.size());
  std::atomic<EntryIndex> repeats{0};
  pool.parallel_for(matrix.rows, kRowsAtATime, [&](std::size_t begin, std::size_t end, unsigned worker) {
    EntryIndex found = 0;
    for (std::size_t row = begin; row < end; ++row) {
      const EntryIndex first = matrix.offsets[row];
      const EntryIndex count = matrix.offsets[row + 1] - first;
      const std::span<RowIndex> columns = std::span(matrix.columns).subspan(first, count);
      const std::span<float> values =
          matrix.values.empty() ? std::span<float>{} : std::span(matrix.values).subspan(first, count);
      sort_row(columns, values, scratches[worker]);
      found += count_repeats(columns);
    }
    repeats.fetch_add(found, std::memory_order_relaxed);
  });
  return repeats.load();
}

[[noreturn]] void refuse_first_repeat(const CompressedMatrix& matrix, const MergeRule& rule) {
  for (RowIndex row = 0; row < matrix.rows; ++row) {
    const std::span<const RowIndex> columns = matrix.view().row_columns(row);
    const auto repeat = std::ranges::adjacent_find(columns);
    if (repeat != columns.end()) {
      throw Error(ErrorCode::kBadInput, rule.pair_text(row, *repeat) + " occurs more than once", "data.duplicates");
    }
  }
  CONCERTO_CHECK(false, "a repeated pair was counted");
  std::abort();
}

/// Merges one sorted row to its front; returns what is left of it. `values` may be empty.
[[nodiscard]] EntryIndex merge_row(std::span<RowIndex> columns, std::span<float> values, Duplicates duplicates) {
  EntryIndex kept = 0;
  for (std::size_t i = 0; i < columns.size(); ++kept) {
    const RowIndex column = columns[i];
    double sum = 0.0;
    float last = 1.0F;
    for (; i < columns.size() && columns[i] == column; ++i) {
      if (values.empty()) continue;
      last = values[i];
      sum += static_cast<double>(last);
    }
    columns[kept] = column;
    if (!values.empty()) values[kept] = duplicates == Duplicates::kSum ? static_cast<float>(sum) : last;
  }
  return kept;
}

/// The sum of finite values may be none.
void check_sums(const CompressedMatrix& matrix, RowIndex row, EntryIndex kept, const MergeRule& rule) {
  const EntryIndex first = matrix.offsets[row];
  for (EntryIndex e = first; e < first + kept; ++e) {
    if (std::isfinite(matrix.values[e])) continue;
    throw Error(ErrorCode::kBadInput, rule.pair_text(row, matrix.columns[e]) + ": its values add up beyond a float",
                "data.duplicates");
  }
}

/// Closes the gaps behind merged rows. Serial: it moves memory forward in place.
void close_gaps(CompressedMatrix& matrix, std::span<const EntryIndex> kept) {
  EntryIndex target = 0;
  for (RowIndex row = 0; row < matrix.rows; ++row) {
    const auto source = static_cast<std::ptrdiff_t>(matrix.offsets[row]);
    const auto count = static_cast<std::ptrdiff_t>(kept[row]);
    const auto place = static_cast<std::ptrdiff_t>(target);
    if (place != source) {
      std::copy_n(matrix.columns.begin() + source, count, matrix.columns.begin() + place);
      if (!matrix.values.empty()) {
        std::copy_n(matrix.values.begin() + source, count, matrix.values.begin() + place);
      }
    }
    matrix.offsets[row] = target;
    target += kept[row];
  }
  matrix.offsets[matrix.rows] = target;
  matrix.columns.resize(target);
  matrix.columns.shrink_to_fit();
  if (!matrix.values.empty()) matrix.values.resize(target);
  matrix.values.shrink_to_fit();
}

}  // namespace

EntryIndex sort_and_merge(CompressedMatrix& matrix, const MergeRule& rule, ThreadPool& pool) {
  const EntryIndex repeats = sort_rows(matrix, pool);
  if (repeats == 0 || rule.duplicates == Duplicates::kKeep) return 0;
  if (rule.duplicates == Duplicates::kError) refuse_first_repeat(matrix, rule);
  if (rule.duplicates == Duplicates::kSum && rule.use_values && matrix.values.empty()) {
    matrix.values.assign(matrix.columns.size(), 1.0F);  // from here on they count
  }
  std::vector<EntryIndex> kept(matrix.rows);
  pool.parallel_for(matrix.rows, kRowsAtATime, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t row = begin; row < end; ++row) {
      const EntryIndex first = matrix.offsets[row];
      const EntryIndex count = matrix.offsets[row + 1] - first;
      kept[row] = merge_row(std::span(matrix.columns).subspan(first, count),
                            matrix.values.empty() ? std::span<float>{} : std::span(matrix.values).subspan(first, count),
                            rule.duplicates);
      if (rule.duplicates == Duplicates::kSum && !matrix.values.empty()) {
        check_sums(matrix, static_cast<RowIndex>(row), kept[row], rule);
      }
    }
  });
  close_gaps(matrix, kept);
  return repeats;
}

}  // namespace concerto
