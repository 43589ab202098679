// SGD over ranks by rotation (node/rotation.hpp): a rank trains on the entries of its own users, a part of the items at
// a time, and passes the part on with all that its rows are: factors, biases and adaptive rates.
//
// The entries of own users and one part are a grid of the backend, in the rows and columns of the whole matrix and with
// the counts of whole rows, so that an entry's update is what it is in one process.
#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"

#include "epochs.hpp"
#include "sharded_way.hpp"

namespace concerto {
namespace {

std::vector<EntryIndex> counts_of(const RowLengths& lengths) {
  std::vector<EntryIndex> counts(lengths.rows);
  for (RowIndex r = 0; r < lengths.rows; ++r) counts[r] = lengths.count(r);
  return counts;
}

class RotatingWay final : public ShardedWay {
 public:
  RotatingWay(ShardedRun& run, const RowLengths& by_user, const RowLengths& by_item)
      : run_(run),
        rotation_(rotation_of(run.options, run.sharding)),
        parts_(cut_item_parts(by_item, rotation_.parts())),
        user_counts_(counts_of(by_user)),
        item_counts_(counts_of(by_item)) {
    run.are_users_apart = true;
    ThreadPool one(1);
    grids_.reserve(parts_.size());
    for (const RowRange items : parts_) {
      Grid& grid = grids_.emplace_back();
      grid.by_user = keep_columns(run.users.entries.view(), items);
      grid.by_item = transpose(grid.by_user.view(), one);
      grid.blocks = run.backend.load_grid(grid.by_user.view(), grid.by_item.view(), {user_counts_, item_counts_});
    }
  }

  void begin_sweep(Side) override { run_.advance(1); }

  void run_step(const StepId& step) override {
    const std::uint32_t part = rotation_.part(run_.sharding.rank, step.epoch, step.round);
    run_.backend.sgd_epoch(sgd_step(run_.options, run_.objective, step.epoch, part, rotation_.parts(),
                                    {grids_[part].blocks.get(), run_.users.table.get(), run_.items.table.get()}));
    run_.items.read(run_.backend, parts_[part]);
    run_.items.packed.pack(run_.items.host, parts_[part]);
    run_.advance(1 + grids_[part].by_user.columns.size());
  }

  /// Of the last stratum.
  Exchange rows(const StepId& step) override {
    PackedRows& packed = run_.items.packed;
    Exchange exchange{packed.bytes(), {}};
    for (Rank rank = 0; rank < run_.sharding.ranks; ++rank) {
      const RowRange rows = parts_[rotation_.part(rank, step.epoch, step.round)];
      exchange.blocks.push_back({rank, packed.offset(rows.begin), packed.bytes_of(rows.size())});
    }
    return exchange;
  }

  void install(const StepId& step) override {
    for (Rank rank = 0; rank < run_.sharding.ranks; ++rank) {
      if (rank != run_.sharding.rank) take_up(rotation_.part(rank, step.epoch, step.round));
    }
  }

  std::span<std::byte> block(const BlockPass& pass) override { return run_.items.packed.bytes(parts_[pass.part]); }
  void install_block(const BlockPass& pass) override { take_up(pass.part); }

  [[nodiscard]] std::vector<TableRows> changed_rows(const StepId& step) const override {
    return {{Side::kItems, parts_[rotation_.part(run_.sharding.rank, step.epoch, step.round)]}};
  }
  [[nodiscard]] std::vector<TableRows> changed_rows_of_epoch() const override {
    std::vector<TableRows> own;
    for (const RowRange rows : run_.users.own) own.push_back({Side::kUsers, rows});
    return own;
  }

  void end_epoch() override {
    for (const RowRange rows : run_.users.own) run_.users.read_solved(run_.backend, rows);
    for (const RowRange rows : run_.items.own) {
      run_.items.is_finite = run_.items.is_finite && all_finite(run_.items.host.factors, rows);
    }
  }

  void settle() override { CONCERTO_CHECK(false, "sgd has no momentum to settle"); }

  [[nodiscard]] MoveFacts facts() const override {
    // Passing on all but the last stratum's parts, and a ring all-gather: each (ranks - 1) / ranks of the items for
    // equal parts.
    const std::uint64_t all = run_.items.packed.bytes_of(run_.plan.items.rows);
    const Rank ranks = run_.sharding.ranks;
    return {"rotating",
            fmt::format("rotation of items: {} strata of {} parts, {} floats a row with adaptive rate; all-gather of "
                        "items after an epoch, of users at the end",
                        ranks, rotation_.parts_per_rank, run_.items.packed.row_bytes() / sizeof(float)),
            rotation_.rounds(), load_of({&run_.plan.users}, ranks), 2 * (all * (ranks - 1) / ranks)};
  }

 private:
  /// The entries of own users and one part.
  struct Grid {
    CompressedMatrix by_user;
    CompressedMatrix by_item;
    std::unique_ptr<Buffer> blocks;
  };

  void take_up(std::uint32_t part) {
    run_.items.packed.unpack(parts_[part], run_.items.host);
    run_.items.write(run_.backend, parts_[part]);
    run_.advance(1 + parts_[part].size());
  }

  ShardedRun& run_;
  Rotation rotation_;
  std::vector<RowRange> parts_;
  std::vector<EntryIndex> user_counts_;
  std::vector<EntryIndex> item_counts_;
  std::vector<Grid> grids_;
};

}  // namespace

std::unique_ptr<ShardedWay> make_rotating_way(ShardedRun& run, const RowLengths& by_user, const RowLengths& by_item) {
  return std::make_unique<RotatingWay>(run, by_user, by_item);
}

}  // namespace concerto
