// States, deltas and steps of a rank (see asynchronous.hpp).
#include "concerto/train/asynchronous.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "concerto/base/check.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/train/shards.hpp"

#include "epochs.hpp"
#include "packed_rows.hpp"
#include "start.hpp"

namespace concerto {
namespace {

std::vector<EntryIndex> counts_of(const RowLengths& lengths) {
  std::vector<EntryIndex> counts(lengths.rows);
  for (RowIndex r = 0; r < lengths.rows; ++r) counts[r] = lengths.count(r);
  return counts;
}

/// Floats of a row as it travels.
std::uint32_t row_floats(const TrainOptions& options) {
  return options.rank + (options.objective.biases ? 1 : 0) + (options.solver == SolverKind::kSgd ? 1 : 0);
}

using Floats = std::vector<float>;

void add(const Floats& from, std::span<float> to) {
  CONCERTO_CHECK(from.size() == to.size(), "a delta is as long as its block");
  for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

/// Merges a contribution. Ranks that have not seen each other's correct the same errors, so that the sum of what many
/// do goes too far, from round to round farther: where ranks that a slow one holds up all follow right behind it, sgd
/// diverges. Two at a time do no harm (ml-1m, f = 64, 4 ranks: halving the second costs 0.05 % of RMSE), so the share
/// of a contribution is one over the unseen, if there is more than one. Squares for adaptive rates are what they are.
void merge(const Floats& delta, std::uint32_t unseen, std::uint32_t row_floats, std::span<float> state) {
  const float share = 1.0F / static_cast<float>(std::max(1U, unseen));
  for (std::size_t i = 0; i < delta.size(); ++i) {
    state[i] += (i + 1) % row_floats == 0 ? delta[i] : share * delta[i];
  }
}

}  // namespace

BlockPlan plan_blocks(const RowLengths& by_user, const RowLengths& by_item, const TrainOptions& options, Rank ranks,
                      std::uint32_t steps) {
  const bool is_adding = options.solver == SolverKind::kSgd;
  const WorkModel work = work_of(options);
  BlockPlan plan;
  std::size_t most = 0;  // blocks of a table that steps write
  for (const Side side : {Side::kItems, Side::kUsers}) {
    const RowLengths& lengths = side == Side::kItems ? by_item : by_user;
    if (lengths.rows == 0) continue;
    const auto cut = cut_blocks(lengths, kBlocksPerTable, work);
    const bool is_item = side == Side::kItems;
    if (is_item || !is_adding) most = std::max(most, cut.size());
    for (const RowRange rows : cut) {
      const double weight =
          work.per_entry * static_cast<double>(lengths.offsets[rows.end] - lengths.offsets[rows.begin]) +
          work.per_row * rows.size();
      const std::uint64_t bytes = std::uint64_t{rows.size()} * row_floats(options) * sizeof(float);
      const std::uint64_t chunk = rows.begin / chunk_rows(lengths.rows);
      plan.rows.push_back(rows);
      plan.blocks.push_back({side, static_cast<std::uint32_t>(bytes), is_adding && is_item, is_item || !is_adding});
      plan.placed.push_back({static_cast<std::uint64_t>(side) << 32 | chunk, weight});
      plan.weights.push_back(std::max<std::uint64_t>(1, static_cast<std::uint64_t>(weight)));
    }
  }
  // With sgd a rank's sweep goes over all items, and over nothing else.
  const std::size_t a_rank = is_adding ? most : (most + ranks - 1) / ranks;
  plan.blocks_per_step = static_cast<std::uint32_t>(std::max<std::size_t>(1, a_rank / steps));
  return plan;
}

class AsynchronousTrainer::Impl {
 public:
  Impl(Backend& backend, const Dataset& data, const TrainOptions& options, const std::optional<WarmStart>& warm_start,
       const BlockPlan& plan);

  void own(std::span<const BlockId> blocks);
  void prepare(const BlockStep& step, const Replicator& replicator);
  void run(const BlockStep& step);
  bool perform(const ReplicaEffect& effect, std::span<const std::byte> payload);
  void copy_row(BlockId block, RowIndex row, std::span<float> to) const;
  [[nodiscard]] std::size_t row_values() const noexcept { return options_.rank + (options_.objective.biases ? 1 : 0); }
  std::span<const std::byte> payload(const ReplicaMessage& message);
  [[nodiscard]] std::uint64_t digest(BlockId block) const;
  [[nodiscard]] std::span<const float> state(BlockId block) const noexcept { return states_[block]; }
  [[nodiscard]] const FactorTable& table(Side side);

 private:
  struct TableSide {
    CompressedMatrix entries;  ///< of own rows
    std::unique_ptr<Buffer> ratings;
    std::unique_ptr<Buffer> table;  ///< what steps read
    HostRows transit;               ///< room for what goes between states and backend; not to be used beside run()
    std::vector<EntryIndex> counts;
  };
  /// The entries of own users and one step's items, for sgd.
  struct Grid {
    std::vector<BlockId> blocks;
    CompressedMatrix by_user;
    CompressedMatrix by_item;
    std::unique_ptr<Buffer> buffer;
  };

  [[nodiscard]] static std::size_t index(Side side) noexcept { return static_cast<std::size_t>(side); }
  [[nodiscard]] TableSide& side_of(BlockId block) noexcept { return sides_[index(plan_.blocks[block].table)]; }
  [[nodiscard]] bool is_sgd() const noexcept { return options_.solver == SolverKind::kSgd; }
  void load(const Dataset& data, Side side, const FactorTable* warm);
  /// Rows as they travel, and back.
  void gather(BlockId block, const HostRows& from, std::span<float> to) const;
  void scatter(BlockId block, std::span<const float> from, HostRows& to) const;
  void write(BlockId block, std::span<const float> rows);
  void write_view(BlockId block, const Replicator& replicator);
  void read_results(BlockId block);
  void solve(const BlockStep& step);
  void descend(const BlockStep& step);
  Grid& grid_of(const BlockStep& step);

  Backend& backend_;
  const Dataset& data_;
  TrainOptions options_;
  const BlockPlan& plan_;
  std::array<TableSide, 2> sides_;
  std::vector<Floats> states_;  ///< by block
  std::vector<Floats> sealed_;  ///< empty: none
  std::vector<Floats> open_;
  std::vector<Floats> results_;  ///< of the last step: a result, or with sgd what it has added
  std::vector<bool> is_stale_;   ///< the backend has something else than what is to be read
  std::vector<bool> is_own_;
  std::vector<Grid> grids_;
};

AsynchronousTrainer::Impl::Impl(Backend& backend, const Dataset& data, const TrainOptions& options,
                                const std::optional<WarmStart>& warm_start, const BlockPlan& plan)
    : backend_(backend),
      data_(data),
      options_(options),
      plan_(plan),
      states_(plan.rows.size()),
      sealed_(plan.rows.size()),
      open_(plan.rows.size()),
      results_(plan.rows.size()),
      is_stale_(plan.rows.size()),
      is_own_(plan.rows.size()) {
  check_options(options);
  load(data, Side::kUsers, warm_start ? warm_start->users : nullptr);
  load(data, Side::kItems, warm_start ? warm_start->items : nullptr);
  for (BlockId b = 0; b < plan.rows.size(); ++b) {
    states_[b].resize(plan.blocks[b].bytes / sizeof(float));
    gather(b, side_of(b).transit, states_[b]);
  }
  own({});
}

void AsynchronousTrainer::Impl::load(const Dataset& data, Side side, const FactorTable* warm) {
  TableSide& mine = sides_[index(side)];
  mine.transit.factors = start_values(options_, side, data.lengths(side), warm);
  mine.counts = counts_of(data.lengths(side));
  const TableShape shape = mine.transit.factors.shape();
  if (is_sgd()) mine.transit.state.assign(shape.rows, 1.0F);
  mine.table = backend_.create_table(shape);
  backend_.write_rows(*mine.table, {0, shape.rows}, mine.transit.factors);
}

void AsynchronousTrainer::Impl::own(std::span<const BlockId> blocks) {
  std::array<std::vector<RowRange>, 2> rows;
  std::vector<BlockId> sorted(blocks.begin(), blocks.end());
  std::ranges::sort(sorted);
  for (const BlockId b : sorted) {
    auto& ranges = rows[index(plan_.blocks[b].table)];
    if (!ranges.empty() && ranges.back().end == plan_.rows[b].begin) {
      ranges.back().end = plan_.rows[b].end;
    } else {
      ranges.push_back(plan_.rows[b]);
    }
  }
  for (const Side side : {Side::kUsers, Side::kItems}) {
    TableSide& mine = sides_[index(side)];
    mine.ratings.reset();
    if (is_sgd() && side == Side::kItems) continue;  // its entries are those of own users
    mine.entries = data_.rows(side, rows[index(side)]);
    if (!is_sgd()) mine.ratings = backend_.load_ratings(mine.entries.view());
  }
  grids_.clear();
  // With sgd nobody else's users are in the backend; as initial values they are already.
  for (const BlockId b : sorted) {
    const bool is_new = !is_own_[b] && is_stale_[b];
    if (is_sgd() && plan_.blocks[b].table == Side::kUsers && is_new) write(b, states_[b]);
  }
  is_own_.assign(plan_.rows.size(), false);
  for (const BlockId b : sorted) is_own_[b] = true;
}

void AsynchronousTrainer::Impl::gather(BlockId block, const HostRows& from, std::span<float> to) const {
  float* next = to.data();
  for (RowIndex r = plan_.rows[block].begin; r < plan_.rows[block].end; ++r) {
    const auto row = from.factors.row(r);
    next = std::copy(row.begin(), row.end(), next);
    if (options_.objective.biases) *next++ = from.factors.biases()[r];
    if (is_sgd()) *next++ = from.state[r];
  }
}

void AsynchronousTrainer::Impl::scatter(BlockId block, std::span<const float> from, HostRows& to) const {
  const float* next = from.data();
  for (RowIndex r = plan_.rows[block].begin; r < plan_.rows[block].end; ++r) {
    std::copy_n(next, options_.rank, to.factors.row(r).begin());
    next += options_.rank;
    if (options_.objective.biases) to.factors.biases()[r] = *next++;
    if (is_sgd()) to.state[r] = *next++;
  }
}

void AsynchronousTrainer::Impl::write(BlockId block, std::span<const float> values) {
  TableSide& mine = side_of(block);
  const RowRange rows = plan_.rows[block];
  scatter(block, values, mine.transit);
  backend_.write_rows(*mine.table, rows, mine.transit.factors);
  if (is_sgd()) {
    backend_.write_state(*mine.table, rows, std::span(mine.transit.state).subspan(rows.begin, rows.size()));
  }
  is_stale_[block] = false;
}

/// What steps are to read of the block goes to the backend.
void AsynchronousTrainer::Impl::write_view(BlockId block, const Replicator& replicator) {
  if (!replicator.shows_sealed(block) && !replicator.has_open(block)) return write(block, states_[block]);
  Floats view = states_[block];
  if (replicator.shows_sealed(block)) add(sealed_[block], view);
  if (replicator.has_open(block)) add(open_[block], view);
  write(block, view);
}

void AsynchronousTrainer::Impl::prepare(const BlockStep& step, const Replicator& replicator) {
  // sgd reads the items of the step alone; what is stale of others waits until it is their turn.
  for (BlockId b = 0; b < plan_.rows.size(); ++b) {
    const bool is_read = !is_sgd() || std::ranges::find(step.blocks, b) != step.blocks.end();
    if (is_read && is_stale_[b]) write_view(b, replicator);
  }
  for (const BlockId b : step.blocks) is_stale_[b] = true;  // until its result has become the state
}

void AsynchronousTrainer::Impl::run(const BlockStep& step) {
  if (is_sgd()) {
    descend(step);
  } else {
    solve(step);
  }
}

void AsynchronousTrainer::Impl::solve(const BlockStep& step) {
  TableSide& mine = sides_[index(step.table)];
  const TableSide& other = sides_[1 - index(step.table)];
  const auto gram = options_.objective.is_implicit() ? backend_.gram(*other.table) : nullptr;
  for (std::size_t i = 0; i < step.blocks.size(); ++i) {
    RowRange rows = plan_.rows[step.blocks[i]];
    // Neighbours in one call.
    while (i + 1 < step.blocks.size() && plan_.rows[step.blocks[i + 1]].begin == rows.end) {
      rows.end = plan_.rows[step.blocks[++i]].end;
    }
    if (options_.solver == SolverKind::kSubspace) {
      backend_.solve_slices({.ratings = mine.ratings.get(),
                             .fixed = other.table.get(),
                             .gram = gram.get(),
                             .target = mine.table.get(),
                             .rows = rows,
                             .objective = options_.objective,
                             .slice = options_.slice});
    } else {
      backend_.solve_rows({.ratings = mine.ratings.get(),
                           .fixed = other.table.get(),
                           .gram = gram.get(),
                           .target = mine.table.get(),
                           .rows = rows,
                           .objective = options_.objective,
                           .inner = options_.inner,
                           .cg_steps = options_.cg_steps});
    }
  }
  for (const BlockId b : step.blocks) read_results(b);
}

/// What the backend now has of the block's rows.
void AsynchronousTrainer::Impl::read_results(BlockId block) {
  TableSide& mine = side_of(block);
  const RowRange rows = plan_.rows[block];
  backend_.read_rows(*mine.table, rows, mine.transit.factors);
  if (is_sgd()) {
    backend_.read_state(*mine.table, rows, std::span(mine.transit.state).subspan(rows.begin, rows.size()));
  }
  results_[block].resize(plan_.blocks[block].bytes / sizeof(float));
  gather(block, mine.transit, results_[block]);
}

AsynchronousTrainer::Impl::Grid& AsynchronousTrainer::Impl::grid_of(const BlockStep& step) {
  const auto found = std::ranges::find(grids_, step.blocks, &Grid::blocks);
  if (found != grids_.end()) return *found;
  Grid& grid = grids_.emplace_back();
  grid.blocks = step.blocks;
  std::vector<RowRange> columns;
  for (const BlockId b : step.blocks) columns.push_back(plan_.rows[b]);
  std::ranges::sort(columns, {}, &RowRange::begin);
  ThreadPool one(1);
  const CompressedMatrix all = transpose(sides_[index(Side::kUsers)].entries.view(), one);
  grid.by_item = keep_rows(all.view(), columns);
  grid.by_user = transpose(grid.by_item.view(), one);
  grid.buffer = backend_.load_grid(grid.by_user.view(), grid.by_item.view(),
                                   {sides_[index(Side::kUsers)].counts, sides_[index(Side::kItems)].counts});
  return grid;
}

void AsynchronousTrainer::Impl::descend(const BlockStep& step) {
  std::vector<Floats> before(step.blocks.size());
  for (std::size_t i = 0; i < step.blocks.size(); ++i) {
    read_results(step.blocks[i]);
    before[i] = results_[step.blocks[i]];
  }
  const auto count = static_cast<std::uint32_t>(plan_.rows.size());
  backend_.sgd_epoch(sgd_step(
      options_, options_.objective, step.clock, step.blocks.front(), count,
      {grid_of(step).buffer.get(), sides_[index(Side::kUsers)].table.get(), sides_[index(Side::kItems)].table.get()}));
  for (std::size_t i = 0; i < step.blocks.size(); ++i) {
    Floats& result = results_[step.blocks[i]];
    read_results(step.blocks[i]);
    for (std::size_t k = 0; k < result.size(); ++k) result[k] -= before[i][k];
  }
}

bool AsynchronousTrainer::Impl::perform(const ReplicaEffect& effect, std::span<const std::byte> payload) {
  const BlockId b = effect.block;
  const auto received = [&](Floats& into) {
    if (payload.size() != states_[b].size() * sizeof(float)) return false;
    into.resize(states_[b].size());
    std::memcpy(into.data(), payload.data(), payload.size());
    return true;
  };
  const auto merge_into_state = [&](const Floats& delta) {
    CONCERTO_CHECK(delta.size() == states_[b].size(), "a delta is as long as its block");
    merge(delta, effect.unseen, row_floats(options_), states_[b]);
  };
  const auto take_into_state = [&](Floats& delta) {
    merge_into_state(delta);
    delta.clear();
  };
  is_stale_[b] = effect.kind != ReplicaEffectKind::kReplace;  // which the backend has made
  switch (effect.kind) {
    case ReplicaEffectKind::kInstall:
      if (!received(states_[b])) return false;
      break;
    case ReplicaEffectKind::kReplace:
      // sgd's own users are published as the backend has them.
      if (is_sgd()) read_results(b);
      states_[b].swap(results_[b]);
      break;
    case ReplicaEffectKind::kMergeReceived: {
      Floats delta;
      if (!received(delta)) return false;
      merge_into_state(delta);
      break;
    }
    case ReplicaEffectKind::kMergeWritten:
      merge_into_state(results_[b]);
      break;
    case ReplicaEffectKind::kMergeSealed:
      take_into_state(sealed_[b]);
      break;
    case ReplicaEffectKind::kMergeOpen:
      take_into_state(open_[b]);
      break;
    case ReplicaEffectKind::kAddToOpen:
      if (open_[b].empty()) open_[b].resize(states_[b].size());
      add(results_[b], open_[b]);
      break;
    case ReplicaEffectKind::kSeal:
      sealed_[b].swap(open_[b]);
      open_[b].clear();
      break;
    case ReplicaEffectKind::kDropSealed:
      sealed_[b].clear();
      break;
    default:
      break;
  }
  return true;
}

const FactorTable& AsynchronousTrainer::Impl::table(Side side) {
  for (BlockId b = 0; b < plan_.rows.size(); ++b) {
    if (plan_.blocks[b].table == side) scatter(b, states_[b], side_of(b).transit);
  }
  return sides_[index(side)].transit.factors;
}

std::span<const std::byte> AsynchronousTrainer::Impl::payload(const ReplicaMessage& message) {
  switch (message.kind) {
    case ReplicaMessageKind::kPut:
    case ReplicaMessageKind::kState:
      return std::as_bytes(std::span(states_[message.block]));
    case ReplicaMessageKind::kDelta:
      return std::as_bytes(std::span(sealed_[message.block]));
    default:
      return {};
  }
}

std::uint64_t AsynchronousTrainer::Impl::digest(BlockId block) const {
  return checksum(std::as_bytes(std::span(states_[block])));
}

void AsynchronousTrainer::Impl::copy_row(BlockId block, RowIndex row, std::span<float> to) const {
  const RowRange rows = plan_.rows[block];
  CONCERTO_CHECK(row >= rows.begin && row < rows.end && to.size() == row_values(), "a row of the block");
  const std::size_t before = std::size_t{row - rows.begin} * row_floats(options_);
  std::copy_n(states_[block].begin() + static_cast<std::ptrdiff_t>(before), to.size(), to.begin());
}

AsynchronousTrainer::AsynchronousTrainer(Backend& backend, const Dataset& data, const TrainOptions& options,
                                         const std::optional<WarmStart>& warm_start, const BlockPlan& plan)
    : impl_(std::make_unique<Impl>(backend, data, options, warm_start, plan)) {}
AsynchronousTrainer::~AsynchronousTrainer() = default;
void AsynchronousTrainer::own(std::span<const BlockId> blocks) {
  impl_->own(blocks);
}
void AsynchronousTrainer::prepare(const BlockStep& step, const Replicator& replicator) {
  impl_->prepare(step, replicator);
}
void AsynchronousTrainer::run(const BlockStep& step) {
  impl_->run(step);
}
bool AsynchronousTrainer::perform(const ReplicaEffect& effect, std::span<const std::byte> payload) {
  return impl_->perform(effect, payload);
}
std::span<const std::byte> AsynchronousTrainer::payload(const ReplicaMessage& message) {
  return impl_->payload(message);
}
std::span<const float> AsynchronousTrainer::state(BlockId block) const noexcept {
  return impl_->state(block);
}
std::uint64_t AsynchronousTrainer::digest(BlockId block) const {
  return impl_->digest(block);
}
void AsynchronousTrainer::copy_row(BlockId block, RowIndex row, std::span<float> to) const {
  impl_->copy_row(block, row, to);
}
std::size_t AsynchronousTrainer::row_values() const noexcept {
  return impl_->row_values();
}
const FactorTable& AsynchronousTrainer::table(Side side) {
  return impl_->table(side);
}

}  // namespace concerto
