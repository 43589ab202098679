// Replays a run's versions and measures them, by the code that measures models.
#include "judge.hpp"

#include <vector>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/model/model.hpp"
#include "concerto/model/version_log.hpp"

#include "engine.hpp"
#include "inputs.hpp"

namespace concerto::bench {
namespace {

/// Everything measures here alike, whatever trained: on the host, by all its processors.
ComputeConfig host_compute(const Config& config) {
  ComputeConfig compute = config.compute;
  compute.backend = "cpu";
  compute.threads = 0;
  return compute;
}

LoadedData load(const Config& config, Engine& engine, Log& log, const std::stop_token& stop) {
  const ReadingRules rules = reading_rules(config.model.objective, config.model.values, config.model.alpha.has_value());
  LoadedData data = load_data(config.data, rules, {config.compute.memory_limit_bytes}, engine.pool(), log, stop);
  if (!data.test) {
    throw Error(ErrorCode::kBadInput, "a sweep needs data.test or data.split: runs are judged on held-out entries",
                "data.test");
  }
  return data;
}

}  // namespace

Metric metric_of(const Config& config) {
  return parse_metric(config.evaluate.metrics.front());
}

class Judge::Impl {
 public:
  Impl(const Config& config, Log& log, const std::stop_token& stop)
      : metrics_{metric_of(config)},
        clips_(config.evaluate.clip == "range"),
        engine_(host_compute(config), log),
        data_(load(config, engine_, log, stop)) {
    require_measurable(data_.test->facts(), metrics_, "the test part");
  }

  [[nodiscard]] Curve curve(const std::filesystem::path& folder, const std::filesystem::path& model_path,
                            std::optional<double> target) {
    const Model model = load_model(model_path);
    const bool smaller_is_better = !metrics_.front().higher_is_better();
    VersionHistory history(folder);
    const std::vector<double> times = history.times();
    if (history.users().rows() != data_.train.users().size() || history.items().rows() != data_.train.items().size()) {
      throw Error(ErrorCode::kCorrupt, "are not of this data", folder.string());
    }
    Curve coarse = measure(std::move(history), grid(times, kGridPoints), model);
    if (!target) return coarse;
    const std::vector<double> between = finer_grid(coarse, times, *target, smaller_is_better, kFinePoints);
    if (between.empty()) return coarse;
    return merged(coarse, measure(VersionHistory(folder), between, model));
  }

 private:
  [[nodiscard]] Curve measure(VersionHistory history, const std::vector<double>& moments, const Model& model) {
    Backend& backend = engine_.backend();
    const auto users = backend.create_table(history.users().shape());
    const auto items = backend.create_table(history.items().shape());
    Scorer scorer;
    scorer.backend = &backend;
    scorer.users = users.get();
    scorer.items = items.get();
    scorer.mean = model.objective.mean;
    if (clips_) {
      scorer.low = model.lowest_value;
      scorer.high = model.highest_value;
    }
    scorer.item_order = data_.train.items().rank_order();
    Curve curve;
    for (const double moment : moments) {
      history.advance(moment);
      backend.write_rows(*users, {0, history.users().rows()}, history.users());
      backend.write_rows(*items, {0, history.items().rows()}, history.items());
      scorer.host_users = &history.users();
      scorer.host_items = &history.items();
      const MetricValues values = evaluate(scorer, *data_.test, data_.train.by_user(), metrics_);
      curve.push_back({moment, values.at(metrics_.front().name)});
    }
    return curve;
  }

  std::vector<Metric> metrics_;
  bool clips_;
  Engine engine_;
  LoadedData data_;
};

Judge::Judge(const Config& config, Log& log, const std::stop_token& stop)
    : impl_(std::make_unique<Impl>(config, log, stop)) {}
Judge::~Judge() = default;

Curve Judge::curve(const std::filesystem::path& folder, const std::filesystem::path& model,
                   std::optional<double> target) const {
  return impl_->curve(folder, model, target);
}

}  // namespace concerto::bench
