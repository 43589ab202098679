// `concerto evaluate MODEL --data FILE --exclude TRAIN`: the metrics of a model on held-out entries, beside popularity.
#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/model/model.hpp"

#include "commands.hpp"
#include "engine.hpp"
#include "histories.hpp"
#include "inputs.hpp"
#include "machine.hpp"
#include "report.hpp"
#include "summary.hpp"

namespace concerto {
namespace {

void check_arguments(const EvaluateArguments& arguments) {
  if (arguments.clip != "none" && arguments.clip != "range") {
    throw Error(ErrorCode::kBadInput, "is none or range", "--clip " + arguments.clip);
  }
  require_data(arguments.data, "--data");
  if (!arguments.history.empty() && Dataset::is_prepared(arguments.data)) {
    throw Error(ErrorCode::kBadInput,
                fmt::format("folds in users that the model does not know, of which the prepared directory {} keeps no "
                            "ids; give --data as a file",
                            arguments.data),
                "--history");
  }
  if (!arguments.exclude.empty()) require_data(arguments.exclude, "--exclude");
  if (!arguments.history.empty()) require_data(arguments.history, "--history");
  if (!arguments.report.empty()) require_file_target(arguments.report, "--report");
  require_apart({"--report", arguments.report}, {{"MODEL", arguments.model},
                                                 {"--data", arguments.data},
                                                 {"--exclude", arguments.exclude},
                                                 {"--history", arguments.history}});
}

bool rates_nothing(const std::vector<Metric>& metrics) {
  return std::all_of(metrics.begin(), metrics.end(), [](const Metric& metric) { return metric.is_ranking(); });
}

void check_metrics(const std::vector<Metric>& metrics, const EvaluateArguments& arguments) {
  const bool ranks = std::any_of(metrics.begin(), metrics.end(), [](const Metric& m) { return m.is_ranking(); });
  if (ranks && arguments.exclude.empty()) {
    throw Error(ErrorCode::kBadInput, "ranking metrics leave out what was trained on; name the training data",
                "--exclude");
  }
}

MetricValues measure(const Model& model, const HeldOut& held_out, const CompressedRows& seen,
                     const std::vector<Metric>& metrics, bool clips, Backend& backend) {
  const auto users = backend.create_table(model.users.shape());
  const auto items = backend.create_table(model.items.shape());
  backend.write_rows(*users, {0, model.users.rows()}, model.users);
  backend.write_rows(*items, {0, model.items.rows()}, model.items);
  Scorer scorer;
  scorer.backend = &backend;
  scorer.users = users.get();
  scorer.items = items.get();
  scorer.host_users = &model.users;
  scorer.host_items = &model.items;
  scorer.mean = model.objective.mean;
  if (clips) {
    scorer.low = model.lowest_value;
    scorer.high = model.highest_value;
  }
  scorer.item_order = model.item_ids.rank_order();
  return evaluate(scorer, held_out, seen, metrics);
}

/// An orientation without entries, for when nothing is excluded.
CompressedMatrix nothing_seen(const Model& model) {
  return {model.users.rows(), model.items.rows(), std::vector<EntryIndex>(model.users.rows() + std::size_t{1}), {}, {}};
}

}  // namespace

void run_evaluate(const EvaluateArguments& arguments, Console& console) {
  require_model(arguments.model, "MODEL");
  check_arguments(arguments);
  Model model = open_model(arguments.model, "MODEL", 2);
  const std::vector<Metric> metrics = parse_metrics(arguments.metrics, model.objective.is_implicit());
  check_metrics(metrics, arguments);
  Engine engine(arguments.compute, console.log);
  ThreadPool& pool = engine.pool();

  const FileRules rules = file_rules(model, parse_format(arguments.format), arguments.min_value);
  FileRules measured = rules;  // rankings look at pairs alone
  if (rates_nothing(metrics)) measured.reading.need_values = arguments.min_value.has_value();
  CompressedMatrix seen = nothing_seen(model);
  if (!arguments.exclude.empty()) {
    seen = load_into_rows(arguments.exclude, model.user_ids, model.item_ids, measured, PreparedPart::kTraining, pool)
               .known;
  }
  EvaluateReport report;
  if (!arguments.history.empty()) {
    const FoldedUsers folded = fold_in_file(model, arguments.history, rules, true, engine.backend(), pool);
    console.log.info(fmt::format("{} users unseen by the model are folded in", folded.ids.size()));
    report.folded_in_users = folded.ids.size();
    if (folded.ids.size() > 0) {
      const IdMap trained_ids = model.user_ids;
      model = with_users(std::move(model), folded);
      seen = with_seen(seen.view(), trained_ids, model, folded);
    }
  }
  const HeldOut held_out =
      load_into_rows(arguments.data, model.user_ids, model.item_ids, measured, PreparedPart::kTest, pool);
  require_measurable(held_out.facts(), metrics, "--data " + arguments.data);
  report.values = measure(model, held_out, seen.view(), metrics, arguments.clip == "range", engine.backend());
  if (!arguments.exclude.empty()) {
    const CompressedMatrix by_item = transpose(seen.view(), pool);
    report.popularity =
        evaluate_popularity(held_out, seen.view(), by_item.view(), model.item_ids.rank_order(), metrics);
  }
  report.model = arguments.model;
  report.data = arguments.data;
  report.exclude = arguments.exclude;
  report.history = arguments.history;
  report.format = arguments.format;
  report.min_value = rules.building.min_value;
  report.clip = arguments.clip;
  report.test_entries = held_out.entries();
  report.total_seconds = seconds_since_process_start();
  print_metrics(console.out, report.values, report.popularity ? &*report.popularity : nullptr);
  console.out << std::flush;
  if (!arguments.report.empty()) write_file(arguments.report, to_json(report));
}

}  // namespace concerto
