// Grouping entries by row: a stable parallel counting sort where entries carry values, a partition in place where they
// do not, so that neither needs a second copy of all entries.
#include "grouping.hpp"

#include <algorithm>
#include <utility>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

template <class T>
void free_vector(std::vector<T>& values) {
  std::vector<T>().swap(values);
}

struct Piece {
  std::size_t begin;
  std::size_t end;
};
[[nodiscard]] Piece piece_of(std::size_t count, std::size_t parts, std::size_t part) {
  return {count / parts * part + std::min(part, count % parts),
          count / parts * (part + 1) + std::min(part + 1, count % parts)};
}

/// Moves source[i] to the next free place of row rows[i]. `cursors[part][row]` says where the part's first entry of the
/// row goes; afterwards it stands behind the part's last one, which is where the next part began.
template <class T>
[[nodiscard]] std::vector<T> scatter(std::span<const RowIndex> rows, const std::vector<T>& source,
                                     std::vector<std::vector<EntryIndex>>& cursors, ThreadPool& pool) {
  std::vector<T> target(source.size());
  pool.parallel_for(cursors.size(), 1, [&](std::size_t part, std::size_t, unsigned) {
    std::vector<EntryIndex>& cursor = cursors[part];
    const Piece piece = piece_of(rows.size(), cursors.size(), part);
    for (std::size_t i = piece.begin; i < piece.end; ++i) target[cursor[rows[i]]++] = source[i];
  });
  return target;
}

/// Turns counts into the first places: those of part p follow those of part p - 1 within each row.
void counts_to_cursors(std::vector<std::vector<EntryIndex>>& counts, std::span<const EntryIndex> offsets) {
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    EntryIndex next = offsets[row];
    for (std::vector<EntryIndex>& part : counts) next += std::exchange(part[row], next);
  }
}

void group_with_values(RowEntries& entries, CompressedMatrix& matrix, ThreadPool& pool) {
  const std::size_t parts = counting_parts(entries.rows.size(), matrix.rows, pool);
  std::vector<std::vector<EntryIndex>> cursors = count_keys(entries.rows, matrix.rows, parts, pool);
  matrix.offsets = offsets_of(cursors, matrix.rows);
  counts_to_cursors(cursors, matrix.offsets);
  matrix.columns = scatter(entries.rows, entries.columns, cursors, pool);
  free_vector(entries.columns);
  // The cursors have moved on by one part: part p now ends where part p + 1 began.
  std::rotate(cursors.begin(), cursors.end() - 1, cursors.end());
  std::copy(matrix.offsets.begin(), matrix.offsets.end() - 1, cursors[0].begin());
  matrix.values = scatter(entries.rows, entries.values, cursors, pool);
}

/// Runs of whole rows, each of at most about 1/128 of all entries or a single row.
struct Buckets {
  std::vector<RowIndex> first_row;  // and one past the last
  std::vector<std::uint16_t> of_row;
};

[[nodiscard]] Buckets cut_buckets(std::span<const EntryIndex> offsets) {
  const auto rows = static_cast<RowIndex>(offsets.size() - 1);
  const EntryIndex limit = offsets[rows] / 128 + 1;
  Buckets buckets;
  buckets.of_row.resize(rows);
  for (RowIndex row = 0; row < rows; ++row) {
    if (buckets.first_row.empty() || offsets[row + 1] - offsets[buckets.first_row.back()] > limit) {
      buckets.first_row.push_back(row);
    }
    buckets.of_row[row] = static_cast<std::uint16_t>(buckets.first_row.size() - 1);
  }
  buckets.first_row.push_back(rows);
  return buckets;
}

/// Swaps entries until each lies within its bucket's range (McIlroy, Bostic and McIlroy 1993, "American flag sort").
void partition_in_place(RowEntries& entries, const Buckets& buckets, std::span<const EntryIndex> offsets) {
  const std::size_t count = buckets.first_row.size() - 1;
  std::vector<EntryIndex> next(count);
  for (std::size_t b = 0; b < count; ++b) next[b] = offsets[buckets.first_row[b]];
  for (std::size_t b = 0; b < count; ++b) {
    const EntryIndex end = offsets[buckets.first_row[b + 1]];
    while (next[b] < end) {
      RowIndex row = entries.rows[next[b]];
      RowIndex column = entries.columns[next[b]];
      for (std::size_t home = buckets.of_row[row]; home != b; home = buckets.of_row[row]) {
        const EntryIndex place = next[home]++;
        std::swap(row, entries.rows[place]);
        std::swap(column, entries.columns[place]);
      }
      entries.rows[next[b]] = row;
      entries.columns[next[b]++] = column;
    }
  }
}

void group_without_values(RowEntries& entries, CompressedMatrix& matrix, ThreadPool& pool) {
  const std::size_t parts = counting_parts(entries.rows.size(), matrix.rows, pool);
  matrix.offsets = offsets_of(count_keys(entries.rows, matrix.rows, parts, pool), matrix.rows);
  const std::span<const EntryIndex> offsets = matrix.offsets;
  const Buckets buckets = cut_buckets(offsets);
  partition_in_place(entries, buckets, offsets);
  pool.parallel_for(buckets.first_row.size() - 1, 1, [&](std::size_t b, std::size_t, unsigned) {
    const RowIndex first = buckets.first_row[b];
    const RowIndex last = buckets.first_row[b + 1];
    if (last - first == 1) return;  // a row of its own is grouped already, however long it is
    const EntryIndex base = offsets[first];
    std::vector<EntryIndex> cursor(offsets.begin() + first, offsets.begin() + last);
    std::vector<RowIndex> grouped(offsets[last] - base);
    for (EntryIndex i = base; i < offsets[last]; ++i) {
      grouped[cursor[entries.rows[i] - first]++ - base] = entries.columns[i];
    }
    std::ranges::copy(grouped, entries.columns.begin() + static_cast<std::ptrdiff_t>(base));
  });
  matrix.columns = std::move(entries.columns);
}

}  // namespace

std::size_t counting_parts(std::size_t keys, RowIndex key_count, const ThreadPool& pool) {
  const std::size_t affordable = keys / (std::size_t{4} * key_count + 1);
  return std::clamp<std::size_t>(affordable, 1, pool.size());
}

std::vector<std::vector<EntryIndex>> count_keys(std::span<const RowIndex> keys, RowIndex key_count, std::size_t parts,
                                                ThreadPool& pool) {
  std::vector<std::vector<EntryIndex>> counts(parts);
  pool.parallel_for(parts, 1, [&](std::size_t part, std::size_t, unsigned) {
    std::vector<EntryIndex> count(key_count);
    const Piece piece = piece_of(keys.size(), parts, part);
    for (std::size_t i = piece.begin; i < piece.end; ++i) ++count[keys[i]];
    counts[part] = std::move(count);
  });
  return counts;
}

std::vector<EntryIndex> offsets_of(const std::vector<std::vector<EntryIndex>>& counts, RowIndex key_count) {
  std::vector<EntryIndex> offsets(std::size_t{key_count} + 1);
  for (RowIndex key = 0; key < key_count; ++key) {
    offsets[key + 1] = offsets[key];
    for (const std::vector<EntryIndex>& part : counts) offsets[key + 1] += part[key];
  }
  return offsets;
}

CompressedMatrix group_by_row(RowEntries entries, RowIndex rows, RowIndex column_count, ThreadPool& pool) {
  CONCERTO_CHECK(entries.rows.size() == entries.columns.size(), "an entry has a row and a column");
  CONCERTO_CHECK(entries.values.empty() || entries.values.size() == entries.rows.size(), "all or no values");
  CompressedMatrix matrix;
  matrix.rows = rows;
  matrix.column_count = column_count;
  if (entries.values.empty()) {
    group_without_values(entries, matrix, pool);
  } else {
    group_with_values(entries, matrix, pool);
  }
  return matrix;
}

}  // namespace concerto
