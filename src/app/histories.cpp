// Folding in from files: which users there are is decided here, their factors come from the train layer.
#include "histories.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/train/fold_in.hpp"

#include "report.hpp"

namespace concerto {
namespace {

/// The distinct ids of a column as text, without those that `known` has.
std::vector<std::string> distinct_ids(const IdColumn& column, const IdMap* known) {
  std::vector<std::string> ids;
  if (column.is_label) {
    ids = column.labels;
  } else {
    std::vector<std::uint32_t> values = column.values;
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    ids.reserve(values.size());
    for (const std::uint32_t value : values) ids.push_back(std::to_string(value));
  }
  if (known != nullptr) std::erase_if(ids, [&](const std::string& id) { return known->find(id).has_value(); });
  std::sort(ids.begin(), ids.end());
  return ids;
}

constexpr std::uint64_t kUserStream = 0;

}  // namespace

FileRules file_rules(const Model& model, FileFormat format, std::optional<double> min_value) {
  FileRules rules;
  rules.reading.format = format;
  rules.reading.need_values = !model.objective.is_implicit() || min_value.has_value();
  rules.building.use_values = !model.values_ignored;
  rules.building.duplicates =
      parse_duplicates(json_text(model.config_json, "/data/duplicates").value_or(""), model.objective.is_implicit());
  rules.building.min_value = min_value ? min_value : json_number(model.config_json, "/data/min_value");
  return rules;
}

FoldedUsers fold_in_file(const Model& model, const std::filesystem::path& history, const FileRules& rules,
                         bool only_unknown, Backend& backend, ThreadPool& pool) {
  const RawRatings raw = read_ratings(history, rules.reading, pool);
  FoldedUsers folded;
  folded.ids =
      IdMap::labels(distinct_ids(raw.users, only_unknown ? &model.user_ids : nullptr), kRowOrderSeed, kUserStream);
  HeldOut entries = build_in_rows(raw, folded.ids, model.item_ids, rules, pool);
  folded.unknown_items = static_cast<std::uint64_t>(
      std::count_if(entries.unknown.begin(), entries.unknown.end(),
                    [](const UnknownEntry& entry) { return entry.user != kNoRow && entry.item == kNoRow; }));
  folded.seen = std::move(entries.known);
  folded.factors = fold_in_users(backend, model.items, folded.seen.view(), model.objective);
  return folded;
}

Model with_users(Model model, const FoldedUsers& added) {
  if (added.ids.size() == 0) return model;
  std::vector<std::string> ids;
  ids.reserve(model.user_ids.size() + added.ids.size());
  for (RowIndex row = 0; row < model.user_ids.size(); ++row) ids.push_back(model.user_ids.text(row));
  for (RowIndex row = 0; row < added.ids.size(); ++row) ids.push_back(added.ids.text(row));
  std::sort(ids.begin(), ids.end());
  IdMap all = IdMap::labels(std::move(ids), kRowOrderSeed, kUserStream);

  FactorTable users({all.size(), model.users.rank(), model.users.shape().biases});
  const auto copy_rows = [&](const IdMap& from_ids, const FactorTable& from) {
    for (RowIndex row = 0; row < from_ids.size(); ++row) {
      const RowIndex to = *all.find(from_ids.text(row));
      std::copy(from.row(row).begin(), from.row(row).end(), users.row(to).begin());
      if (users.shape().biases) users.biases()[to] = from.bias(row);
    }
  };
  copy_rows(model.user_ids, model.users);
  copy_rows(added.ids, added.factors);
  model.users = std::move(users);
  model.user_ids = std::move(all);
  return model;
}

CompressedMatrix with_seen(const CompressedRows& seen, const IdMap& trained_ids, const Model& extended,
                           const FoldedUsers& added) {
  CompressedMatrix merged;
  merged.rows = extended.users.rows();
  merged.column_count = extended.items.rows();
  merged.offsets.reserve(merged.rows + std::size_t{1});
  merged.offsets.push_back(0);
  const CompressedRows histories = added.seen.view();
  for (RowIndex row = 0; row < merged.rows; ++row) {
    const std::string id = extended.user_ids.text(row);
    const auto added_row = added.ids.find(id);
    const auto items = added_row ? histories.row_columns(*added_row) : seen.row_columns(*trained_ids.find(id));
    merged.columns.insert(merged.columns.end(), items.begin(), items.end());
    merged.offsets.push_back(merged.columns.size());
  }
  return merged;
}

}  // namespace concerto
