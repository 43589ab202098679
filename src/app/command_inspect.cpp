// `concerto inspect MODEL|DATA`: what a model directory, a prepared directory or a data file is, for people.
#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/model/model.hpp"

#include "commands.hpp"
#include "engine.hpp"
#include "inputs.hpp"
#include "report.hpp"
#include "summary.hpp"

namespace concerto {
namespace {

std::string objective_text(const Objective& objective) {
  std::string text = "explicit ratings";
  if (objective.kind == ObjectiveKind::kImplicitUnobserved) {
    text = fmt::format("implicit, unobserved weight {}", objective.unobserved_weight);
  } else if (objective.kind == ObjectiveKind::kImplicitAlpha) {
    text = fmt::format("implicit, alpha {}, confidence {}", objective.alpha,
                       objective.confidence == Confidence::kProduct ? "product" : "one_plus");
  }
  return text +
         fmt::format(", regularization {} x count^{}", objective.regularization, objective.regularization_exponent);
}

std::string id_text(const IdMap& ids) {
  const char* kind = "labels";
  if (ids.kind() == IdKind::kIndex) kind = "indices from 0";
  if (ids.kind() == IdKind::kInteger) kind = "integers";
  return fmt::format("{} ({})", ids.size(), kind);
}

void inspect_model(const std::string& path, std::ostream& out) {
  const Model model = open_model(path, "PATH", 1);
  print_row(out, "model", path);
  print_row(out, "users", id_text(model.user_ids));
  print_row(out, "items", id_text(model.item_ids));
  print_row(out, "rank", std::to_string(model.users.rank()));
  print_row(out, "objective", objective_text(model.objective));
  if (!model.objective.is_implicit()) {
    print_row(out, "mean", fmt::format("{:.6g}", model.objective.mean));
    print_row(out, "biases", model.users.shape().biases ? "yes" : "no");
  }
  print_row(out, "values",
            model.values_ignored ? "ignored: every entry is 1"
                                 : fmt::format("{:.6g} to {:.6g}", model.lowest_value, model.highest_value));
  print_row(out, "factor bytes",
            bytes_text(FactorTable::bytes(model.users.shape()) + FactorTable::bytes(model.items.shape())));
  for (const auto& [name, value] : json_leaves(model.metrics_json, path)) print_row(out, "test " + name, value);
  out << "\nconfiguration\n";
  for (const auto& [name, value] : json_leaves(model.config_json, path)) {
    out << fmt::format("  {:<32}{}\n", name, value);
  }
}

/// "0 empty; 10 % have at most 3, half at most 17, 90 % at most 96; most 2314".
std::string distribution_text(const CompressedRows& ratings) {
  std::vector<EntryIndex> counts(ratings.rows);
  for (RowIndex row = 0; row < ratings.rows; ++row) counts[row] = ratings.count(row);
  if (counts.empty()) return "none";
  std::sort(counts.begin(), counts.end());
  const auto at = [&](double share) {
    return counts[static_cast<std::size_t>(share * static_cast<double>(counts.size() - 1))];
  };
  const auto empty = std::upper_bound(counts.begin(), counts.end(), EntryIndex{0}) - counts.begin();
  return fmt::format("{} empty; 10 % have at most {}, half at most {}, 90 % at most {}; most {}", empty, at(0.1),
                     at(0.5), at(0.9), counts.back());
}

void print_data(const std::string& path, const LoadedData& data, std::ostream& out) {
  const CompressedRows by_user = data.train.by_user();
  const CompressedRows by_item = data.train.by_item();
  const double cells = static_cast<double>(by_user.rows) * by_item.rows;
  print_row(out, data.was_prepared ? "prepared data" : "data", path);
  print_row(out, "users", id_text(data.train.users()));
  print_row(out, "items", id_text(data.train.items()));
  print_row(out, "entries",
            fmt::format("{} ({:.4g} % of all pairs)", by_user.entries(),
                        100.0 * static_cast<double>(by_user.entries()) / std::max(cells, 1.0)));
  if (data.merging.merged > 0) {
    print_row(out, "duplicates",
              fmt::format("{} merged, as duplicates = \"{}\" says", data.merging.merged,
                          duplicates_name(data.merging.duplicates)));
  }
  if (data.test) print_row(out, "held out", fmt::format("{} entries", data.test->entries()));
  if (data.train.has_values()) {
    const auto [low, high] = std::minmax_element(by_user.values.begin(), by_user.values.end());
    const double sum = std::accumulate(by_user.values.begin(), by_user.values.end(), 0.0);
    print_row(out, "values",
              fmt::format("{:.6g} to {:.6g}, mean {:.6g}", *low, *high, sum / static_cast<double>(by_user.entries())));
  } else {
    print_row(out, "values", "none");
  }
  print_row(out, "entries of users", distribution_text(by_user));
  print_row(out, "entries of items", distribution_text(by_item));
}

LoadedData load_for_inspection(const InspectArguments& arguments, ThreadPool& pool) {
  if (Dataset::is_prepared(arguments.path)) {
    Dataset::Prepared prepared = Dataset::map(arguments.path, pool);
    return {std::move(prepared.dataset), std::move(prepared.held_out), std::nullopt, {}, prepared.merging, true};
  }
  ReadOptions reading;
  reading.format = parse_format(arguments.format);
  BuiltDataset built = build_dataset(read_ratings(arguments.path, reading, pool), {}, std::nullopt, std::nullopt, pool);
  return {std::move(built.train),
          std::nullopt,
          std::nullopt,
          built.counts,
          {Duplicates::kLast, built.counts.merged_duplicates},
          false};
}

}  // namespace

void run_inspect(const InspectArguments& arguments, Console& console) {
  if (is_model(arguments.path)) {
    inspect_model(arguments.path, console.out);
  } else if (std::filesystem::is_directory(arguments.path) && !Dataset::is_prepared(arguments.path)) {
    throw Error(ErrorCode::kBadInput, "is a directory, but neither a model nor prepared data", arguments.path);
  } else {
    require_data(arguments.path, "PATH");
    ThreadPool pool(arguments.compute.threads);
    require_memory(predict_loading_bytes(arguments.path, true, 0), {arguments.compute.memory_limit_bytes},
                   "loading " + arguments.path, "use a machine with more memory");
    print_data(arguments.path, load_for_inspection(arguments, pool), console.out);
  }
  console.out << std::flush;
}

}  // namespace concerto
