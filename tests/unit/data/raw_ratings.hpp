// Builds what a reader would return, for tests of what comes after reading.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "concerto/base/rng.hpp"
#include "concerto/data/reader.hpp"

namespace concerto::test {

struct Entry {
  std::uint32_t user;
  std::uint32_t item;
  float value = 1.0F;
  std::int64_t time = 0;
};

inline RawRatings raw_ratings(const std::vector<Entry>& entries, bool with_values = true, bool with_times = false) {
  RawRatings raw;
  for (const Entry& entry : entries) {
    raw.users.values.push_back(entry.user);
    raw.items.values.push_back(entry.item);
    if (with_values) raw.values.push_back(entry.value);
    if (with_times) raw.times.push_back(entry.time);
  }
  raw.lines = entries.size();
  return raw;
}

/// The shapes that break builders: primes, a giant row, a hot item, empty rows between, a single entry.
enum class Shape { kSingle, kPrime, kGiantRow, kHotItem, kSparseIds, kManyDuplicates, kSorted };

inline std::vector<Entry> shaped_entries(Shape shape) {
  std::vector<Entry> entries;
  Random random(17, static_cast<std::uint64_t>(shape));
  const auto add = [&](std::uint64_t user, std::uint64_t item) {
    // Halves sum exactly in any order.
    entries.push_back({static_cast<std::uint32_t>(user), static_cast<std::uint32_t>(item),
                       static_cast<float>(1 + random.below(10)) / 2, static_cast<std::int64_t>(random.below(50))});
  };
  switch (shape) {
    case Shape::kSingle:
      add(0, 0);
      break;
    case Shape::kPrime:
      for (int k = 0; k < 6007; ++k) add(random.below(997), random.below(131));
      break;
    case Shape::kGiantRow:
      for (int k = 0; k < 4001; ++k) add(k % 7 == 0 ? random.below(100) : 5, random.below(5003));
      break;
    case Shape::kHotItem:
      for (int k = 0; k < 4001; ++k) add(random.below(1009), k % 5 == 0 ? random.below(50) : 3);
      break;
    case Shape::kSparseIds:
      for (int k = 0; k < 3000; ++k) add(7 + 15485863 * random.below(200), 4294967294U - random.below(90) * 1000003);
      break;
    case Shape::kManyDuplicates:
      for (int k = 0; k < 5000; ++k) add(1 + random.below(11), 1 + random.below(13));
      break;
    case Shape::kSorted:
      for (std::uint64_t user = 0; user < 300; user += 3) {
        for (std::uint64_t item = 0; item < 40; item += 1 + user % 4) add(user, item);
      }
      break;
  }
  return entries;
}

}  // namespace concerto::test
