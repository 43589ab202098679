// Splits: pure functions of (seed, position in the input), so that they depend neither on threads nor on rows.
#include "split.hpp"

#include <algorithm>
#include <cmath>

#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"

#include "id_ranks.hpp"

namespace concerto {
namespace {

constexpr std::size_t kGrain = std::size_t{1} << 16;

/// Uniform on [0, 1) at a position; different parts draw different numbers from one seed.
[[nodiscard]] double draw(std::uint64_t seed, Part part, EntryIndex position) noexcept {
  constexpr std::uint32_t kTag = 0x73706c74U;
  const auto words = philox({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
                             static_cast<std::uint32_t>(part), kTag},
                            seed);
  const std::uint64_t bits = (std::uint64_t{words[0]} << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

// Shares are decimal fractions: 0.29 * 100 must count as 29, not as 28.999999999999996.
constexpr double kShareSlack = 1e-9;

[[nodiscard]] EntryIndex floor_share(double share, EntryIndex count) {
  return static_cast<EntryIndex>(std::floor(share * static_cast<double>(count) + kShareSlack));
}
[[nodiscard]] EntryIndex ceil_share(double share, EntryIndex count) {
  return static_cast<EntryIndex>(std::ceil(share * static_cast<double>(count) - kShareSlack));
}

void split_at_random(std::vector<Part>& parts, Part target, const SplitOptions& options, ThreadPool& pool) {
  pool.parallel_for(parts.size(), kGrain, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) {
      if (parts[i] == Part::kTrain && draw(options.seed, target, i) < options.share) parts[i] = target;
    }
  });
}

/// Training entries of each user.
[[nodiscard]] std::vector<EntryIndex> count_by_user(const std::vector<Part>& parts, const IdRanks& users,
                                                    const std::vector<std::uint32_t>& ids) {
  std::vector<EntryIndex> counts(users.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == Part::kTrain) ++counts[users.rank(ids[i])];
  }
  return counts;
}

/// Takes floor(share * count) of each user's entries, each subset of that size equally likely, in one pass (Fan, Muller
/// and Rezucha 1962: an entry is taken with probability still wanted / still to come).
void split_each_user(std::vector<Part>& parts, Part target, const RawRatings& raw, const SplitOptions& options,
                     ThreadPool& pool) {
  const IdRanks users = IdRanks::of(raw.users.values, pool);
  std::vector<EntryIndex> to_come = count_by_user(parts, users, raw.users.values);
  std::vector<EntryIndex> wanted(to_come.size());
  std::ranges::transform(to_come, wanted.begin(), [&](EntryIndex n) { return floor_share(options.share, n); });
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] != Part::kTrain) continue;
    const RowIndex user = users.rank(raw.users.values[i]);
    if (draw(options.seed, target, i) * static_cast<double>(to_come[user]) < static_cast<double>(wanted[user])) {
      parts[i] = target;
      --wanted[user];
    }
    --to_come[user];
  }
}

/// Takes the last ceil(share * count) of each user's entries by (time, position), leaving at least one.
void split_last(std::vector<Part>& parts, Part target, const RawRatings& raw, const SplitOptions& options,
                ThreadPool& pool) {
  const IdRanks users = IdRanks::of(raw.users.values, pool);
  const std::vector<EntryIndex> counts = count_by_user(parts, users, raw.users.values);
  std::vector<EntryIndex> ends(counts.size());
  EntryIndex total = 0;
  for (std::size_t user = 0; user < counts.size(); ++user) {
    ends[user] = total;
    total += counts[user];
  }
  std::vector<EntryIndex> positions(total);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == Part::kTrain) positions[ends[users.rank(raw.users.values[i])]++] = i;
  }
  const auto is_earlier = [&](EntryIndex a, EntryIndex b) {
    return raw.times[a] != raw.times[b] ? raw.times[a] < raw.times[b] : a < b;
  };
  pool.parallel_for(counts.size(), 256, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t user = begin; user < end; ++user) {
      if (counts[user] < 2) continue;
      const std::span<EntryIndex> own = std::span(positions).subspan(ends[user] - counts[user], counts[user]);
      const EntryIndex taken = std::min(ceil_share(options.share, counts[user]), counts[user] - 1);
      const auto first_taken = own.end() - static_cast<std::ptrdiff_t>(taken);
      if (!raw.times.empty() && taken > 0) std::nth_element(own.begin(), first_taken, own.end(), is_earlier);
      for (auto position = first_taken; position != own.end(); ++position) parts[*position] = target;
    }
  });
}

void split_off(std::vector<Part>& parts, Part target, const RawRatings& raw, const SplitOptions& options,
               ThreadPool& pool) {
  const char* const key = target == Part::kTest ? "data.split" : "data.validation";
  if (!(options.share > 0.0)) {
    throw Error(ErrorCode::kBadInput, "the share must be above 0, not " + std::to_string(options.share), key);
  }
  if (options.share >= 1.0) throw Error(ErrorCode::kBadInput, "a share of 1 or more leaves nothing to train on", key);
  switch (options.by) {
    case SplitBy::kRandom:
      split_at_random(parts, target, options, pool);
      break;
    case SplitBy::kUser:
      split_each_user(parts, target, raw, options, pool);
      break;
    case SplitBy::kLast:
      split_last(parts, target, raw, options, pool);
      break;
  }
}

}  // namespace

std::vector<Part> assign_parts(const RawRatings& raw, const std::optional<double>& min_value,
                               const std::optional<SplitOptions>& test, const std::optional<SplitOptions>& validation,
                               ThreadPool& pool) {
  std::vector<Part> parts(raw.size(), Part::kTrain);
  if (min_value) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const double value = raw.values.empty() ? 1.0 : static_cast<double>(raw.values[i]);
      if (value < *min_value) parts[i] = Part::kDropped;
    }
  }
  if (test) split_off(parts, Part::kTest, raw, *test, pool);
  if (validation) split_off(parts, Part::kValidation, raw, *validation, pool);
  return parts;
}

}  // namespace concerto
