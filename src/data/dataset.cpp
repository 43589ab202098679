// Building training data from what was read: filter, split, rows, both orientations. The steps are functions of their
// own, each freeing what the next does not need, because peak memory is the point.
#include "concerto/data/dataset.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"

#include "grouping.hpp"
#include "held_out.hpp"
#include "id_ranks.hpp"
#include "split.hpp"

namespace concerto {
namespace {

constexpr std::size_t kGrain = std::size_t{1} << 16;

/// What differs between the two columns of ids.
struct ColumnRole {
  const char* name;        // in messages
  const char* key;         // the configuration key that declares the count
  std::uint64_t declared;  // by the configuration; 0: not declared
  RowIndex shape;          // by the file's header; 0: not declared
  std::uint64_t stream;    // of the row order
};

struct AssignedRows {
  IdMap map;
  RowLookup lookup;
};

/// An index far above the number of entries is more likely a hash or a database key than a count from 0, and its table
/// would not fit any memory.
void refuse_runaway_index(std::uint32_t largest, std::size_t entries, const ColumnRole& role) {
  constexpr std::uint64_t kAlwaysAllowed = std::uint64_t{1} << 24;
  constexpr std::uint64_t kRowsPerEntry = 64;
  if (largest < kAlwaysAllowed || largest / kRowsPerEntry < entries) return;
  throw Error(ErrorCode::kBadInput,
              fmt::format("{} ids count from 0 up to {}, so that the table needs {} rows for {} entries; number them "
                          "densely, or declare the count in {} if this is meant",
                          role.name, largest, std::uint64_t{largest} + 1, entries, role.key));
}

[[nodiscard]] AssignedRows assign_indices(std::uint64_t count, const ColumnRole& role) {
  if (count > kMaxRows) {
    throw Error(ErrorCode::kBadInput, fmt::format("{} {}s are more than {}", count, role.name, kMaxRows), role.key);
  }
  AssignedRows result;
  result.map = IdMap::indices(static_cast<RowIndex>(count), kRowOrderSeed, role.stream);
  result.lookup.ranks = IdRanks::all_below(static_cast<RowIndex>(count));
  return result;
}

[[nodiscard]] AssignedRows assign_labels(const IdColumn& column, const ColumnRole& role, ThreadPool& pool) {
  if (role.declared != 0) {
    throw Error(ErrorCode::kBadInput, fmt::format("declares a count, but {} ids are not all numbers", role.name),
                role.key);
  }
  AssignedRows result;
  result.lookup.ranks = IdRanks::of(column.values, pool);
  std::vector<std::string> labels;
  labels.reserve(result.lookup.ranks.size());
  for (const std::uint32_t place : result.lookup.ranks.ids()) labels.push_back(column.labels[place]);
  result.map = IdMap::labels(std::move(labels), kRowOrderSeed, role.stream);
  return result;
}

/// Decides the kind of ids on the training entries and gives each id its row.
[[nodiscard]] AssignedRows assign_rows(const IdColumn& column, const ColumnRole& role, ThreadPool& pool) {
  AssignedRows result;
  const std::uint64_t declared = role.declared != 0 ? role.declared : role.shape;
  if (column.is_label) {
    result = assign_labels(column, role, pool);
  } else {
    const IdRange range = id_range(column.values, pool);
    if (declared != 0 && range.largest >= declared) {
      throw Error(ErrorCode::kBadInput,
                  fmt::format("{} id {} is not below the declared count {}", role.name, range.largest, declared),
                  role.key);
    }
    if (declared != 0) {
      result = assign_indices(declared, role);
    } else if (range.smallest == 0) {
      refuse_runaway_index(range.largest, column.values.size(), role);
      result = assign_indices(std::uint64_t{range.largest} + 1, role);
    } else {
      result.lookup.ranks = IdRanks::of(column.values, pool);
      const std::vector<std::uint32_t> ids = result.lookup.ranks.ids();
      result.map = IdMap::integers({ids.begin(), ids.end()}, kRowOrderSeed, role.stream);
    }
  }
  const std::span<const RowIndex> order = result.map.row_order();
  result.lookup.rows.assign(order.begin(), order.end());
  return result;
}

void replace_by_rows(std::vector<std::uint32_t>& ids, const RowLookup& lookup, ThreadPool& pool) {
  pool.parallel_for(ids.size(), kGrain, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t i = begin; i < end; ++i) ids[i] = lookup.row(ids[i]);
  });
}

/// Moves the entries of `part` to the front of `values` and drops the others.
template <class T>
void keep_part(std::vector<T>& values, const std::vector<Part>& parts, Part part) {
  if (values.empty()) return;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == part) values[kept++] = values[i];
  }
  values.resize(kept);
  values.shrink_to_fit();
}

template <class T>
[[nodiscard]] std::vector<T> copy_part(const std::vector<T>& values, const std::vector<Part>& parts, Part part) {
  std::vector<T> copy;
  if (values.empty()) return copy;
  copy.reserve(static_cast<std::size_t>(std::ranges::count(parts, part)));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == part) copy.push_back(values[i]);
  }
  return copy;
}

[[nodiscard]] HeldOutSource take_part(const RawRatings& raw, const std::vector<Part>& parts, Part part,
                                      bool use_values) {
  HeldOutSource source;
  source.users = copy_part(raw.users.values, parts, part);
  source.items = copy_part(raw.items.values, parts, part);
  if (use_values) source.values = copy_part(raw.values, parts, part);
  return source;
}

/// The entries of each part, still in the ids of the file; what is left of `raw` is the training part.
struct SplitRatings {
  std::optional<HeldOutSource> test;
  std::optional<HeldOutSource> validation;
  BuildCounts counts;
};

[[nodiscard]] SplitRatings filter_and_split(RawRatings& raw, const DatasetOptions& options,
                                            const std::optional<SplitOptions>& test,
                                            const std::optional<SplitOptions>& validation, ThreadPool& pool) {
  SplitRatings result;
  result.counts.read = raw.size();
  if (raw.size() == 0) throw Error(ErrorCode::kBadInput, "there are no entries");
  if (!options.use_values && !options.min_value) std::vector<float>().swap(raw.values);
  if (options.min_value || test || validation) {
    const std::vector<Part> parts = assign_parts(raw, options.min_value, test, validation, pool);
    std::vector<std::int64_t>().swap(raw.times);
    if (test) result.test = take_part(raw, parts, Part::kTest, options.use_values);
    if (validation) result.validation = take_part(raw, parts, Part::kValidation, options.use_values);
    result.counts.below_min_value = static_cast<EntryIndex>(std::ranges::count(parts, Part::kDropped));
    if (!options.use_values) std::vector<float>().swap(raw.values);
    keep_part(raw.users.values, parts, Part::kTrain);
    keep_part(raw.items.values, parts, Part::kTrain);
    keep_part(raw.values, parts, Part::kTrain);
  }
  std::vector<std::int64_t>().swap(raw.times);
  if (result.test) result.counts.held_out += result.test->users.size();
  if (result.validation) result.counts.held_out += result.validation->users.size();

  if (result.counts.below_min_value == result.counts.read) {
    throw Error(ErrorCode::kBadInput, fmt::format("all {} entries are below the minimum", result.counts.read),
                "data.min_value");
  }
  if (raw.size() == 0) throw Error(ErrorCode::kBadInput, "nothing is left to train on", "data.split");
  if (result.test && result.test->users.empty()) {
    throw Error(ErrorCode::kBadInput, "the share is so small that the test part is empty", "data.split");
  }
  if (result.validation && result.validation->users.empty()) {
    throw Error(ErrorCode::kBadInput, "the share is so small that the validation part is empty", "data.validation");
  }
  return result;
}

}  // namespace

Dataset::Dataset(IdMap users, IdMap items, CompressedMatrix by_user, CompressedMatrix by_item)
    : users_(std::move(users)),
      items_(std::move(items)),
      by_user_(std::move(by_user)),
      by_item_(std::move(by_item)),
      by_user_view_(by_user_.view()),
      by_item_view_(by_item_.view()),
      has_values_(!by_user_.values.empty()) {
  CONCERTO_CHECK(by_user_.rows == users_.size() && by_user_.column_count == items_.size(), "a row for each user");
  CONCERTO_CHECK(by_item_.rows == items_.size() && by_item_.column_count == users_.size(), "a row for each item");
  CONCERTO_CHECK(by_user_.columns.size() == by_item_.columns.size(), "both orientations hold the same entries");
}

BuiltDataset build_dataset(RawRatings raw, const DatasetOptions& options, const std::optional<SplitOptions>& test,
                           const std::optional<SplitOptions>& validation, ThreadPool& pool) {
  SplitRatings split = filter_and_split(raw, options, test, validation, pool);
  AssignedRows users = assign_rows(raw.users, {"user", "data.users", options.declared_users, raw.shape_users, 0}, pool);
  replace_by_rows(raw.users.values, users.lookup, pool);
  AssignedRows items = assign_rows(raw.items, {"item", "data.items", options.declared_items, raw.shape_items, 1}, pool);
  replace_by_rows(raw.items.values, items.lookup, pool);

  const MergeRule rule{options.duplicates, options.use_values, [&](RowIndex user, RowIndex item) {
                         return "user " + users.map.text(user) + ", item " + items.map.text(item);
                       }};
  RowEntries entries{std::move(raw.users.values), std::move(raw.items.values), std::move(raw.values)};
  CompressedMatrix by_user = group_by_row(std::move(entries), users.map.size(), items.map.size(), pool);
  split.counts.merged_duplicates = sort_and_merge(by_user, rule, pool);

  const auto finish_held_out = [&](std::optional<HeldOutSource>& source, const char* key) -> std::optional<HeldOut> {
    if (!source) return std::nullopt;
    source->user_rows = &users.lookup;
    source->item_rows = &items.lookup;
    source->user_count = users.map.size();
    source->item_count = items.map.size();
    source->pair_text = [&](std::uint32_t user, std::uint32_t item) {
      return raw_pair_text(raw.users, raw.items, user, item);
    };
    HeldOut part = make_held_out(std::move(*source), rule, pool);
    if (options.duplicates != Duplicates::kKeep) {
      const EntryIndex dropped = drop_known_pairs(part, by_user.view());
      split.counts.held_out_known += dropped;
      if (dropped > 0 && options.duplicates == Duplicates::kError) {
        throw Error(ErrorCode::kBadInput,
                    fmt::format("{} pairs occur more than once: in the training part and held out", dropped),
                    "data.duplicates");
      }
      if (dropped > 0 && part.entries() == 0) {
        throw Error(ErrorCode::kBadInput, "every held-out pair is in the training part too", key);
      }
    }
    return part;
  };
  std::optional<HeldOut> test_part = finish_held_out(split.test, "data.split");
  std::optional<HeldOut> validation_part = finish_held_out(split.validation, "data.validation");
  CompressedMatrix by_item = transpose(by_user.view(), pool);
  return {Dataset(std::move(users.map), std::move(items.map), std::move(by_user), std::move(by_item)),
          std::move(test_part), std::move(validation_part), split.counts};
}

}  // namespace concerto
