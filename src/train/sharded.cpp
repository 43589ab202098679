// A rank's part of a sharded training (see sharded.hpp): what it begins with, what is decided after each epoch, what is
// kept and what comes out. How factors move is in sharded_way.hpp, how they are measured in shard_measures.hpp.
#include "concerto/train/sharded.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/tree_sum.hpp"

#include "epochs.hpp"
#include "shard_measures.hpp"
#include "sharded_way.hpp"
#include "start.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

bool ranks_items(const TrainOptions& options) {
  return std::ranges::any_of(options.metrics, &Metric::is_ranking) ||
         (options.stop_metric && options.stop_metric->is_ranking());
}

/// The rows of all users by their owners.
Exchange users_by_owner(ShardedRun& run) {
  Exchange exchange{run.users.packed.bytes(), {}};
  for (std::size_t b = 0; b < run.plan.users.blocks.size(); ++b) {
    const RowRange rows = run.plan.users.blocks[b];
    exchange.blocks.push_back(
        {run.plan.users.owners[b], run.users.packed.offset(rows.begin), run.users.packed.bytes_of(rows.size())});
  }
  return exchange;
}

}  // namespace

std::uint32_t best_rounds(const TrainOptions& options, const RowLengths& users, const RowLengths& items, Rank ranks) {
  constexpr double kLeastWork = 2.5e8;  // multiply-adds of a step: some milliseconds of a core
  constexpr double kLeastBytes = 2e6;   // of a step's rows: some milliseconds of a link of 1 to 10 Gbit/s
  constexpr double kFewest = 4;
  constexpr double kMost = 16;
  const WorkModel work = work_of(options);
  const double rows = (static_cast<double>(users.rows) + items.rows) / 2;
  const double sweep = work.per_entry * static_cast<double>(users.entries()) + work.per_row * rows;
  const double bytes = rows * options.rank * sizeof(float);
  const double steps = std::max(sweep / kLeastWork, bytes / kLeastBytes) / ranks;
  return static_cast<std::uint32_t>(std::clamp(steps, kFewest, kMost));
}

Rotation rotation_of(const TrainOptions& options, const ShardedOptions& sharding) {
  return {sharding.ranks, kPartsPerRank, options.seed};
}

NodeOptions node_options(const TrainOptions& options, const ShardedOptions& sharding) {
  NodeOptions node;
  node.rank = sharding.rank;
  node.ranks = sharding.ranks;
  node.epochs = options.epochs;
  node.rounds = sharding.rounds;
  node.rotation = rotation_of(options, sharding);
  node.schedule = options.solver == SolverKind::kSgd          ? ScheduleKind::kRotating
                  : sharding.collective == Collective::kGrams ? ScheduleKind::kSumming
                                                              : ScheduleKind::kAlternating;
  return node;
}

class ShardedTrainer::Impl {
 public:
  Impl(Backend& backend, const Dataset& data, const SharedHeldOut& test, const SharedHeldOut& validation,
       const TrainOptions& options, const std::optional<WarmStart>& warm_start, const ShardedOptions& sharding);

  Exchange facts();
  void take_facts();
  void begin_sweep(std::uint32_t epoch, Side side);
  void measure(std::uint32_t epoch, bool stop);
  bool decide(std::uint32_t epoch);
  void adopt(const FactorTable& users, const FactorTable& items, bool are_users_apart);
  void prepare_result();
  Exchange result() { return gathers_users_ ? users_by_owner(run_) : Exchange{}; }
  void measure_result();
  void take_result();
  TrainResult finish();

  /// Runs a compute effect and adds its time.
  template <class Work>
  auto timed(Work work) {
    const struct Timer {
      double& seconds;
      Clock::time_point begin = Clock::now();
      ~Timer() { seconds += seconds_between(begin, Clock::now()); }
    } timer{compute_seconds_};
    return work();
  }

  ShardedRun run_;
  std::unique_ptr<ShardedWay> way_;
  std::unique_ptr<ShardMeasures> measures_;
  EpochRecord record_;
  double compute_seconds_ = 0.0;

 private:
  void load(const Dataset& data, Side side, const FactorTable* warm);
  [[nodiscard]] std::unique_ptr<ShardedWay> make_way(const Dataset& data);
  [[nodiscard]] bool is_evaluated(std::uint32_t epoch) const;
  [[nodiscard]] bool stops_early() const { return options_.stop_after > 0 && has_validation_; }
  [[nodiscard]] MeasurePlan plan_of(std::uint32_t epoch) const;
  void keep(std::uint32_t epoch, bool is_best);

  const TrainOptions& options_;
  EntryIndex train_entries_ = 0;
  bool has_values_ = false;
  bool has_test_ = false;
  bool has_validation_ = false;
  std::vector<Metric> stop_metrics_;
  float lowest_ = 1.0F;  ///< of all training values
  float highest_ = 1.0F;
  std::vector<std::byte> facts_;
  Clock::time_point epoch_begin_;
  Clock::time_point measure_begin_;
  std::optional<double> last_loss_;
  bool loss_rose_ = false;

  // What is kept.
  struct Kept {
    std::uint32_t epoch = 0;
    double score = 0.0;
    std::optional<FactorTable> users;  ///< where an earlier epoch is the best
    std::optional<FactorTable> items;
    std::optional<MetricValues> test;
    std::optional<MetricValues> validation;
  } kept_;
  std::optional<MetricValues> test_now_;
  std::optional<MetricValues> validation_now_;
  bool was_stopped_ = false;
  bool stopped_early_ = false;
  bool gathers_users_ = false;
};

ShardedTrainer::Impl::Impl(Backend& backend, const Dataset& data, const SharedHeldOut& test,
                           const SharedHeldOut& validation, const TrainOptions& options,
                           const std::optional<WarmStart>& warm_start, const ShardedOptions& sharding)
    : run_(backend, options, sharding),
      options_(run_.options),
      train_entries_(data.entries()),
      has_values_(data.has_values()),
      has_test_(test.is_there()),
      has_validation_(validation.is_there()) {
  check_options(options);
  run_.plan = plan_shards(data.lengths(Side::kUsers), data.lengths(Side::kItems), work_of(options), sharding.ranks,
                          sharding.rounds);
  stop_metrics_ = stop_metrics(options);
  if (test.is_there()) require_measurable(test.facts(), options.metrics, "data.test");
  if (validation.is_there()) {
    require_measurable(validation.facts(), options.metrics, "data.validation");
    if (options.stop_after > 0) require_measurable(validation.facts(), stop_metrics_, "data.validation");
  }
  load(data, Side::kUsers, warm_start ? warm_start->users : nullptr);
  load(data, Side::kItems, warm_start ? warm_start->items : nullptr);
  way_ = make_way(data);
  const auto item_order = ranks_items(options) ? data.items().rank_order() : std::span<const RowIndex>{};
  measures_ = std::make_unique<ShardMeasures>(run_, test, validation, item_order);
}

void ShardedTrainer::Impl::load(const Dataset& data, Side side, const FactorTable* warm) {
  ShardedTable& mine = run_.table(side);
  mine.shards = &run_.plan.of(side);
  mine.own = owned_rows(*mine.shards, run_.sharding.rank);
  mine.entries = data.rows(side, mine.own);
  mine.ratings = run_.backend.load_ratings(mine.entries.view());
  mine.host.factors = start_values(options_, side, data.lengths(side), warm);
  const TableShape shape = mine.host.factors.shape();
  const bool has_state = options_.solver == SolverKind::kSgd && side == Side::kItems;  // users never travel on
  if (has_state) mine.host.state.assign(shape.rows, 1.0F);
  mine.table = run_.backend.create_table(shape);
  mine.write(run_.backend, {0, shape.rows});
  mine.packed = PackedRows(shape, has_state);
}

std::unique_ptr<ShardedWay> ShardedTrainer::Impl::make_way(const Dataset& data) {
  switch (node_options(options_, run_.sharding).schedule) {
    case ScheduleKind::kRotating:
      return make_rotating_way(run_, data.lengths(Side::kUsers), data.lengths(Side::kItems));
    case ScheduleKind::kSumming:
      return make_summing_way(run_);
    case ScheduleKind::kAlternating:
      break;
  }
  return make_alternating_way(run_);
}

/// Doubles: the sum of the values of each chunk of users, then of each rank its least and its greatest value.
Exchange ShardedTrainer::Impl::facts() {
  const TableShards& users = run_.plan.users;
  const CompressedMatrix& entries = run_.users.entries;
  const std::size_t chunks = chunk_count(users.rows);
  facts_.resize((chunks + 2 * std::size_t{run_.sharding.ranks}) * sizeof(double));
  Exchange exchange{facts_, {}};
  for (std::size_t b = 0; b < users.blocks.size(); ++b) {
    const RowRange rows = users.blocks[b];
    const RowIndex size = chunk_rows(users.rows);
    const std::size_t first = rows.begin / size;
    const std::size_t count = (rows.size() + size - 1) / size;
    exchange.blocks.push_back({users.owners[b], first * sizeof(double), count * sizeof(double)});
    if (users.owners[b] != run_.sharding.rank) continue;
    for (std::size_t c = first; c < first + count; ++c) {
      put_double(facts_, c * sizeof(double), value_sum(entries.view(), static_cast<RowIndex>(c)));
    }
  }
  for (Rank r = 0; r < run_.sharding.ranks; ++r) {
    exchange.blocks.push_back({r, (chunks + 2 * std::size_t{r}) * sizeof(double), 2 * sizeof(double)});
  }
  const auto& values = entries.values;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const std::size_t mine = (chunks + 2 * std::size_t{run_.sharding.rank}) * sizeof(double);
  put_double(facts_, mine, values.empty() ? std::numeric_limits<double>::infinity() : *low);
  put_double(facts_, mine + sizeof(double), values.empty() ? -std::numeric_limits<double>::infinity() : *high);
  return exchange;
}

void ShardedTrainer::Impl::take_facts() {
  const std::size_t chunks = chunk_count(run_.plan.users.rows);
  const std::vector<double> sums = doubles_at(facts_, 0, chunks);
  if (!run_.objective.is_implicit() && train_entries_ > 0) {
    run_.objective.mean = tree_sum(sums) / static_cast<double>(train_entries_);
  }
  if (!has_values_) return;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (Rank r = 0; r < run_.sharding.ranks; ++r) {
    const std::vector<double> range = doubles_at(facts_, (chunks + 2 * std::size_t{r}) * sizeof(double), 2);
    low = std::min(low, range[0]);
    high = std::max(high, range[1]);
  }
  lowest_ = static_cast<float>(low);
  highest_ = static_cast<float>(high);
  if (!options_.clip_to_range) return;
  run_.low = lowest_;
  run_.high = highest_;
}

void ShardedTrainer::Impl::begin_sweep(std::uint32_t epoch, Side side) {
  if (side == Side::kItems) {  // the first of an epoch
    epoch_begin_ = Clock::now();
    run_.momentum = epoch < options_.epochs && !loss_rose_ ? options_.momentum : 0.0;
  }
  way_->begin_sweep(side);
}

bool ShardedTrainer::Impl::is_evaluated(std::uint32_t epoch) const {
  return epoch == options_.epochs || (options_.evaluate_every > 0 && epoch % options_.evaluate_every == 0);
}

MeasurePlan ShardedTrainer::Impl::plan_of(std::uint32_t epoch) const {
  MeasurePlan plan;
  plan.has_loss = is_evaluated(epoch) || options_.momentum > 0.0;
  plan.has_digests = run_.sharding.ranks > 1 && run_.sharding.digest_every > 0 &&
                     (epoch % run_.sharding.digest_every == 0 || epoch == options_.epochs);
  if (is_evaluated(epoch)) {
    if (has_test_) plan.test = options_.metrics;
    if (has_validation_) plan.validation = options_.metrics;
  }
  const auto has = [&](const std::string& name) {
    return std::ranges::any_of(plan.validation, [&](const Metric& m) { return m.name == name; });
  };
  if (stops_early() && !has(stop_metrics_.front().name)) plan.validation.push_back(stop_metrics_.front());
  return plan;
}

void ShardedTrainer::Impl::measure(std::uint32_t epoch, bool stop) {
  way_->end_epoch();
  measure_begin_ = Clock::now();
  record_ = {};
  record_.epoch = epoch;
  record_.seconds = seconds_between(epoch_begin_, measure_begin_);
  measures_->measure(plan_of(epoch), stop);
}

bool ShardedTrainer::Impl::decide(std::uint32_t epoch) {
  measures_->compare_digests(epoch);
  if (!measures_->is_finite()) throw diverged_error(options_, epoch);
  record_.loss = measures_->loss();
  if (record_.loss && !std::isfinite(*record_.loss)) throw diverged_error(options_, epoch);
  loss_rose_ = record_.loss && last_loss_ && *record_.loss > *last_loss_;
  if (record_.loss) last_loss_ = record_.loss;
  test_now_ = measures_->test();
  validation_now_ = measures_->validation();
  if (test_now_) record_.test = test_now_->values;
  if (validation_now_) record_.validation = validation_now_->values;
  was_stopped_ = was_stopped_ || measures_->does_anyone_stop();

  bool is_best = true;
  if (stops_early()) {
    const double score = validation_now_->at(stop_metrics_.front().name);
    const bool larger_is_better = stop_metrics_.front().higher_is_better();
    is_best = kept_.epoch == 0 || (larger_is_better ? score > kept_.score : score < kept_.score);
    if (is_best) kept_.score = score;
    stopped_early_ = !is_best && epoch < options_.epochs && epoch - kept_.epoch >= options_.stop_after;
  }
  keep(epoch, is_best);
  was_stopped_ = was_stopped_ && epoch < options_.epochs;
  record_.eval_seconds = seconds_between(measure_begin_, Clock::now());
  return !was_stopped_ && !stopped_early_;
}

/// With early stopping the best epoch is copied aside; else the host's tables are what is kept.
void ShardedTrainer::Impl::keep(std::uint32_t epoch, bool is_best) {
  if (!is_best) return;
  kept_.epoch = epoch;
  kept_.test = test_now_;
  kept_.validation = is_evaluated(epoch) ? validation_now_ : std::nullopt;
  if (!stops_early()) return;
  kept_.users = run_.users.host.factors;
  kept_.items = run_.items.host.factors;
}

void ShardedTrainer::Impl::adopt(const FactorTable& users, const FactorTable& items, bool are_users_apart) {
  run_.are_users_apart = are_users_apart;
  run_.users.host.factors = users;
  run_.items.host.factors = items;
  run_.users.write(run_.backend, {0, run_.plan.users.rows});
  run_.items.write(run_.backend, {0, run_.plan.items.rows});
  epoch_begin_ = Clock::now();
}

void ShardedTrainer::Impl::prepare_result() {
  if (kept_.users && kept_.items) {
    run_.users.host.factors = std::move(*kept_.users);
    run_.items.host.factors = std::move(*kept_.items);
    run_.users.write(run_.backend, {0, run_.plan.users.rows});
    run_.items.write(run_.backend, {0, run_.plan.items.rows});
  }
  // An epoch that was not the last one may have moved rows past their solutions: as after a last epoch, what is kept is
  // one.
  const bool is_unsettled = options_.momentum > 0.0 && kept_.epoch < options_.epochs;
  if (is_unsettled) {
    way_->settle();
    kept_.test.reset();
    kept_.validation.reset();
  }
  gathers_users_ = run_.are_users_apart || is_unsettled;
  if (!gathers_users_) return;
  for (const RowRange rows : run_.users.own) run_.users.packed.pack(run_.users.host, rows);
}

void ShardedTrainer::Impl::measure_result() {
  if (gathers_users_) {
    run_.users.packed.unpack({0, run_.plan.users.rows}, run_.users.host);
    run_.users.write(run_.backend, {0, run_.plan.users.rows});
  }
  MeasurePlan lacking;
  if (has_test_ && !kept_.test) lacking.test = options_.metrics;
  if (has_validation_ && !kept_.validation) lacking.validation = options_.metrics;
  measures_->measure(std::move(lacking), false);
}

void ShardedTrainer::Impl::take_result() {
  if (auto test = measures_->test()) kept_.test = std::move(test);
  if (auto validation = measures_->validation()) kept_.validation = std::move(validation);
}

TrainResult ShardedTrainer::Impl::finish() {
  TrainResult result;
  result.mean = run_.objective.mean;
  result.lowest_value = lowest_;
  result.highest_value = highest_;
  result.kept_epoch = kept_.epoch;
  result.was_stopped = was_stopped_;
  result.stopped_early = stopped_early_;
  result.final_test = std::move(kept_.test);
  result.final_validation = std::move(kept_.validation);
  result.users = std::move(run_.users.host.factors);
  result.items = std::move(run_.items.host.factors);
  return result;
}

ShardedTrainer::ShardedTrainer(Backend& backend, const Dataset& data, const SharedHeldOut& test,
                               const SharedHeldOut& validation, const TrainOptions& options,
                               const std::optional<WarmStart>& warm_start, const ShardedOptions& sharding)
    : impl_(std::make_unique<Impl>(backend, data, test, validation, options, warm_start, sharding)) {}
ShardedTrainer::~ShardedTrainer() = default;

const ShardPlan& ShardedTrainer::plan() const noexcept {
  return impl_->run_.plan;
}
RankShare ShardedTrainer::share() const noexcept {
  const HeldOut* test = impl_->measures_->own_test();
  return {impl_->run_.users.entries.view(), impl_->run_.items.entries.view(), test,
          test != nullptr ? impl_->measures_->whole_test() : HeldOutFacts{}};
}
const Objective& ShardedTrainer::objective() const noexcept {
  return impl_->run_.objective;
}
void ShardedTrainer::adopt(const FactorTable& users, const FactorTable& items, bool are_users_apart) {
  impl_->adopt(users, items, are_users_apart);
}
Exchange ShardedTrainer::facts() {
  return impl_->facts();
}
void ShardedTrainer::take_facts() {
  impl_->take_facts();
}
void ShardedTrainer::begin_sweep(std::uint32_t epoch, Side side) {
  impl_->timed([&] { impl_->begin_sweep(epoch, side); });
}
void ShardedTrainer::run_step(const StepId& step) {
  impl_->timed([&] { impl_->way_->run_step(step); });
}
void ShardedTrainer::solve_systems(const StepId& step) {
  impl_->timed([&] { impl_->way_->solve_systems(step); });
}
void ShardedTrainer::install(const StepId& step) {
  impl_->timed([&] { impl_->way_->install(step); });
}
void ShardedTrainer::install_block(const BlockPass& pass) {
  impl_->timed([&] { impl_->way_->install_block(pass); });
}
void ShardedTrainer::measure(std::uint32_t epoch, bool stop) {
  impl_->timed([&] { impl_->measure(epoch, stop); });
}
bool ShardedTrainer::decide(std::uint32_t epoch) {
  return impl_->timed([&] { return impl_->decide(epoch); });
}
void ShardedTrainer::prepare_result() {
  impl_->timed([&] { impl_->prepare_result(); });
}
void ShardedTrainer::measure_result() {
  impl_->timed([&] { impl_->measure_result(); });
}
void ShardedTrainer::take_result() {
  impl_->timed([&] { impl_->take_result(); });
}
std::vector<TableRows> ShardedTrainer::own_rows() const {
  std::vector<TableRows> own;
  for (const RowRange rows : impl_->run_.items.own) own.push_back({Side::kItems, rows});
  for (const RowRange rows : impl_->run_.users.own) own.push_back({Side::kUsers, rows});
  return own;
}
std::vector<TableRows> ShardedTrainer::changed_rows(const StepId& step) const {
  return impl_->way_->changed_rows(step);
}
std::vector<TableRows> ShardedTrainer::changed_rows_of_epoch() const {
  return impl_->way_->changed_rows_of_epoch();
}
const FactorTable& ShardedTrainer::host_table(Side side) const noexcept {
  return impl_->run_.table(side).host.factors;
}
std::vector<PartialGather> ShardedTrainer::partials(const StepId& step) {
  return impl_->way_->partials(step);
}
Exchange ShardedTrainer::rows(const StepId& step) {
  return impl_->way_->rows(step);
}
std::span<std::byte> ShardedTrainer::block(const BlockPass& pass) {
  return impl_->way_->block(pass);
}
Exchange ShardedTrainer::sums() {
  return impl_->measures_->exchange();
}
Exchange ShardedTrainer::result() {
  return impl_->result();
}
const EpochRecord& ShardedTrainer::last_epoch() const {
  return impl_->record_;
}
TrainResult ShardedTrainer::finish() {
  return impl_->finish();
}
double ShardedTrainer::compute_seconds() const noexcept {
  return impl_->compute_seconds_;
}
std::uint64_t ShardedTrainer::progress() const noexcept {
  return impl_->run_.progress.load(std::memory_order_relaxed);
}
MoveFacts ShardedTrainer::moves() const {
  return impl_->way_->facts();
}

}  // namespace concerto
