// A rank's part of a sharded training (see sharded.hpp).
#include "concerto/train/sharded.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/tree_sum.hpp"

#include "epoch_sums.hpp"
#include "epochs.hpp"
#include "packed_rows.hpp"
#include "start.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

void refuse_what_is_not_sharded(const TrainOptions& options) {
  const auto refuse = [](const char* message, const char* where) {
    throw Error(ErrorCode::kUnsupported, message, where);
  };
  if (options.solver == SolverKind::kSgd) {
    refuse("sgd does not run on several ranks yet; use als or subspace, or one rank", "solver.kind");
  }
  if (options.momentum > 0.0)
    refuse("momentum does not work on several ranks yet; use 0, or one rank", "solver.momentum");
}

/// A part to measure on: all of it, and this rank's share.
struct Measured {
  bool is_there = false;
  HeldOutFacts whole;
  HeldOut own;
};

bool ranks_items(const TrainOptions& options) {
  return std::ranges::any_of(options.metrics, &Metric::is_ranking) ||
         (options.stop_metric && options.stop_metric->is_ranking());
}

/// What an epoch measures: the same on all ranks.
struct EpochPlan {
  bool has_loss = false;
  bool has_digests = false;
  std::vector<Metric> test;
  std::vector<Metric> validation;
};

}  // namespace

class ShardedTrainer::Impl {
 public:
  Impl(Backend& backend, const Dataset& data, const SharedHeldOut& test, const SharedHeldOut& validation,
       const TrainOptions& options, const std::optional<WarmStart>& warm_start, const ShardedOptions& sharding);

  Exchange facts();
  void take_facts();
  void begin_half_sweep(Side side);
  void run_step(const StepId& step);
  void install(const StepId& step);
  void measure(std::uint32_t epoch, bool stop);
  bool decide(std::uint32_t epoch);
  Exchange rows(const StepId& step);
  Exchange sums() { return {sums_, sum_blocks()}; }
  TrainResult finish();
  [[nodiscard]] RankShare share() const;
  [[nodiscard]] std::uint64_t least_bytes_per_epoch() const;

  ShardPlan plan_;
  EpochRecord record_;
  double compute_seconds_ = 0.0;
  std::atomic<std::uint64_t> progress_{0};

 private:
  /// A side: its table in the backend and on the host, its entries, and its rows on their way.
  struct Half {
    const TableShards* shards = nullptr;
    std::vector<RowRange> own;
    CompressedMatrix entries;  ///< of own rows
    std::unique_ptr<Buffer> ratings;
    std::unique_ptr<Buffer> table;
    FactorTable host;
    PackedRows packed;
  };
  /// Adds the time of a compute effect.
  class Timed {
   public:
    explicit Timed(Impl& impl) : impl_(impl) {}
    ~Timed() { impl_.compute_seconds_ += seconds_between(begin_, Clock::now()); }
    Timed(const Timed&) = delete;

   private:
    Impl& impl_;
    Clock::time_point begin_ = Clock::now();
  };

  void load(const Dataset& data, Side side, const FactorTable* warm);
  Half& half(Side side) { return side == Side::kUsers ? users_ : items_; }
  Half& other(Side side) { return half(side == Side::kUsers ? Side::kItems : Side::kUsers); }
  [[nodiscard]] bool is_evaluated(std::uint32_t epoch) const;
  [[nodiscard]] bool stops_early() const { return options_.stop_after > 0 && validation_.is_there; }
  [[nodiscard]] EpochPlan epoch_plan(std::uint32_t epoch) const;
  void measure_chunks();
  [[nodiscard]] MetricSums measure_metrics(const Measured& part, const std::vector<Metric>& metrics);
  void write_digests(std::size_t at);
  void compare_digests() const;
  [[nodiscard]] double loss();
  [[nodiscard]] MetricValues added_up(const Measured& part, const std::vector<Metric>& metrics, std::size_t at) const;
  [[nodiscard]] std::vector<GatherBlock> sum_blocks() const;
  void keep(std::uint32_t epoch, bool is_best);

  Backend& backend_;
  TrainOptions options_;
  ShardedOptions sharding_;
  Objective objective_;
  std::span<const RowIndex> item_order_;
  EntryIndex train_entries_ = 0;
  bool has_values_ = false;
  Half users_;
  Half items_;
  Measured test_;
  Measured validation_;
  std::vector<Metric> stop_metrics_;
  float lowest_ = 1.0F;  ///< of all training values
  float highest_ = 1.0F;
  float low_ = std::numeric_limits<float>::lowest();
  float high_ = std::numeric_limits<float>::max();
  std::unique_ptr<Buffer> gram_;
  std::vector<std::byte> facts_;
  std::vector<std::byte> sums_;
  EpochPlan epoch_plan_;
  SumsLayout layout_;
  Clock::time_point epoch_begin_;
  Clock::time_point measure_begin_;

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
};

ShardedTrainer::Impl::Impl(Backend& backend, const Dataset& data, const SharedHeldOut& test,
                           const SharedHeldOut& validation, const TrainOptions& options,
                           const std::optional<WarmStart>& warm_start, const ShardedOptions& sharding)
    : backend_(backend),
      options_(options),
      sharding_(sharding),
      objective_(options.objective),
      item_order_(ranks_items(options) ? data.items().rank_order() : std::span<const RowIndex>{}),
      train_entries_(data.entries()),
      has_values_(data.has_values()) {
  check_options(options);
  refuse_what_is_not_sharded(options);
  const WorkModel work = options.solver == SolverKind::kAls ? als_work(options) : subspace_work(options);
  plan_ = plan_shards(data.lengths(Side::kUsers), data.lengths(Side::kItems), work, sharding.ranks, sharding.rounds);
  users_.shards = &plan_.users;
  items_.shards = &plan_.items;
  stop_metrics_ = stop_metrics(options);
  if (test.is_there()) require_measurable(test.facts(), options.metrics, "data.test");
  if (validation.is_there()) {
    require_measurable(validation.facts(), options.metrics, "data.validation");
    if (options.stop_after > 0) require_measurable(validation.facts(), stop_metrics_, "data.validation");
  }
  load(data, Side::kUsers, warm_start ? warm_start->users : nullptr);
  load(data, Side::kItems, warm_start ? warm_start->items : nullptr);
  const bool is_first = sharding.rank == 0;
  if (test.is_there()) test_ = {true, test.facts(), test.of_users(users_.own, is_first)};
  if (validation.is_there()) validation_ = {true, validation.facts(), validation.of_users(users_.own, is_first)};
}

void ShardedTrainer::Impl::load(const Dataset& data, Side side, const FactorTable* warm) {
  Half& mine = half(side);
  mine.own = owned_rows(*mine.shards, sharding_.rank);
  mine.entries = data.rows(side, mine.own);
  mine.ratings = backend_.load_ratings(mine.entries.view());
  mine.host = start_values(options_, side, data.lengths(side), warm);
  mine.table = backend_.create_table(mine.host.shape());
  backend_.write_rows(*mine.table, {0, mine.host.rows()}, mine.host);
  mine.packed = PackedRows(mine.host.shape());
}

/// Doubles: the sum of the values of each chunk of users, then of each rank its least and its greatest value.
Exchange ShardedTrainer::Impl::facts() {
  const std::size_t chunks = chunk_count(plan_.users.rows);
  facts_.resize((chunks + 2 * std::size_t{sharding_.ranks}) * sizeof(double));
  Exchange exchange{facts_, {}};
  for (std::size_t b = 0; b < plan_.users.blocks.size(); ++b) {
    const RowRange rows = plan_.users.blocks[b];
    const RowIndex size = chunk_rows(plan_.users.rows);
    const std::size_t first = rows.begin / size;
    const std::size_t count = (rows.size() + size - 1) / size;
    exchange.blocks.push_back({plan_.users.owners[b], first * sizeof(double), count * sizeof(double)});
    if (plan_.users.owners[b] != sharding_.rank) continue;
    for (std::size_t c = first; c < first + count; ++c) {
      put_double(facts_, c * sizeof(double), value_sum(users_.entries.view(), static_cast<RowIndex>(c)));
    }
  }
  for (Rank r = 0; r < sharding_.ranks; ++r) {
    exchange.blocks.push_back({r, (chunks + 2 * std::size_t{r}) * sizeof(double), 2 * sizeof(double)});
  }
  const auto& values = users_.entries.values;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const std::size_t mine = (chunks + 2 * std::size_t{sharding_.rank}) * sizeof(double);
  put_double(facts_, mine, values.empty() ? std::numeric_limits<double>::infinity() : *low);
  put_double(facts_, mine + sizeof(double), values.empty() ? -std::numeric_limits<double>::infinity() : *high);
  return exchange;
}

void ShardedTrainer::Impl::take_facts() {
  const std::size_t chunks = chunk_count(plan_.users.rows);
  const std::vector<double> sums = doubles_at(facts_, 0, chunks);
  if (!objective_.is_implicit() && train_entries_ > 0) {
    objective_.mean = tree_sum(sums) / static_cast<double>(train_entries_);
  }
  if (!has_values_) return;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (Rank r = 0; r < sharding_.ranks; ++r) {
    const std::vector<double> range = doubles_at(facts_, (chunks + 2 * std::size_t{r}) * sizeof(double), 2);
    low = std::min(low, range[0]);
    high = std::max(high, range[1]);
  }
  lowest_ = static_cast<float>(low);
  highest_ = static_cast<float>(high);
  if (!options_.clip_to_range) return;
  low_ = lowest_;
  high_ = highest_;
}

void ShardedTrainer::Impl::begin_half_sweep(Side side) {
  if (side == Side::kItems) epoch_begin_ = Clock::now();
  const Timed timed(*this);
  gram_ = objective_.is_implicit() ? backend_.gram(*other(side).table) : nullptr;
  progress_.fetch_add(1, std::memory_order_relaxed);
}

void ShardedTrainer::Impl::run_step(const StepId& step) {
  const Timed timed(*this);
  Half& mine = half(step.side);
  for (const RowRange rows : rows_of_round(*mine.shards, sharding_.rank, step.round)) {
    if (options_.solver == SolverKind::kSubspace) {
      backend_.solve_slices({.ratings = mine.ratings.get(),
                             .fixed = other(step.side).table.get(),
                             .gram = gram_.get(),
                             .target = mine.table.get(),
                             .rows = rows,
                             .objective = objective_,
                             .slice = options_.slice});
    } else {
      backend_.solve_rows({.ratings = mine.ratings.get(),
                           .fixed = other(step.side).table.get(),
                           .gram = gram_.get(),
                           .target = mine.table.get(),
                           .rows = rows,
                           .objective = objective_,
                           .inner = options_.inner,
                           .cg_steps = options_.cg_steps});
    }
    backend_.read_rows(*mine.table, rows, mine.host);
    mine.packed.pack(mine.host, rows);
    progress_.fetch_add(rows.size(), std::memory_order_relaxed);
  }
}

Exchange ShardedTrainer::Impl::rows(const StepId& step) {
  Half& mine = half(step.side);
  Exchange exchange{mine.packed.bytes(), {}};
  for (Rank rank = 0; rank < sharding_.ranks; ++rank) {
    for (const RowRange rows : rows_of_round(*mine.shards, rank, step.round)) {
      exchange.blocks.push_back({rank, mine.packed.offset(rows.begin), rows.size() * mine.packed.row_bytes()});
    }
  }
  return exchange;
}

void ShardedTrainer::Impl::install(const StepId& step) {
  const Timed timed(*this);
  Half& mine = half(step.side);
  for (Rank rank = 0; rank < sharding_.ranks; ++rank) {
    if (rank == sharding_.rank) continue;
    for (const RowRange rows : rows_of_round(*mine.shards, rank, step.round)) {
      mine.packed.unpack(rows, mine.host);
      backend_.write_rows(*mine.table, rows, mine.host);
      progress_.fetch_add(rows.size(), std::memory_order_relaxed);
    }
  }
}

bool ShardedTrainer::Impl::is_evaluated(std::uint32_t epoch) const {
  return epoch == options_.epochs || (options_.evaluate_every > 0 && epoch % options_.evaluate_every == 0);
}

EpochPlan ShardedTrainer::Impl::epoch_plan(std::uint32_t epoch) const {
  EpochPlan plan;
  plan.has_loss = is_evaluated(epoch);
  plan.has_digests = sharding_.ranks > 1 && sharding_.digest_every > 0 &&
                     (epoch % sharding_.digest_every == 0 || epoch == options_.epochs);
  if (plan.has_loss && test_.is_there) plan.test = options_.metrics;
  if (!validation_.is_there) return plan;
  if (plan.has_loss) plan.validation = options_.metrics;
  const auto has = [&](const std::string& name) {
    return std::ranges::any_of(plan.validation, [&](const Metric& m) { return m.name == name; });
  };
  if (stops_early() && !has(stop_metrics_.front().name)) plan.validation.push_back(stop_metrics_.front());
  return plan;
}

void ShardedTrainer::Impl::measure(std::uint32_t epoch, bool stop) {
  measure_begin_ = Clock::now();
  record_ = {};
  record_.epoch = epoch;
  record_.seconds = seconds_between(epoch_begin_, measure_begin_);
  epoch_plan_ = epoch_plan(epoch);
  layout_ = {};
  layout_.ranks = sharding_.ranks;
  if (epoch_plan_.has_loss) {
    layout_.user_chunks = chunk_count(plan_.users.rows);
    layout_.item_chunks = chunk_count(plan_.items.rows);
  }
  std::optional<MetricSums> test;
  std::optional<MetricSums> validation;
  if (!epoch_plan_.test.empty()) layout_.test_bytes = test.emplace(measure_metrics(test_, epoch_plan_.test)).bytes();
  if (!epoch_plan_.validation.empty()) {
    layout_.validation_bytes = validation.emplace(measure_metrics(validation_, epoch_plan_.validation)).bytes();
  }
  if (epoch_plan_.has_digests) layout_.digests = plan_.users.blocks.size() + plan_.items.blocks.size();
  sums_.assign(layout_.bytes(), std::byte{0});
  if (epoch_plan_.has_loss) measure_chunks();
  std::size_t at = layout_.segment(sharding_.rank);
  put_word(sums_, at, stop ? 1 : 0);
  at += sizeof(std::uint64_t);
  if (test) test->write(std::span(sums_).subspan(at, layout_.test_bytes));
  at += layout_.test_bytes;
  if (validation) validation->write(std::span(sums_).subspan(at, layout_.validation_bytes));
  if (epoch_plan_.has_digests) write_digests(at + layout_.validation_bytes);
}

/// The entries' losses and the penalties, a chunk each, of own rows.
void ShardedTrainer::Impl::measure_chunks() {
  for (const Side side : {Side::kUsers, Side::kItems}) {
    Half& mine = half(side);
    const std::size_t penalties = side == Side::kUsers ? layout_.user_penalties() : layout_.item_penalties();
    const RowIndex size = chunk_rows(mine.shards->rows);
    for (const RowRange own : mine.own) {
      for (RowIndex begin = own.begin; begin < own.end; begin += size) {
        const RowRange rows{begin, std::min(own.end, begin + size)};
        const std::size_t chunk = begin / size;
        if (side == Side::kUsers) {
          const double sum = backend_.entry_loss(*mine.ratings, rows, *users_.table, *items_.table, objective_);
          put_double(sums_, layout_.losses() + chunk * sizeof(double), sum);
        }
        put_double(sums_, penalties + chunk * sizeof(double),
                   backend_.penalty(*mine.ratings, rows, *mine.table, objective_));
        progress_.fetch_add(1, std::memory_order_relaxed);
      }
    }
  }
}

MetricSums ShardedTrainer::Impl::measure_metrics(const Measured& part, const std::vector<Metric>& metrics) {
  Scorer scorer;
  scorer.backend = &backend_;
  scorer.users = users_.table.get();
  scorer.items = items_.table.get();
  scorer.host_users = &users_.host;
  scorer.host_items = &items_.host;
  scorer.mean = objective_.mean;
  scorer.low = low_;
  scorer.high = high_;
  scorer.item_order = item_order_;
  MetricSums sums(metrics, part.whole.items);
  sums.measure(scorer, part.own, users_.entries.view());
  progress_.fetch_add(1, std::memory_order_relaxed);
  return sums;
}

/// Of every block of this rank's copies, as the backend has it.
void ShardedTrainer::Impl::write_digests(std::size_t at) {
  for (Half* mine : {&users_, &items_}) {
    for (const RowRange rows : mine->shards->blocks) {
      backend_.read_rows(*mine->table, rows, mine->host);
      put_word(sums_, at, mine->packed.digest(mine->host, rows));
      at += sizeof(std::uint64_t);
    }
  }
}

void ShardedTrainer::Impl::compare_digests() const {
  const std::size_t inside = sizeof(std::uint64_t) + layout_.test_bytes + layout_.validation_bytes;
  std::size_t index = 0;
  for (const TableShards* shards : {&plan_.users, &plan_.items}) {
    for (std::size_t b = 0; b < shards->blocks.size(); ++b, ++index) {
      const auto digest = [&](Rank r) {
        return word_at(sums_, layout_.segment(r) + inside + index * sizeof(std::uint64_t));
      };
      const Rank owner = shards->owners[b];
      std::string differing;
      for (Rank r = 0; r < sharding_.ranks; ++r) {
        if (digest(r) != digest(owner)) differing += fmt::format("{}{}", differing.empty() ? "" : ", ", r);
      }
      if (differing.empty()) continue;
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format("copies differ: block {} of {} (rows {} to {}) is not what its owner, rank {}, has on rank {}", b,
                      shards == &plan_.users ? "users" : "items", shards->blocks[b].begin, shards->blocks[b].end, owner,
                      differing),
          fmt::format("epoch {}", record_.epoch));
    }
  }
}

std::vector<GatherBlock> ShardedTrainer::Impl::sum_blocks() const {
  std::vector<GatherBlock> blocks;
  const auto add = [&](const TableShards& shards, std::size_t begin) {
    for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
      const RowIndex size = chunk_rows(shards.rows);
      const std::size_t first = shards.blocks[b].begin / size;
      const std::size_t count = (shards.blocks[b].size() + size - 1) / size;
      blocks.push_back({shards.owners[b], begin + first * sizeof(double), count * sizeof(double)});
    }
  };
  if (epoch_plan_.has_loss) {
    add(plan_.users, layout_.losses());
    add(plan_.users, layout_.user_penalties());
    add(plan_.items, layout_.item_penalties());
  }
  for (Rank r = 0; r < sharding_.ranks; ++r) blocks.push_back({r, layout_.segment(r), layout_.segment_bytes()});
  return blocks;
}

double ShardedTrainer::Impl::loss() {
  double sum = tree_sum(doubles_at(sums_, layout_.losses(), layout_.user_chunks));
  if (objective_.is_implicit()) {
    sum +=
        objective_.base_weight() * backend_.inner_product(*backend_.gram(*users_.table), *backend_.gram(*items_.table));
  }
  sum += tree_sum(doubles_at(sums_, layout_.user_penalties(), layout_.user_chunks));
  sum += tree_sum(doubles_at(sums_, layout_.item_penalties(), layout_.item_chunks));
  return sum;
}

MetricValues ShardedTrainer::Impl::added_up(const Measured& part, const std::vector<Metric>& metrics,
                                            std::size_t at) const {
  MetricSums sums(metrics, part.whole.items);
  for (Rank r = 0; r < sharding_.ranks; ++r) {
    sums.add(std::span(sums_).subspan(layout_.segment(r) + at, sums.bytes()));
  }
  return sums.values(part.whole);
}

bool ShardedTrainer::Impl::decide(std::uint32_t epoch) {
  if (epoch_plan_.has_digests) compare_digests();
  if (!all_finite(users_.host) || !all_finite(items_.host)) throw diverged_error(options_, epoch);
  if (epoch_plan_.has_loss) {
    record_.loss = loss();
    if (!std::isfinite(*record_.loss)) throw diverged_error(options_, epoch);
  }
  test_now_.reset();
  validation_now_.reset();
  if (!epoch_plan_.test.empty()) {
    test_now_ = added_up(test_, epoch_plan_.test, sizeof(std::uint64_t));
    record_.test = test_now_->values;
  }
  if (!epoch_plan_.validation.empty()) {
    validation_now_ = added_up(validation_, epoch_plan_.validation, sizeof(std::uint64_t) + layout_.test_bytes);
    record_.validation = validation_now_->values;
  }
  for (Rank r = 0; r < sharding_.ranks; ++r) was_stopped_ = was_stopped_ || word_at(sums_, layout_.segment(r)) != 0;

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
  kept_.validation = validation_now_;
  if (!stops_early()) return;
  kept_.users = users_.host;
  kept_.items = items_.host;
}

TrainResult ShardedTrainer::Impl::finish() {
  TrainResult result;
  result.mean = objective_.mean;
  result.lowest_value = lowest_;
  result.highest_value = highest_;
  result.kept_epoch = kept_.epoch;
  result.was_stopped = was_stopped_;
  result.stopped_early = stopped_early_;
  result.final_test = std::move(kept_.test);
  result.final_validation = std::move(kept_.validation);
  result.users = kept_.users ? std::move(*kept_.users) : std::move(users_.host);
  result.items = kept_.items ? std::move(*kept_.items) : std::move(items_.host);
  return result;
}

RankShare ShardedTrainer::Impl::share() const {
  return {users_.entries.view(), items_.entries.view(), test_.is_there ? &test_.own : nullptr, test_.whole};
}

std::uint64_t ShardedTrainer::Impl::least_bytes_per_epoch() const {
  // Of a ring all-gather every rank passes on everything but what its successor gave: (ranks - 1) / ranks of all for
  // equal shares.
  const std::uint64_t all = users_.packed.bytes_of(plan_.users.rows) + items_.packed.bytes_of(plan_.items.rows);
  return all * (sharding_.ranks - 1) / sharding_.ranks;
}

ShardedTrainer::ShardedTrainer(Backend& backend, const Dataset& data, const SharedHeldOut& test,
                               const SharedHeldOut& validation, const TrainOptions& options,
                               const std::optional<WarmStart>& warm_start, const ShardedOptions& sharding)
    : impl_(std::make_unique<Impl>(backend, data, test, validation, options, warm_start, sharding)) {}
ShardedTrainer::~ShardedTrainer() = default;

const ShardPlan& ShardedTrainer::plan() const noexcept {
  return impl_->plan_;
}
RankShare ShardedTrainer::share() const noexcept {
  return impl_->share();
}
Exchange ShardedTrainer::facts() {
  return impl_->facts();
}
void ShardedTrainer::take_facts() {
  impl_->take_facts();
}
void ShardedTrainer::begin_half_sweep(Side side) {
  impl_->begin_half_sweep(side);
}
void ShardedTrainer::run_step(const StepId& step) {
  impl_->run_step(step);
}
void ShardedTrainer::install(const StepId& step) {
  impl_->install(step);
}
void ShardedTrainer::measure(std::uint32_t epoch, bool stop) {
  impl_->measure(epoch, stop);
}
bool ShardedTrainer::decide(std::uint32_t epoch) {
  return impl_->decide(epoch);
}
Exchange ShardedTrainer::rows(const StepId& step) {
  return impl_->rows(step);
}
Exchange ShardedTrainer::sums() {
  return impl_->sums();
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
  return impl_->progress_.load(std::memory_order_relaxed);
}
std::uint64_t ShardedTrainer::least_bytes_per_epoch() const noexcept {
  return impl_->least_bytes_per_epoch();
}

}  // namespace concerto
