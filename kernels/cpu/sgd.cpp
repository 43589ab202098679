// SGD over a grid of blocks: how the grid is made, and which thread runs which block when.
//
// Blocks are started in the serial order of compute/sgd_order.hpp, each as soon as the blocks before it that share its
// users or its items are done; there is no barrier between strata. Every row sees its updates in the serial order, so
// the result does not depend on the number of threads.
//
// Sources: Gemulla et al. 2011 (strata of independent blocks); Chin et al. 2015 (one adaptive rate a row).
#include <algorithm>
#include <atomic>
#include <cmath>

#include "concerto/compute/sgd_order.hpp"

#include "cpu_backend.hpp"
#include "row_kernel.hpp"
#include "sgd_grid.hpp"
#include "sgd_kernel.hpp"

namespace concerto::cpu {
namespace {

/// Rows that one task of a parallel loop over rows takes.
constexpr std::size_t kRowGrain = 1024;

/// Calls visit(q, begin, end) for each item block q with entries [begin, end) of a user; columns ascend within a row.
template <class Visit>
void for_each_segment(const CompressedRows& by_user, RowIndex user, std::span<const RowRange> item_blocks,
                      Visit visit) {
  EntryIndex begin = by_user.offsets[user];
  const EntryIndex row_end = by_user.offsets[user + 1];
  for (std::size_t q = 0; q < item_blocks.size() && begin < row_end; ++q) {
    EntryIndex end = begin;
    while (end < row_end && by_user.columns[end] < item_blocks[q].end) ++end;
    if (end > begin) visit(q, begin, end);
    begin = end;
  }
}

/// Numbers of entries and runs of each block, at [number + 1], of one user block's row of blocks.
void count_blocks(const CompressedRows& by_user, RowRange users, std::span<const RowRange> item_blocks,
                  std::size_t first_block, GridBuffer& grid) {
  for (RowIndex u = users.begin; u < users.end; ++u) {
    for_each_segment(by_user, u, item_blocks, [&](std::size_t q, EntryIndex begin, EntryIndex end) {
      grid.entry_offsets[first_block + q + 1] += end - begin;
      grid.run_offsets[first_block + q + 1] += 1;
    });
  }
}

/// Copies one user block's entries to where count_blocks made room.
void fill_blocks(const CompressedRows& by_user, RowRange users, std::span<const RowRange> item_blocks,
                 std::size_t first_block, GridBuffer& grid) {
  std::vector<EntryIndex> next_entry(item_blocks.size());
  std::vector<EntryIndex> next_run(item_blocks.size());
  for (std::size_t q = 0; q < item_blocks.size(); ++q) {
    next_entry[q] = grid.entry_offsets[first_block + q];
    next_run[q] = grid.run_offsets[first_block + q];
  }
  for (RowIndex u = users.begin; u < users.end; ++u) {
    for_each_segment(by_user, u, item_blocks, [&](std::size_t q, EntryIndex begin, EntryIndex end) {
      grid.runs[next_run[q]++] = {u, static_cast<std::uint32_t>(end - begin)};
      for (EntryIndex k = begin; k < end; ++k) grid.entries[next_entry[q]++] = {by_user.columns[k], by_user.value(k)};
    });
  }
}

/// The state at the start of a pass of a table's rows that have entries in the grid.
std::vector<SgdRowState> load_states(ThreadPool& pool, const TableBuffer& table, const GridBuffer& grid, Side side,
                                     const Objective& objective) {
  const CompressedRows& ratings = grid.orientation(side);
  std::vector<SgdRowState> states(ratings.rows);
  const double exponent = objective.regularization_exponent - 1.0;
  pool.parallel_for(states.size(), kRowGrain, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t r = begin; r < end; ++r) {
      const auto row = static_cast<RowIndex>(r);
      if (ratings.count(row) == 0) continue;
      const auto count = static_cast<double>(grid.count(side, row));
      const double weight = exponent == 0.0 ? 1.0 : std::pow(count, exponent);
      states[r] = {table.accumulators[r], table.factors.bias(row),
                   squared_norm(table.factors.row(row).data(), table.factors.stride()), static_cast<float>(weight)};
    }
  });
  return states;
}

/// Puts accumulators and biases of the same rows back.
void store_states(ThreadPool& pool, std::span<const SgdRowState> states, const CompressedRows& ratings,
                  TableBuffer& table) {
  pool.parallel_for(states.size(), kRowGrain, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t r = begin; r < end; ++r) {
      if (ratings.count(static_cast<RowIndex>(r)) == 0) continue;
      table.accumulators[r] = states[r].accumulator;
      if (table.factors.shape().biases) table.factors.biases()[r] = states[r].bias;
    }
  });
}

/// How far each row and each column of the grid has come, in strata, and whose turn it is.
class BlockQueue {
 public:
  BlockQueue(std::uint32_t side, std::vector<std::uint32_t> shifts)
      : side_(side), shifts_(std::move(shifts)), user_strata_(side), item_strata_(side) {}

  /// Runs body(number of the block) for blocks until none is left; called by every worker.
  template <class Body>
  void work(Body body) {
    const std::size_t tasks = std::size_t{side_} * side_;
    for (std::size_t task = next_.fetch_add(1); task < tasks; task = next_.fetch_add(1)) {
      const auto stratum = static_cast<std::uint32_t>(task / side_);
      const auto p = static_cast<std::uint32_t>(task % side_);
      const std::uint32_t q = sgd_item_block(p, shifts_[stratum], side_);
      wait_for(user_strata_[p], stratum);
      wait_for(item_strata_[q], stratum);
      body(std::size_t{p} * side_ + q);
      finish(user_strata_[p], stratum + 1);
      finish(item_strata_[q], stratum + 1);
    }
  }

 private:
  /// Tasks are handed out in the serial order, so what is waited for is always under way: no deadlock.
  static void wait_for(const std::atomic<std::uint32_t>& strata, std::uint32_t needed) {
    for (std::uint32_t done = strata.load(std::memory_order_acquire); done < needed;
         done = strata.load(std::memory_order_acquire)) {
      strata.wait(done, std::memory_order_acquire);
    }
  }
  static void finish(std::atomic<std::uint32_t>& strata, std::uint32_t done) {
    strata.store(done, std::memory_order_release);
    strata.notify_all();
  }

  std::uint32_t side_;
  std::vector<std::uint32_t> shifts_;
  std::vector<std::atomic<std::uint32_t>> user_strata_;
  std::vector<std::atomic<std::uint32_t>> item_strata_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace

std::unique_ptr<Buffer> CpuBackend::load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                              const RowCounts& counts) {
  CONCERTO_CHECK(by_user.entries() == by_item.entries(), "the orientations differ in entries");
  CONCERTO_CHECK((counts.users.empty() || counts.users.size() == by_user.rows) &&
                     (counts.items.empty() || counts.items.size() == by_item.rows),
                 "counts of other rows than the grid's");
  auto grid = std::make_unique<GridBuffer>(by_user, by_item);
  grid->counts = counts;
  grid->side = sgd_blocks_per_side(by_user.entries(), by_user.rows, by_item.rows);
  const std::vector<RowRange> user_blocks = sgd_cut(by_user, grid->side);
  const std::vector<RowRange> item_blocks = sgd_cut(by_item, grid->side);
  const std::size_t blocks = std::size_t{grid->side} * grid->side;
  grid->entry_offsets.assign(blocks + 1, 0);
  grid->run_offsets.assign(blocks + 1, 0);
  const auto for_each_user_block = [&](auto work) {
    pool_.parallel_for(grid->side, 1, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t p = begin; p < end; ++p) work(by_user, user_blocks[p], item_blocks, p * grid->side, *grid);
    });
  };
  for_each_user_block(count_blocks);
  for (std::size_t b = 0; b < blocks; ++b) {
    grid->entry_offsets[b + 1] += grid->entry_offsets[b];
    grid->run_offsets[b + 1] += grid->run_offsets[b];
  }
  grid->entries.resize(grid->entry_offsets[blocks]);
  grid->runs.resize(grid->run_offsets[blocks]);
  for_each_user_block(fill_blocks);
  return grid;
}

void CpuBackend::sgd_epoch(const SgdStep& step) {
  const auto& grid = buffer_as<GridBuffer>(step.grid);
  auto& users = buffer_as<TableBuffer>(step.users);
  auto& items = buffer_as<TableBuffer>(step.items);
  CONCERTO_CHECK(!step.objective.is_implicit(), "SGD serves explicit objectives only");
  CONCERTO_CHECK(users.factors.rows() == grid.by_user.view.rows && items.factors.rows() == grid.by_item.view.rows,
                 "the grid and the tables differ in size");
  CONCERTO_CHECK(
      users.factors.rank() == items.factors.rank() && users.factors.shape().biases == items.factors.shape().biases,
      "the tables differ in rank or biases");
  std::vector<SgdRowState> user_states = load_states(pool_, users, grid, Side::kUsers, step.objective);
  std::vector<SgdRowState> item_states = load_states(pool_, items, grid, Side::kItems, step.objective);
  SgdPass pass;
  pass.users = users.factors.data();
  pass.items = items.factors.data();
  pass.user_states = user_states.data();
  pass.item_states = item_states.data();
  pass.stride = users.factors.stride();
  pass.inverse_rank = 1.0F / static_cast<float>(users.factors.rank());
  pass.rate = static_cast<float>(step.rate);
  pass.regularization = static_cast<float>(step.objective.regularization);
  pass.bias_regularization = static_cast<float>(step.objective.bias_regularization);
  pass.mean = static_cast<float>(step.objective.mean);
  pass.biases = users.factors.shape().biases;
  pass.nonnegative = step.nonnegative;
  BlockQueue queue(grid.side, sgd_strata(grid.side, step.seed, step.epoch));
  pool_.run_on_all([&](unsigned) {
    queue.work([&](std::size_t block) { sgd_block(pass, grid.block_runs(block), grid.block_entries(block)); });
  });
  store_states(pool_, user_states, grid.by_user.view, users);
  store_states(pool_, item_states, grid.by_item.view, items);
}

}  // namespace concerto::cpu
