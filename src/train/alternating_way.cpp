// Alternating sweeps over ranks: a rank solves its own rows against its copy of the other side, and all rows of a round
// go to all.
#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "sharded_way.hpp"

namespace concerto {
namespace {

class AlternatingWay final : public ShardedWay {
 public:
  explicit AlternatingWay(ShardedRun& run) : run_(run) {}

  void begin_sweep(Side side) override {
    gram_ = run_.objective.is_implicit() ? run_.backend.gram(*run_.other(side).table) : nullptr;
    run_.advance(1);
  }

  void run_step(const StepId& step) override {
    ShardedTable& mine = run_.table(step.side);
    for (const RowRange rows : rows_of_round(*mine.shards, run_.sharding.rank, step.round)) {
      solve(step.side, rows, run_.momentum);
      mine.packed.pack(mine.host, rows);
    }
  }

  Exchange rows(const StepId& step) override {
    ShardedTable& mine = run_.table(step.side);
    Exchange exchange{mine.packed.bytes(), {}};
    for (Rank rank = 0; rank < run_.sharding.ranks; ++rank) {
      for (const RowRange rows : rows_of_round(*mine.shards, rank, step.round)) {
        exchange.blocks.push_back({rank, mine.packed.offset(rows.begin), mine.packed.bytes_of(rows.size())});
      }
    }
    return exchange;
  }

  void install(const StepId& step) override {
    ShardedTable& mine = run_.table(step.side);
    for (Rank rank = 0; rank < run_.sharding.ranks; ++rank) {
      if (rank == run_.sharding.rank) continue;
      for (const RowRange rows : rows_of_round(*mine.shards, rank, step.round)) {
        mine.packed.unpack(rows, mine.host);
        mine.write(run_.backend, rows);
        run_.advance(rows.size());
      }
    }
  }

  std::span<std::byte> block(const BlockPass&) override { return no_passes(); }
  void install_block(const BlockPass&) override { (void)no_passes(); }
  void end_epoch() override {}

  void settle() override {
    begin_sweep(Side::kUsers);
    for (const RowRange rows : run_.users.own) solve(Side::kUsers, rows, 0.0);
  }

  /// Factors are gathered rather than the Gram matrices of their rows, which would be smaller only where one side has
  /// more rows than f / 2 times the other's.
  [[nodiscard]] MoveFacts facts() const override {
    const double rank = run_.options.rank;
    const double grams = rank * (rank + 3) / 2 * run_.plan.items.rows / std::max<double>(run_.plan.users.rows, 1);
    // Of a ring all-gather every rank passes on everything but what its successor gave: (ranks - 1) / ranks of all for
    // equal shares.
    const std::uint64_t all =
        run_.users.packed.bytes_of(run_.plan.users.rows) + run_.items.packed.bytes_of(run_.plan.items.rows);
    return {"alternating",
            fmt::format("all-gather of factors: {:.0f} floats a user row; Gram matrices of item rows would be {:.0f}",
                        rank, grams),
            run_.sharding.rounds, load_of({&run_.plan.users, &run_.plan.items}, run_.sharding.ranks),
            all * (run_.sharding.ranks - 1) / run_.sharding.ranks};
  }

 private:
  void solve(Side side, RowRange rows, double momentum) {
    ShardedTable& mine = run_.table(side);
    const Buffer* fixed = run_.other(side).table.get();
    if (run_.options.solver == SolverKind::kSubspace) {
      run_.backend.solve_slices({.ratings = mine.ratings.get(),
                                 .fixed = fixed,
                                 .gram = gram_.get(),
                                 .target = mine.table.get(),
                                 .rows = rows,
                                 .objective = run_.objective,
                                 .slice = run_.options.slice});
    } else {
      run_.backend.solve_rows({.ratings = mine.ratings.get(),
                               .fixed = fixed,
                               .gram = gram_.get(),
                               .target = mine.table.get(),
                               .rows = rows,
                               .objective = run_.objective,
                               .inner = run_.options.inner,
                               .cg_steps = run_.options.cg_steps,
                               .momentum = momentum});
    }
    mine.read(run_.backend, rows);
    run_.advance(rows.size());
  }

  static std::span<std::byte> no_passes() {
    CONCERTO_CHECK(false, "alternating sweeps pass no blocks");
    return {};
  }

  ShardedRun& run_;
  std::unique_ptr<Buffer> gram_;
};

}  // namespace

std::unique_ptr<ShardedWay> make_alternating_way(ShardedRun& run) {
  return std::make_unique<AlternatingWay>(run);
}

}  // namespace concerto
