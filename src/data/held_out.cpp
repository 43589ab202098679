// Held-out entries: those whose user and item training knows become a matrix, the others a list.
#include "held_out.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

/// Merges unknown entries of equal (user, item) in the file's ids, so that a repeated one counts like a known one.
/// Returns them in ascending order of those ids.
[[nodiscard]] std::vector<UnknownEntry> merge_unknown(const HeldOutSource& source, std::vector<EntryIndex> positions,
                                                      const MergeRule& rule) {
  const auto key = [&](EntryIndex i) { return std::pair(source.users[i], source.items[i]); };
  std::ranges::sort(positions, [&](EntryIndex a, EntryIndex b) { return key(a) != key(b) ? key(a) < key(b) : a < b; });
  std::vector<UnknownEntry> merged;
  for (std::size_t k = 0; k < positions.size(); ++k) {
    const EntryIndex i = positions[k];
    const float value = source.values.empty() ? 1.0F : source.values[i];
    const bool repeats = k > 0 && key(i) == key(positions[k - 1]);
    if (repeats && rule.duplicates == Duplicates::kError) {
      throw Error(ErrorCode::kBadInput, source.pair_text(source.users[i], source.items[i]) + " occurs more than once",
                  "data.duplicates");
    }
    if (!repeats || rule.duplicates == Duplicates::kKeep) {
      merged.push_back({source.user_rows->row(source.users[i]), source.item_rows->row(source.items[i]), value});
    } else if (rule.use_values) {
      merged.back().value = rule.duplicates == Duplicates::kSum ? merged.back().value + value : value;
    }
  }
  return merged;
}

[[nodiscard]] std::uint64_t count_unknown_users(const HeldOutSource& source, const std::vector<EntryIndex>& positions) {
  std::vector<std::uint32_t> users;
  for (const EntryIndex i : positions) {
    if (source.user_rows->row(source.users[i]) == kNoRow) users.push_back(source.users[i]);
  }
  std::ranges::sort(users);
  return static_cast<std::uint64_t>(std::unique(users.begin(), users.end()) - users.begin());
}

/// The rows of ids that another file names: each distinct one is looked up once.
[[nodiscard]] RowLookup look_up(const IdColumn& column, const IdMap& map, ThreadPool& pool) {
  RowLookup lookup;
  if (column.is_label) {
    lookup.ranks = IdRanks::all_below(static_cast<RowIndex>(column.labels.size()));
    for (const std::string& label : column.labels) lookup.rows.push_back(map.find(label).value_or(kNoRow));
    return lookup;
  }
  lookup.ranks = IdRanks::of(column.values, pool);
  for (const std::uint32_t id : lookup.ranks.ids()) {
    lookup.rows.push_back(map.find(std::uint64_t{id}).value_or(kNoRow));
  }
  return lookup;
}

[[nodiscard]] std::string raw_text(const IdColumn& column, std::uint32_t value) {
  return column.is_label ? column.labels[value] : std::to_string(value);
}

}  // namespace

std::string raw_pair_text(const IdColumn& users, const IdColumn& items, std::uint32_t user, std::uint32_t item) {
  return "user " + raw_text(users, user) + ", item " + raw_text(items, item);
}

HeldOut make_held_out(HeldOutSource source, const MergeRule& rule, ThreadPool& pool) {
  HeldOut result;
  RowEntries known;
  std::vector<EntryIndex> unknown;
  for (std::size_t i = 0; i < source.users.size(); ++i) {
    const RowIndex user = source.user_rows->row(source.users[i]);
    const RowIndex item = source.item_rows->row(source.items[i]);
    if (user == kNoRow || item == kNoRow) {
      unknown.push_back(i);
      continue;
    }
    known.rows.push_back(user);
    known.columns.push_back(item);
    if (!source.values.empty()) known.values.push_back(source.values[i]);
  }
  result.unknown_users = count_unknown_users(source, unknown);
  result.unknown = merge_unknown(source, std::move(unknown), rule);
  result.known = group_by_row(std::move(known), source.user_count, source.item_count, pool);
  (void)sort_and_merge(result.known, rule, pool);
  return result;
}

EntryIndex drop_known_pairs(HeldOut& part, const CompressedRows& train) {
  CompressedMatrix& known = part.known;
  EntryIndex kept = 0;
  EntryIndex begin = 0;
  for (RowIndex row = 0; row < known.rows; ++row) {
    const EntryIndex end = known.offsets[row + 1];
    const std::span<const RowIndex> trained = train.row_columns(row);
    for (EntryIndex e = begin; e < end; ++e) {
      if (std::ranges::binary_search(trained, known.columns[e])) continue;
      known.columns[kept] = known.columns[e];
      if (!known.values.empty()) known.values[kept] = known.values[e];
      ++kept;
    }
    begin = end;
    known.offsets[row + 1] = kept;
  }
  const EntryIndex dropped = known.columns.size() - kept;
  known.columns.resize(kept);
  if (!known.values.empty()) known.values.resize(kept);
  return dropped;
}

HeldOut build_held_out(const RawRatings& raw, const IdMap& users, const IdMap& items, const DatasetOptions& options,
                       ThreadPool& pool) {
  const RowLookup user_rows = look_up(raw.users, users, pool);
  const RowLookup item_rows = look_up(raw.items, items, pool);
  HeldOutSource source;
  source.user_rows = &user_rows;
  source.item_rows = &item_rows;
  source.user_count = users.size();
  source.item_count = items.size();
  source.pair_text = [&](std::uint32_t user, std::uint32_t item) {
    return raw_pair_text(raw.users, raw.items, user, item);
  };
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const double value = raw.values.empty() ? 1.0 : static_cast<double>(raw.values[i]);
    if (options.min_value && value < *options.min_value) continue;
    source.users.push_back(raw.users.values[i]);
    source.items.push_back(raw.items.values[i]);
    if (options.use_values && !raw.values.empty()) source.values.push_back(raw.values[i]);
  }
  if (source.users.empty()) {
    throw Error(ErrorCode::kBadInput, "no entry of the held-out file is left", "data.min_value");
  }
  const MergeRule rule{options.duplicates, options.use_values, [&](RowIndex user, RowIndex item) {
                         return "user " + users.text(user) + ", item " + items.text(item);
                       }};
  return make_held_out(std::move(source), rule, pool);
}

}  // namespace concerto
