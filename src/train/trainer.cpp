// The training loop: epochs until they are used up, the user stops, or validation no longer improves; what is measured
// after each, and which epoch's factors are kept. It knows backends only through their contract.
#include "concerto/train/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/data/partition.hpp"

#include "epochs.hpp"
#include "start.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Factors of one epoch in host memory, and what is known of their quality.
struct Kept {
  std::uint32_t epoch = 0;
  FactorTable users;
  FactorTable items;
  std::optional<MetricValues> test;
  std::optional<MetricValues> validation;
  double score = 0.0;  ///< the stop metric; early stopping only
};

class Run {
 public:
  Run(Backend& backend, const Dataset& data, const HeldOut* test, const HeldOut* validation,
      const TrainOptions& options, const std::optional<WarmStart>& warm_start);
  TrainResult run(const TrainObserver& observer, const std::stop_token& stop);

 private:
  bool run_epoch(const EpochContext& context);
  void read_factors(Kept& into, std::uint32_t epoch) const;
  [[nodiscard]] double loss() const;
  [[nodiscard]] MetricValues measure(const HeldOut& part, const std::vector<Metric>& metrics, const Kept& host) const;
  void measure_epoch(EpochRecord& record, Kept& now);
  [[nodiscard]] double stop_score(EpochRecord& record, const Kept& now) const;
  void keep_if_better(Kept& now);
  [[nodiscard]] bool is_evaluated(std::uint32_t epoch) const;
  [[nodiscard]] bool stops_early() const { return options_.stop_after > 0 && validation_ != nullptr; }
  [[noreturn]] void diverged(std::uint32_t epoch) const;
  void settle();
  void finish(TrainResult& result);

  const TrainOptions& options_;
  const HeldOut* test_;
  const HeldOut* validation_;
  std::span<const RowIndex> item_order_;  // of ids
  TrainingState state_;
  std::vector<Metric> stop_metrics_;  // the metric that decides, alone
  float lowest_ = 1.0F;               // of training values
  float highest_ = 1.0F;
  float low_ = std::numeric_limits<float>::lowest();
  float high_ = std::numeric_limits<float>::max();
  Kept kept_;
  std::optional<double> last_loss_;
  bool loss_rose_ = false;
};

Run::Run(Backend& backend, const Dataset& data, const HeldOut* test, const HeldOut* validation,
         const TrainOptions& options, const std::optional<WarmStart>& warm_start)
    : options_(options),
      test_(test),
      validation_(validation),
      item_order_(data.items().rank_order()),
      state_{backend, options, options.objective, data.by_user(), data.by_item(), {}, {}, {}, {}, {}, {}, {}} {
  const CompressedRows& by_user = state_.by_user_view;
  const CompressedRows& by_item = state_.by_item_view;
  state_.objective.mean = state_.objective.is_implicit() ? 0.0 : mean_value(by_user);
  if (!by_user.values.empty()) {
    const auto [low, high] = std::minmax_element(by_user.values.begin(), by_user.values.end());
    lowest_ = *low;
    highest_ = *high;
    if (options.clip_to_range) std::tie(low_, high_) = std::pair(lowest_, highest_);
  }
  stop_metrics_ = stop_metrics(options);
  if (test != nullptr) require_measurable(test->facts(), options.metrics, "data.test");
  if (validation != nullptr) {
    require_measurable(validation->facts(), options.metrics, "data.validation");
    if (stops_early()) require_measurable(validation->facts(), stop_metrics_, "data.validation");
  }

  if (options.solver == SolverKind::kSgd) {
    state_.grid = backend.load_grid(by_user, by_item);
  } else {
    state_.by_user = backend.load_ratings(by_user);
    state_.by_item = backend.load_ratings(by_item);
    const WorkModel work = options.solver == SolverKind::kAls ? als_work(options) : subspace_work(options);
    const std::uint32_t steps =
        options.steps_per_half_sweep > 0 ? options.steps_per_half_sweep : backend.steps_per_half_sweep();
    state_.user_steps = cut_blocks(by_user, steps, work);
    state_.item_steps = cut_blocks(by_item, steps, work);
  }
  kept_.users = start_values(options, Side::kUsers, by_user, warm_start ? warm_start->users : nullptr);
  kept_.items = start_values(options, Side::kItems, by_item, warm_start ? warm_start->items : nullptr);
  state_.users = backend.create_table(kept_.users.shape());
  state_.items = backend.create_table(kept_.items.shape());
  backend.write_rows(*state_.users, {0, kept_.users.rows()}, kept_.users);
  backend.write_rows(*state_.items, {0, kept_.items.rows()}, kept_.items);
}

bool Run::run_epoch(const EpochContext& context) {
  switch (options_.solver) {
    case SolverKind::kAls:
      return run_als_epoch(state_, context);
    case SolverKind::kSubspace:
      return run_subspace_epoch(state_, context);
    case SolverKind::kSgd:
      break;
  }
  return run_sgd_epoch(state_, context);
}

void Run::read_factors(Kept& into, std::uint32_t epoch) const {
  if (into.users.shape() != kept_.users.shape()) {
    into.users = FactorTable(kept_.users.shape());
    into.items = FactorTable(kept_.items.shape());
  }
  state_.backend.read_rows(*state_.users, {0, into.users.rows()}, into.users);
  state_.backend.read_rows(*state_.items, {0, into.items.rows()}, into.items);
  into.epoch = epoch;
  into.test.reset();
  into.validation.reset();
  if (!all_finite(into.users) || !all_finite(into.items)) diverged(epoch);
}

double Run::loss() const {
  Backend& backend = state_.backend;
  if (state_.grid != nullptr) {
    return backend.grid_loss(*state_.grid, *state_.users, *state_.items, state_.objective);
  }
  const RowRange users{0, state_.by_user_view.rows};
  const RowRange items{0, state_.by_item_view.rows};
  double sum = backend.entry_loss(*state_.by_user, users, *state_.users, *state_.items, state_.objective);
  if (state_.objective.is_implicit()) {
    sum += state_.objective.base_weight() *
           backend.inner_product(*backend.gram(*state_.users), *backend.gram(*state_.items));
  }
  sum += backend.penalty(*state_.by_user, users, *state_.users, state_.objective);
  sum += backend.penalty(*state_.by_item, items, *state_.items, state_.objective);
  return sum;
}

MetricValues Run::measure(const HeldOut& part, const std::vector<Metric>& metrics, const Kept& host) const {
  Scorer scorer;
  scorer.backend = &state_.backend;
  scorer.users = state_.users.get();
  scorer.items = state_.items.get();
  scorer.host_users = &host.users;
  scorer.host_items = &host.items;
  scorer.mean = state_.objective.mean;
  scorer.low = low_;
  scorer.high = high_;
  scorer.item_order = item_order_;
  return evaluate(scorer, part, state_.by_user_view, metrics);
}

bool Run::is_evaluated(std::uint32_t epoch) const {
  return epoch == options_.epochs || (options_.evaluate_every > 0 && epoch % options_.evaluate_every == 0);
}

void Run::measure_epoch(EpochRecord& record, Kept& now) {
  const Clock::time_point begin = Clock::now();
  if (is_evaluated(record.epoch)) {
    if (!record.loss) record.loss = loss();
    if (!std::isfinite(*record.loss)) diverged(record.epoch);
    if (test_ != nullptr && !options_.metrics.empty()) now.test = measure(*test_, options_.metrics, now);
    if (validation_ != nullptr && !options_.metrics.empty()) {
      now.validation = measure(*validation_, options_.metrics, now);
    }
  }
  if (now.test) record.test = now.test->values;
  if (now.validation) record.validation = now.validation->values;
  if (stops_early()) now.score = stop_score(record, now);
  record.eval_seconds = seconds_since(begin);
}

/// The stop metric on the validation part, measured now unless it is among what was measured.
double Run::stop_score(EpochRecord& record, const Kept& now) const {
  const std::string& name = stop_metrics_.front().name;
  for (const auto& [measured, value] : record.validation) {
    if (measured == name) return value;
  }
  record.validation.emplace_back(name, measure(*validation_, stop_metrics_, now).at(name));
  return record.validation.back().second;
}

/// Moves `now` into the kept place when it is the best so far by the stop metric.
void Run::keep_if_better(Kept& now) {
  const bool larger_is_better = stop_metrics_.front().higher_is_better();
  if (kept_.epoch == 0 || (larger_is_better ? now.score > kept_.score : now.score < kept_.score)) std::swap(kept_, now);
}

void Run::diverged(std::uint32_t epoch) const {
  throw diverged_error(options_, epoch);
}

/// An epoch that was not the last one may have moved rows past their solutions. The users are solved once more, so that
/// what is kept is a solution as after a last epoch.
void Run::settle() {
  Backend& backend = state_.backend;
  backend.write_rows(*state_.users, {0, kept_.users.rows()}, kept_.users);
  backend.write_rows(*state_.items, {0, kept_.items.rows()}, kept_.items);
  solve_users(state_);
  read_factors(kept_, kept_.epoch);
}

/// Measures what is returned, unless its epoch was measured when it ended.
void Run::finish(TrainResult& result) {
  if (options_.momentum > 0.0 && kept_.epoch < options_.epochs) settle();
  const bool lacks_test = test_ != nullptr && !kept_.test;
  const bool lacks_validation = validation_ != nullptr && !kept_.validation;
  if (!options_.metrics.empty() && (lacks_test || lacks_validation)) {
    state_.backend.write_rows(*state_.users, {0, kept_.users.rows()}, kept_.users);
    state_.backend.write_rows(*state_.items, {0, kept_.items.rows()}, kept_.items);
    if (lacks_test) kept_.test = measure(*test_, options_.metrics, kept_);
    if (lacks_validation) kept_.validation = measure(*validation_, options_.metrics, kept_);
  }
  result.mean = state_.objective.mean;
  result.lowest_value = lowest_;
  result.highest_value = highest_;
  result.kept_epoch = kept_.epoch;
  result.final_test = std::move(kept_.test);
  result.final_validation = std::move(kept_.validation);
  result.users = std::move(kept_.users);
  result.items = std::move(kept_.items);
}

TrainResult Run::run(const TrainObserver& observer, const std::stop_token& stop) {
  TrainResult result;
  Kept scratch;  // the present epoch, where the kept one is the best so far
  for (std::uint32_t epoch = 1; epoch <= options_.epochs; ++epoch) {
    EpochContext context{epoch, 0.0, {}, stop};
    if (epoch < options_.epochs && !loss_rose_) context.momentum = options_.momentum;
    if (observer.on_step) context.on_step = [&](double share) { observer.on_step(epoch, share); };

    EpochRecord record;
    record.epoch = epoch;
    const Clock::time_point begin = Clock::now();
    if (!run_epoch(context)) {
      result.was_stopped = true;
      break;
    }
    Kept& now = stops_early() ? scratch : kept_;
    read_factors(now, epoch);
    // The guard of momentum is part of the method, so its loss counts as training.
    if (options_.momentum > 0.0) record.loss = loss();
    record.seconds = seconds_since(begin);

    measure_epoch(record, now);
    loss_rose_ = record.loss && last_loss_ && *record.loss > *last_loss_;
    if (record.loss) last_loss_ = record.loss;
    if (stops_early()) {
      keep_if_better(now);
      result.stopped_early = epoch < options_.epochs && epoch - kept_.epoch >= options_.stop_after;
    }
    result.epochs.push_back(record);
    if (observer.on_epoch) observer.on_epoch(record);
    if (result.stopped_early) break;
  }
  if (kept_.epoch == 0) {
    throw Error(ErrorCode::kCancelled, "stopped before the first epoch was complete; there is nothing to keep");
  }
  finish(result);
  return result;
}

}  // namespace

TrainResult train(Backend& backend, const Dataset& data, const HeldOut* test, const HeldOut* validation,
                  const TrainOptions& options, const std::optional<WarmStart>& warm_start,
                  const TrainObserver& observer, const std::stop_token& stop) {
  check_options(options);
  Run run(backend, data, test, validation, options, warm_start);
  return run.run(observer, stop);
}

}  // namespace concerto
