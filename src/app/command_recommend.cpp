// `concerto recommend MODEL --users A,B|all | --history FILE`: the best items for known or new users, in batches.
#include <numeric>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/model/model.hpp"

#include "commands.hpp"
#include "engine.hpp"
#include "histories.hpp"
#include "inputs.hpp"
#include "lists.hpp"

namespace concerto {
namespace {

/// Places of all lists of one batch: 8 bytes each, so a batch takes at most about 8 MiB.
constexpr std::size_t kPlacesPerBatch = std::size_t{1} << 20;

struct Queries {
  const IdMap* ids = nullptr;
  const FactorTable* factors = nullptr;
  const CompressedMatrix* seen = nullptr;  // may be null
  std::vector<RowIndex> rows;
};

void check_arguments(const RecommendArguments& arguments) {
  if (arguments.users.empty() == arguments.history.empty()) {
    throw Error(ErrorCode::kBadInput, "give either --users or --history", "recommend");
  }
  if (!arguments.history.empty() && !arguments.exclude.empty()) {
    throw Error(ErrorCode::kBadInput, "is for --users; with --history the history itself is left out", "--exclude");
  }
  if (arguments.min_value && arguments.history.empty()) {
    throw Error(ErrorCode::kBadInput, "says which entries of a history count; give --history", "--min-value");
  }
  if (!arguments.exclude.empty()) require_data(arguments.exclude, "--exclude");
  if (!arguments.history.empty()) require_data(arguments.history, "--history");
}

void write_recommendations(const Model& model, const Queries& queries, std::uint32_t top, ListFormat format,
                           Backend& backend, std::ostream& out) {
  const auto users = backend.create_table(queries.factors->shape());
  const auto items = backend.create_table(model.items.shape());
  backend.write_rows(*users, {0, queries.factors->rows()}, *queries.factors);
  backend.write_rows(*items, {0, model.items.rows()}, model.items);
  const CompressedRows seen = queries.seen != nullptr ? queries.seen->view() : CompressedRows{};

  const std::uint32_t k = std::min(top, model.items.rows());
  const std::size_t batch = std::clamp<std::size_t>(kPlacesPerBatch / std::max(k, 1U), 1, 4096);
  for (std::size_t begin = 0; begin < queries.rows.size(); begin += batch) {
    TopKQuery query;
    query.queries = users.get();
    query.rows = std::span(queries.rows).subspan(begin, std::min(batch, queries.rows.size() - begin));
    query.candidates = items.get();
    query.exclude = queries.seen != nullptr ? &seen : nullptr;
    query.k = k;
    query.tie_order = model.item_ids.rank_order();
    const TopKResult lists = backend.top_k(query);
    for (std::size_t i = 0; i < query.rows.size(); ++i) {
      const RowIndex row = query.rows[i];
      write_list(out, format, queries.ids->text(row), std::span(lists.candidates).subspan(i * k, k),
                 std::span(lists.scores).subspan(i * k, k), model.objective.mean + queries.factors->bias(row),
                 model.item_ids);
    }
  }
  out << std::flush;
}

/// Every row, in ascending order of ids as far as the map gives it.
std::vector<RowIndex> all_rows(const IdMap& ids) {
  return {ids.row_order().begin(), ids.row_order().end()};
}

}  // namespace

void run_recommend(const RecommendArguments& arguments, Console& console) {
  const ListFormat format = parse_list_format(arguments.format);
  check_arguments(arguments);
  const Model model = open_model(arguments.model, "MODEL", 2);
  const FileRules rules = file_rules(model, parse_format(arguments.input_format), arguments.min_value);
  FileRules seen_rules = rules;  // whatever its value, it was seen
  seen_rules.reading.need_values = false;
  seen_rules.building.min_value.reset();

  Queries queries;
  queries.ids = &model.user_ids;
  queries.factors = &model.users;
  if (!arguments.users.empty()) {
    const bool everyone = arguments.users == std::vector<std::string>{"all"};
    queries.rows = everyone ? all_rows(model.user_ids) : rows_of(arguments.users, model.user_ids, "--users");
  }
  Engine engine(arguments.compute, console.log);
  CompressedMatrix seen;
  FoldedUsers folded;
  if (!arguments.exclude.empty()) {
    seen = load_into_rows(arguments.exclude, model.user_ids, model.item_ids, seen_rules, PreparedPart::kTraining,
                          engine.pool())
               .known;
    queries.seen = &seen;
  }
  if (!arguments.history.empty()) {
    folded = fold_in_file(model, arguments.history, rules, false, engine.backend(), engine.pool());
    if (folded.unknown_items > 0) {
      console.log.warn(
          fmt::format("{} history entries are of items that the model does not know", folded.unknown_items));
    }
    if (rules.building.min_value) {
      folded.seen = load_into_rows(arguments.history, folded.ids, model.item_ids, seen_rules, PreparedPart::kTraining,
                                   engine.pool())
                        .known;
    }
    queries = {&folded.ids, &folded.factors, &folded.seen, all_rows(folded.ids)};
  }
  write_recommendations(model, queries, arguments.top, format, engine.backend(), console.out);
}

}  // namespace concerto
