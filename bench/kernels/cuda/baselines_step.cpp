// The backend beside our own implementations of two published methods (baselines.hpp), in turn, on the same ratings.
//
// ALS is compared at equal loss: both start from the same factors, solve the same objective with three steps of cg, and
// the loss after the same number of iterations is computed by the backend for both.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "baselines.hpp"
#include "bench.hpp"
#include "shadow.hpp"

namespace concerto::bench {
namespace {

constexpr const char* kLabel = "our own implementation of the published method";

Objective alpha_objective() {
  Objective objective;
  objective.kind = ObjectiveKind::kImplicitAlpha;
  objective.confidence = Confidence::kProduct;
  objective.alpha = 1.0;
  objective.regularization = 0.1;
  objective.regularization_exponent = 0.0;
  return objective;
}

class AlsPair {
 public:
  AlsPair(Bench& bench, std::uint32_t rank)
      : bench_(bench),
        rank_(rank),
        gram_(bench.backend.pool(), std::size_t{rank} * rank, "a Gram matrix"),
        dense_(bench.stream()) {
    reset();
  }
  void reset() {
    for (Tables* tables : {&ours_, &theirs_}) {
      tables->users = random_table(bench_, bench_.shape.users, rank_, 61);
      tables->items = random_table(bench_, bench_.shape.items, rank_, 62);
    }
  }
  void our_iteration() {
    our_half(*bench_.ratings().by_item, *ours_.users, *ours_.items, bench_.shape.items);
    our_half(*bench_.ratings().by_user, *ours_.items, *ours_.users, bench_.shape.users);
  }
  void their_iteration() {
    their_half(*bench_.ratings().by_item, *theirs_.users, *theirs_.items);
    their_half(*bench_.ratings().by_user, *theirs_.items, *theirs_.users);
  }
  [[nodiscard]] double our_loss() { return loss(ours_); }
  [[nodiscard]] double their_loss() {
    for (Buffer* buffer : {theirs_.users.get(), theirs_.items.get()}) {
      auto& table = cuda::buffer_as<cuda::TableBuffer>(buffer);
      cuda::refresh_shadow(bench_.stream(), table, {0, table.shape.rows});
    }
    return loss(theirs_);
  }

 private:
  struct Tables {
    std::unique_ptr<Buffer> users;
    std::unique_ptr<Buffer> items;
  };
  void our_half(const Buffer& ratings, const Buffer& fixed, Buffer& target, RowIndex rows) {
    const auto gram = bench_.backend.gram(fixed);
    SolveStep step;
    step.ratings = &ratings;
    step.fixed = &fixed;
    step.gram = gram.get();
    step.target = &target;
    step.rows = {0, rows};
    step.objective = alpha_objective();
    bench_.backend.solve_rows(step);
  }
  void their_half(const cuda::RatingsBuffer& ratings, const Buffer& fixed, Buffer& target) {
    const auto& fixed_table = cuda::buffer_as<cuda::TableBuffer>(&fixed);
    dense_.grams(1, fixed_table.shape.rows, rank_, {fixed_table.master.data(), cuda::Element::kFp32, rank_},
                 gram_.data());
    add_to_diagonal(bench_.stream(), gram_.data(), rank_, static_cast<float>(alpha_objective().regularization));
    MatrixFreeStep step;
    step.ratings = &ratings;
    step.fixed = fixed_table.master.data();
    step.gram = gram_.data();
    step.target = cuda::buffer_as<cuda::TableBuffer>(&target).master.data();
    step.rank = rank_;
    step.multiprocessors = bench_.facts.multiprocessors;
    solve_matrix_free(bench_.stream(), step);
  }
  [[nodiscard]] double loss(const Tables& tables) {
    Backend& backend = bench_.backend;
    const Objective objective = alpha_objective();
    const auto user_gram = backend.gram(*tables.users);
    const auto item_gram = backend.gram(*tables.items);
    const RowRange users{0, bench_.shape.users};
    const RowRange items{0, bench_.shape.items};
    return backend.entry_loss(*bench_.ratings().by_user, users, *tables.users, *tables.items, objective) +
           objective.base_weight() * backend.inner_product(*user_gram, *item_gram) +
           backend.penalty(*bench_.ratings().by_user, users, *tables.users, objective) +
           backend.penalty(*bench_.ratings().by_item, items, *tables.items, objective);
  }

  Bench& bench_;
  std::uint32_t rank_;
  cuda::DeviceArray<float> gram_;
  cuda::Dense dense_;
  Tables ours_;
  Tables theirs_;
};

/// Two programs in turn (A B A B ...); the median of the ratios is the result.
template <class Ours, class Theirs>
json in_turn(Bench& bench, const std::string& name, const Ours& ours, const Theirs& theirs) {
  std::vector<double> our_times;
  std::vector<double> their_times;
  std::vector<double> ratios;
  double spent = 0.0;
  for (unsigned r = 0; r < bench.repeat.repetitions && (r == 0 || spent < 2.0 * bench.repeat.most_ms); ++r) {
    our_times.push_back(time_once(bench.stream(), ours));
    their_times.push_back(time_once(bench.stream(), theirs));
    ratios.push_back(their_times.back() / std::max(1e-9, our_times.back()));
    spent += our_times.back() + their_times.back();
  }
  return {{"name", name},
          {"baseline", kLabel},
          {"ours", to_json(summarize(our_times))},
          {"theirs", to_json(summarize(their_times))},
          {"times_faster", summarize(ratios).median_ms}};
}

json compare_als(Bench& bench, std::uint32_t rank) {
  constexpr int kIterations = 3;
  AlsPair pair(bench, rank);
  for (int i = 0; i < kIterations; ++i) {
    pair.our_iteration();
    pair.their_iteration();
  }
  const double our_loss = pair.our_loss();
  const double their_loss = pair.their_loss();
  const std::string name = fmt::format("ALS iteration beside implicit's method, f = {}", rank);
  json result = in_turn(
      bench, name, [&] { pair.our_iteration(); }, [&] { pair.their_iteration(); });
  result["iterations_before_loss"] = kIterations;
  result["our_loss"] = our_loss;
  result["their_loss"] = their_loss;
  constexpr double kEqual = 0.01;
  bench.require(std::isfinite(our_loss) && std::fabs(our_loss - their_loss) <= kEqual * std::fabs(their_loss),
                fmt::format("{}: losses {} and {} are not equal", name, our_loss, their_loss));
  return result;
}

json compare_sgd(Bench& bench) {
  cuda::MemoryPool& pool = bench.backend.pool();
  std::unique_ptr<Buffer> grid;
  {
    const CompressedMatrix by_user = copy_to_host(bench.stream(), *bench.ratings().by_user);
    const CompressedMatrix by_item = copy_to_host(bench.stream(), *bench.ratings().by_item);
    bench.known_ratings.reset();
    grid = bench.backend.load_grid(by_user.view(), by_item.view());
    bench.stream().wait();
  }
  const auto shuffled = make_shuffled(bench.stream(), pool, bench.shape);
  const auto half_table = [&](RowIndex rows, std::uint64_t seed) {
    cuda::DeviceArray<std::uint16_t> table(pool, std::size_t{rows} * kHogwildRank, "factors in fp16");
    fill_random_half(bench.stream(), table.data(), table.size(), seed, 0.3F);
    return table;
  };
  auto half_users = half_table(bench.shape.users, 71);
  auto half_items = half_table(bench.shape.items, 72);
  constexpr unsigned kWarpsPerMultiprocessor = 52;
  HogwildStep theirs{shuffled.data(),
                     shuffled.size(),
                     half_users.data(),
                     half_items.data(),
                     0.01F,
                     0.05F,
                     1,
                     kWarpsPerMultiprocessor * bench.facts.multiprocessors};
  const auto users = random_table(bench, bench.shape.users, kHogwildRank, 73);
  const auto items = random_table(bench, bench.shape.items, kHogwildRank, 74);
  SgdStep ours;
  ours.grid = grid.get();
  ours.users = users.get();
  ours.items = items.get();
  ours.objective.mean = 3.0;
  ours.rate = 0.01;

  cuda::DeviceArray<double> sum(pool, 1, "a sum");
  const auto their_rmse = [&] {
    double squares = 0.0;
    squared_error(bench.stream(), theirs, sum.data());
    cuda::copy_to_host(bench.stream(), &squares, sum.data(), sizeof squares);
    bench.stream().wait();
    return std::sqrt(squares / static_cast<double>(theirs.entries));
  };
  const double before = their_rmse();
  json result = in_turn(
      bench, "SGD epoch beside cuMF_SGD's method, k = 128",
      [&] {
        bench.backend.sgd_epoch(ours);
        ++ours.epoch;
      },
      [&] {
        hogwild_epoch(bench.stream(), theirs);
        ++theirs.seed;
      });
  const double after = their_rmse();
  result["their_rmse_before"] = before;
  result["their_rmse_after"] = after;
  bench.require(after < before, "SGD beside cuMF_SGD's method: the baseline does not learn");
  check_written(bench, *users, "SGD beside cuMF_SGD's method");
  return result;
}

}  // namespace

json run_baselines(Bench& bench) {
  json rows = json::array();
  for (const std::uint32_t rank : {64U, 128U}) rows.push_back(compare_als(bench, rank));
  rows.push_back(compare_sgd(bench));
  return {{"rows", rows}};
}

}  // namespace concerto::bench
