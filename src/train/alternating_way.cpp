// Alternating sweeps over ranks: a rank solves its own rows against its copy of the other side, and all rows of a round
// go to all.
#include <fmt/format.h>

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
    for (const RowRange rows :
         calls_of_round(*mine.shards, run_.sharding.rank, step.round, run_.backend.work_per_second())) {
      solve_own_rows(run_, step.side, rows, gram_.get(), run_.momentum);
      mine.packed.pack(mine.host, rows);
    }
  }

  Exchange rows(const StepId& step) override { return rows_of_step(run_, step); }
  void install(const StepId& step) override { install_rows_of_round(run_, step); }
  [[nodiscard]] std::vector<TableRows> changed_rows(const StepId& step) const override {
    return own_rows_of_round(run_, step);
  }

  void settle() override {
    begin_sweep(Side::kUsers);
    for (const RowRange rows : run_.users.own) solve_own_rows(run_, Side::kUsers, rows, gram_.get(), 0.0);
  }

  [[nodiscard]] MoveFacts facts() const override {
    const CollectiveBytes bytes =
        collective_bytes(run_.plan.users.rows, run_.plan.items.rows, run_.options, run_.sharding.ranks);
    return {"alternating",
            run_.options.solver == SolverKind::kAls
                ? fmt::format("all-gather of factors: {} bytes an epoch; Gram partials would be {}",
                              bytes.factors_epoch, bytes.grams_epoch)
                : fmt::format("all-gather of factors: {} bytes an epoch", bytes.factors_epoch),
            run_.sharding.rounds, load_of({&run_.plan.users, &run_.plan.items}, run_.sharding.ranks),
            bytes.factors_epoch};
  }

 private:
  ShardedRun& run_;
  std::unique_ptr<Buffer> gram_;
};

}  // namespace

std::unique_ptr<ShardedWay> make_alternating_way(ShardedRun& run) {
  return std::make_unique<AlternatingWay>(run);
}

}  // namespace concerto
