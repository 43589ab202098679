// Small data sets for tests of training: planted rank, seeded, with empty rows on request. No files.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "concerto/base/rng.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"

namespace concerto::test {

struct Entry {
  RowIndex user;
  RowIndex item;
  float value;
};

/// An orientation from entries in any order; rows and columns as given.
inline CompressedMatrix matrix_of(RowIndex rows, RowIndex columns, std::vector<Entry> entries, bool values = true) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.user, a.item) < std::pair(b.user, b.item); });
  CompressedMatrix matrix;
  matrix.rows = rows;
  matrix.column_count = columns;
  matrix.offsets.assign(rows + std::size_t{1}, 0);
  for (const Entry& entry : entries) {
    ++matrix.offsets[entry.user + 1];
    matrix.columns.push_back(entry.item);
    if (values) matrix.values.push_back(entry.value);
  }
  for (RowIndex r = 0; r < rows; ++r) matrix.offsets[r + 1] += matrix.offsets[r];
  return matrix;
}

inline Dataset dataset_of(RowIndex users, RowIndex items, const std::vector<Entry>& entries, bool values = true) {
  ThreadPool pool(1);
  CompressedMatrix by_user = matrix_of(users, items, entries, values);
  CompressedMatrix by_item = transpose(by_user.view(), pool);
  return {IdMap::indices(users, 1, 0), IdMap::indices(items, 1, 1), std::move(by_user), std::move(by_item)};
}

/// Each pair is observed with probability `density`; values are 3 + a rank-2 score + noise. Every 13th user and every
/// 17th item has no entries.
inline std::vector<Entry> planted_entries(RowIndex users, RowIndex items, double density, std::uint64_t seed,
                                          double noise = 0.3) {
  Random random(seed, 77);
  std::vector<Entry> entries;
  for (RowIndex u = 0; u < users; ++u) {
    for (RowIndex i = 0; i < items; ++i) {
      const double draw = random.uniform();
      const double score = static_cast<double>(normal_at(seed, 0, u, 0)) * normal_at(seed, 1, i, 0) +
                           0.5 * normal_at(seed, 0, u, 1) * normal_at(seed, 1, i, 1) + noise * random.normal();
      if (u % 13 == 12 || i % 17 == 16 || draw >= density) continue;
      entries.push_back({u, i, static_cast<float>(3.0 + score)});
    }
  }
  return entries;
}

inline Dataset planted_data(RowIndex users = 150, RowIndex items = 90, double density = 0.2, bool values = true) {
  return dataset_of(users, items, planted_entries(users, items, density, 5), values);
}

/// Held-out entries whose users and items are all known.
inline HeldOut held_out_of(RowIndex users, RowIndex items, const std::vector<Entry>& entries) {
  HeldOut part;
  part.known = matrix_of(users, items, entries);
  return part;
}

}  // namespace concerto::test
