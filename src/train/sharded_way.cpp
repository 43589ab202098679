// What several ways share: solving own rows, and rows that go to all.
#include "sharded_way.hpp"

#include "concerto/base/check.hpp"

namespace concerto {

std::vector<PartialGather> ShardedWay::partials(const StepId&) {
  CONCERTO_CHECK(false, "this way moves no partial systems");
  return {};
}
void ShardedWay::solve_systems(const StepId&) {
  CONCERTO_CHECK(false, "this way moves no partial systems");
}
std::span<std::byte> ShardedWay::block(const BlockPass&) {
  CONCERTO_CHECK(false, "this way passes no blocks");
  return {};
}
void ShardedWay::install_block(const BlockPass&) {
  CONCERTO_CHECK(false, "this way passes no blocks");
}

void solve_own_rows(ShardedRun& run, Side side, RowRange rows, const Buffer* gram, double momentum) {
  ShardedTable& mine = run.table(side);
  const Buffer* fixed = run.other(side).table.get();
  if (run.options.solver == SolverKind::kSubspace) {
    run.backend.solve_slices({.ratings = mine.ratings.get(),
                              .fixed = fixed,
                              .gram = gram,
                              .target = mine.table.get(),
                              .rows = rows,
                              .objective = run.objective,
                              .slice = run.options.slice});
  } else {
    run.backend.solve_rows({.ratings = mine.ratings.get(),
                            .fixed = fixed,
                            .gram = gram,
                            .target = mine.table.get(),
                            .rows = rows,
                            .objective = run.objective,
                            .inner = run.options.inner,
                            .cg_steps = run.options.cg_steps,
                            .momentum = momentum});
  }
  mine.read_solved(run.backend, rows);
  run.advance(rows.size());
}

Exchange rows_of_step(ShardedRun& run, const StepId& step) {
  ShardedTable& mine = run.table(step.side);
  Exchange exchange{mine.packed.bytes(), {}};
  for (Rank rank = 0; rank < run.sharding.ranks; ++rank) {
    for (const RowRange rows : rows_of_round(*mine.shards, rank, step.round)) {
      exchange.blocks.push_back({rank, mine.packed.offset(rows.begin), mine.packed.bytes_of(rows.size())});
    }
  }
  return exchange;
}

std::vector<TableRows> own_rows_of_round(const ShardedRun& run, const StepId& step) {
  std::vector<TableRows> own;
  for (const RowRange rows : rows_of_round(run.plan.of(step.side), run.sharding.rank, step.round)) {
    own.push_back({step.side, rows});
  }
  return own;
}

void install_rows_of_round(ShardedRun& run, const StepId& step) {
  ShardedTable& mine = run.table(step.side);
  for (Rank rank = 0; rank < run.sharding.ranks; ++rank) {
    if (rank == run.sharding.rank) continue;
    for (const RowRange rows : rows_of_round(*mine.shards, rank, step.round)) {
      mine.packed.unpack(rows, mine.host);
      mine.write(run.backend, rows);
      run.advance(rows.size());
    }
  }
}

}  // namespace concerto
