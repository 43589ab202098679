// ALS and subspace: half-sweeps and whole iterations through the backend's own operations.
//
// An iteration is all items, then all users, with the Gram matrices that the objective needs. The memory ratio is the
// most that was held during an iteration, against both orientations and the factors.
#include <fmt/format.h>

#include "bench.hpp"

namespace concerto::bench {
namespace {

struct Side {
  const Buffer* ratings;
  const Buffer* fixed;
  Buffer* target;
  RowIndex rows;
  RowIndex fixed_rows;
};

/// Both tables, the ratings, and the objective of a run.
class Run {
 public:
  Run(Bench& bench, const DeviceRatings& ratings, const RatingsShape& shape, std::uint32_t rank,
      const Objective& objective)
      : bench_(bench),
        shape_(shape),
        rank_(rank),
        objective_(objective),
        users_(random_table(bench, shape.users, rank, 21)),
        items_(random_table(bench, shape.items, rank, 22)),
        user_side_{ratings.by_user.get(), items_.get(), users_.get(), shape.users, shape.items},
        item_side_{ratings.by_item.get(), users_.get(), items_.get(), shape.items, shape.users} {}

  [[nodiscard]] const Side& user_side() const { return user_side_; }
  [[nodiscard]] const Side& item_side() const { return item_side_; }
  [[nodiscard]] Shape shape_of(const Side& side) const { return {side.rows, side.fixed_rows, shape_.entries, rank_}; }
  [[nodiscard]] Work gram_of(const Side& side) const {
    return objective_.is_implicit() ? gram_work(side.fixed_rows, rank_) : Work{};
  }

  void solve(const Side& side, InnerSolver inner) {
    const auto gram = objective_.is_implicit() ? bench_.backend.gram(*side.fixed) : nullptr;
    SolveStep step;
    step.ratings = side.ratings;
    step.fixed = side.fixed;
    step.gram = gram.get();
    step.target = side.target;
    step.rows = {0, side.rows};
    step.objective = objective_;
    step.inner = inner;
    bench_.backend.solve_rows(step);
  }
  void solve_slices(const Side& side, std::uint32_t slice) {
    const auto gram = objective_.is_implicit() ? bench_.backend.gram(*side.fixed) : nullptr;
    SubspaceStep step;
    step.ratings = side.ratings;
    step.fixed = side.fixed;
    step.gram = gram.get();
    step.target = side.target;
    step.rows = {0, side.rows};
    step.objective = objective_;
    step.slice = slice;
    bench_.backend.solve_slices(step);
  }

  /// Times a half-sweep of each side and both together; `half` solves one side, `work` says what that needs.
  template <class Half, class WorkOf>
  [[nodiscard]] json measure(const std::string& name, const Half& half, const WorkOf& work) {
    const auto both = [&] {
      half(item_side_);
      half(user_side_);
    };
    for (const Side* side : {&item_side_, &user_side_}) {
      poison(bench_, *side->target);
      half(*side);
      check_written(bench_, *side->target, name);
    }
    bench_.backend.pool().reset_peak();
    both();
    bench_.stream().wait();
    const std::uint64_t peak = bench_.backend.pool().peak_bytes();
    json rows = json::array();
    const auto time = [&](const Side& side) { return time_on(bench_.stream(), bench_.repeat, [&] { half(side); }); };
    rows.push_back(row(bench_, name + ", items", time(item_side_), work(item_side_)));
    rows.push_back(row(bench_, name + ", users", time(user_side_), work(user_side_)));
    rows.push_back(row(bench_, name + ", iteration", time_on(bench_.stream(), bench_.repeat, both),
                       work(item_side_) + work(user_side_)));
    check_written(bench_, *users_, name);
    check_written(bench_, *items_, name);
    const double needed = orientations_bytes(shape_.users, shape_.items, shape_.entries) +
                          factors_bytes(shape_.users, shape_.items, rank_);
    rows.back()["peak_bytes"] = peak;
    rows.back()["peak_over_orientations_and_factors"] = static_cast<double>(peak) / needed;
    return rows;
  }

 private:
  Bench& bench_;
  const RatingsShape& shape_;
  std::uint32_t rank_;
  Objective objective_;
  std::unique_ptr<Buffer> users_;
  std::unique_ptr<Buffer> items_;
  Side user_side_;
  Side item_side_;
};

Objective explicit_objective() {
  Objective objective;
  objective.mean = 3.0;
  return objective;
}
Objective implicit_objective() {
  Objective objective;
  objective.kind = ObjectiveKind::kImplicitUnobserved;
  objective.regularization = 0.003;
  return objective;
}

void append(json& rows, const json& more) {
  for (const json& row : more) rows.push_back(row);
}

json run_solver(Bench& bench, InnerSolver inner, const char* name) {
  constexpr std::uint32_t kCgSteps = 3;
  json rows = json::array();
  for (const Objective& objective : {explicit_objective(), implicit_objective()}) {
    for (const std::uint32_t rank : {64U, 128U}) {
      Run run(bench, bench.ratings(), bench.shape, rank, objective);
      append(rows,
             run.measure(
                 fmt::format("{} {}, f = {}", name, objective.is_implicit() ? "implicit" : "explicit", rank),
                 [&](const Side& side) { run.solve(side, inner); },
                 [&](const Side& side) { return als_work(run.shape_of(side), inner, kCgSteps) + run.gram_of(side); }));
    }
  }
  return {{"rows", rows}};
}

json run_slices(Bench& bench, const std::string& name, const DeviceRatings& ratings, const RatingsShape& shape,
                std::uint32_t rank, std::uint32_t slice, const Objective& objective) {
  Run run(bench, ratings, shape, rank, objective);
  return run.measure(
      fmt::format("{}, f = {}, slices of {}", name, rank, slice),
      [&](const Side& side) { run.solve_slices(side, slice); },
      [&](const Side& side) {
        Work work = subspace_work(run.shape_of(side), slice) + run.gram_of(side);
        if (objective.is_implicit()) work = work + gram_product_work(side.rows, rank);
        return work;
      });
}

/// Implicit feedback in the shape of a published data set, in slices of 128 columns, repeated as `repeat` says.
json run_clicks(Bench& bench, const std::string& name, const RatingsShape& whole, std::uint32_t whole_rank,
                Repeat repeat) {
  RatingsShape shape = whole;
  shape.users = std::max(16U, static_cast<RowIndex>(whole.users * bench.scale));
  shape.items = std::max(16U, static_cast<RowIndex>(whole.items * bench.scale));
  shape.entries =
      std::max<EntryIndex>(64, static_cast<EntryIndex>(static_cast<double>(whole.entries) * bench.scale * bench.scale));
  const std::uint32_t rank = bench.scale < 0.5 ? 256 : whole_rank;
  const DeviceRatings ratings = make_ratings(bench.stream(), bench.backend.pool(), shape);
  repeat.most_ms = bench.repeat.most_ms;
  std::swap(repeat, bench.repeat);
  const json rows = run_slices(bench, name, ratings, shape, rank, 128, implicit_objective());
  std::swap(repeat, bench.repeat);
  return rows;
}

}  // namespace

json run_als(Bench& bench) {
  return run_solver(bench, InnerSolver::kCg, "als, cg");
}

json run_cholesky(Bench& bench) {
  return run_solver(bench, InnerSolver::kCholesky, "als, cholesky");
}

json run_subspace(Bench& bench) {
  json rows = json::array();
  for (const std::uint32_t rank : {64U, 128U}) {
    append(rows,
           run_slices(bench, "subspace explicit", bench.ratings(), bench.shape, rank, rank / 2, explicit_objective()));
  }
  bench.known_ratings.reset();
  // MovieLens-20M's shape with the ratings of 4 and 5, at the rank of the published quality.
  append(rows, run_clicks(bench, "subspace implicit, ML-20M's shape", {138493, 26744, 9990030}, 2048, {1, 3}));
  return {{"rows", rows}};
}

/// The shape of the Million Song Dataset's taste profiles, at the rank of the published quality. Factors and their bf16
/// copies take 30 GB, and an epoch seconds: each half-sweep is run six times in all.
json run_subspace_msd(Bench& bench) {
  bench.known_ratings.reset();
  return {{"rows", run_clicks(bench, "subspace implicit, MSD's shape", {571355, 41140, 33633450}, 8192,
                              {.warmups = 0, .repetitions = 2})}};
}

}  // namespace concerto::bench
