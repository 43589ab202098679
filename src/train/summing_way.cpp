// ALS over ranks that keep their users to themselves: of each item a rank sums the partial system over the entries of
// its own users; the item's owner adds all ranks' partials in their order, solves, and the items go to all. A rank
// solves its users against its copy of the items, and nothing of them travels before the result.
//
// Sums over ranks depend on the number of ranks, in their last bits, and on nothing else.
#include <fmt/format.h>

#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"

#include "sharded_way.hpp"

namespace concerto {
namespace {

/// Of own items: how many of a row's entries count for its penalty.
std::vector<EntryIndex> counted(const CompressedRows& matrix, const Objective& objective) {
  std::vector<EntryIndex> counts(matrix.rows);
  for (RowIndex r = 0; r < matrix.rows; ++r) {
    counts[r] = matrix.count(r);
    if (objective.kind != ObjectiveKind::kImplicitAlpha || matrix.values.empty()) continue;
    for (const float value : matrix.row_values(r)) counts[r] -= objective.counts(value) ? 0 : 1;
  }
  return counts;
}

void add_to(std::span<float> sums, std::span<const float> more) {
  for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += more[k];
}

class SummingWay final : public ShardedWay {
 public:
  explicit SummingWay(ShardedRun& run)
      : run_(run),
        layout_{run.options.rank, run.objective.biases},
        counts_(counted(run.items.entries.view(), run.objective)),
        rounds_(run.sharding.rounds) {
    ThreadPool one(1);
    own_users_by_item_ = transpose(run.users.entries.view(), one);
    ratings_ = run.backend.load_ratings(own_users_by_item_.view());
    run.are_users_apart = true;
    if (!run.objective.is_implicit()) return;
    const RowRange all_items{0, run.plan.items.rows};
    run.own_users_gram.emplace(run.backend, run.users.host.factors.shape(), run.users.own);
    run.items_gram.emplace(run.backend, run.items.host.factors.shape(), std::span(&all_items, 1));
  }

  void begin_sweep(Side side) override {
    if (run_.objective.is_implicit()) {
      if (side == Side::kItems) {
        own_users_gram_ = run_.own_users_gram->of(*run_.users.table);
      } else {
        items_gram_ = run_.backend.gram(*run_.items.table);
      }
    }
    run_.advance(1);
  }

  void run_step(const StepId& step) override {
    if (step.side == Side::kUsers) {
      for (const RowRange rows :
           calls_of_round(run_.plan.users, run_.sharding.rank, step.round, run_.backend.work_per_second())) {
        solve_own_rows(run_, Side::kUsers, rows, items_gram_.get(), run_.momentum);
      }
      return;
    }
    Round& round = rounds_[step.round];
    round.given.assign(run_.sharding.ranks, {});
    for (Rank owner = 0; owner < run_.sharding.ranks; ++owner) {
      std::vector<float>& given = round.given[owner];
      if (step.round == 0) given = own_users_gram_;  // every owner needs it, and before it solves
      for (const RowRange rows : rows_of_round(run_.plan.items, owner, step.round)) {
        const std::size_t before = given.size();
        given.resize(before + rows.size() * layout_.floats());
        run_.backend.sum_systems(
            {.ratings = ratings_.get(), .fixed = run_.users.table.get(), .rows = rows, .objective = run_.objective},
            std::span(given).subspan(before));
        run_.advance(rows.size());
      }
    }
    round.taken.resize(run_.sharding.ranks * round.given[run_.sharding.rank].size());
  }

  std::vector<PartialGather> partials(const StepId& step) override {
    Round& round = rounds_[step.round];
    std::vector<PartialGather> gathers;
    for (Rank owner = 0; owner < run_.sharding.ranks; ++owner) {
      const auto mine = std::as_bytes(std::span(round.given[owner]));
      const auto taken =
          owner == run_.sharding.rank ? std::as_writable_bytes(std::span(round.taken)) : std::span<std::byte>{};
      gathers.push_back({mine, taken, std::vector<std::size_t>(run_.sharding.ranks, mine.size())});
    }
    return gathers;
  }

  void solve_systems(const StepId& step) override {
    Round& round = rounds_[step.round];
    if (run_.sharding.ranks == 1) round.taken = std::move(round.given.front());
    const std::size_t size = round.taken.size() / run_.sharding.ranks;
    const std::span<float> taken(round.taken);
    const std::span<float> sums = taken.first(size);
    for (Rank r = 1; r < run_.sharding.ranks; ++r) add_to(sums, taken.subspan(r * size, size));
    std::span<const float> systems = sums;
    if (step.round == 0) {
      const std::size_t gram_floats = own_users_gram_.size();
      users_gram_.assign(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(gram_floats));
      systems = systems.subspan(gram_floats);
    }
    for (const RowRange rows : rows_of_round(run_.plan.items, run_.sharding.rank, step.round)) {
      run_.backend.solve_systems({.target = run_.items.table.get(),
                                  .rows = rows,
                                  .systems = systems.first(rows.size() * layout_.floats()),
                                  .counts = std::span(counts_).subspan(rows.begin, rows.size()),
                                  .gram = users_gram_,
                                  .fixed_rows = run_.plan.users.rows,
                                  .objective = run_.objective,
                                  .inner = run_.options.inner,
                                  .cg_steps = run_.options.cg_steps,
                                  .momentum = run_.momentum});
      systems = systems.subspan(rows.size() * layout_.floats());
      run_.items.read_solved(run_.backend, rows);
      run_.items.packed.pack(run_.items.host, rows);
      run_.advance(rows.size());
    }
    round = {};
  }

  Exchange rows(const StepId& step) override { return rows_of_step(run_, step); }
  void install(const StepId& step) override { install_rows_of_round(run_, step); }
  [[nodiscard]] std::vector<TableRows> changed_rows(const StepId& step) const override {
    return own_rows_of_round(run_, step);
  }

  void settle() override {
    begin_sweep(Side::kUsers);
    for (const RowRange rows : run_.users.own) solve_own_rows(run_, Side::kUsers, rows, items_gram_.get(), 0.0);
  }

  [[nodiscard]] MoveFacts facts() const override {
    const CollectiveBytes bytes =
        collective_bytes(run_.plan.users.rows, run_.plan.items.rows, run_.options, run_.sharding.ranks);
    return {
        "summing",
        fmt::format("Gram partials to the owners of items, and an all-gather of items: {} bytes an epoch, and {} of "
                    "users at the end; an all-gather of factors would be {} an epoch",
                    bytes.grams_epoch, bytes.grams_end, bytes.factors_epoch),
        run_.sharding.rounds, load_of({&run_.plan.users, &run_.plan.items}, run_.sharding.ranks), bytes.grams_epoch};
  }

 private:
  /// Partials of a round on their way; held from its sums to its solution.
  struct Round {
    std::vector<std::vector<float>> given;  ///< by owner: in round 0 own users' Gram, then the systems of its rows
    std::vector<float> taken;               ///< of own rows, by rank
  };

  ShardedRun& run_;
  SystemLayout layout_;
  std::vector<EntryIndex> counts_;  ///< of all items, of whole rows
  std::vector<Round> rounds_;
  CompressedMatrix own_users_by_item_;
  std::unique_ptr<Buffer> ratings_;
  std::vector<float> own_users_gram_;  ///< this and the next two of implicit objectives
  std::vector<float> users_gram_;      ///< of all users
  std::unique_ptr<Buffer> items_gram_;
};

}  // namespace

std::unique_ptr<ShardedWay> make_summing_way(ShardedRun& run) {
  return std::make_unique<SummingWay>(run);
}

}  // namespace concerto
