// SGD epochs, batch top-k and the loss, through the backend's own operations.
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "bench.hpp"

namespace concerto::bench {
namespace {

Objective explicit_objective() {
  Objective objective;
  objective.mean = 3.0;
  return objective;
}

Shape user_shape(const Bench& bench, std::uint32_t rank) {
  return {bench.shape.users, bench.shape.items, bench.shape.entries, rank};
}

}  // namespace

json run_sgd(Bench& bench) {
  json rows = json::array();
  const CompressedMatrix by_user = copy_to_host(bench.stream(), *bench.ratings().by_user);
  const CompressedMatrix by_item = copy_to_host(bench.stream(), *bench.ratings().by_item);
  bench.known_ratings.reset();
  std::unique_ptr<Buffer> grid;
  const double grid_ms =
      time_once(bench.stream(), [&] { grid = bench.backend.load_grid(by_user.view(), by_item.view()); });
  for (const std::uint32_t rank : {64U, 128U}) {
    const auto users = random_table(bench, bench.shape.users, rank, 31);
    const auto items = random_table(bench, bench.shape.items, rank, 32);
    SgdStep step;
    step.grid = grid.get();
    step.users = users.get();
    step.items = items.get();
    step.objective = explicit_objective();
    step.rate = 0.01;
    const auto epoch = [&] {
      bench.backend.sgd_epoch(step);
      ++step.epoch;
    };
    const std::string name = fmt::format("sgd epoch, k = {}", rank);
    bench.backend.pool().reset_peak();
    epoch();
    const double loss = bench.backend.grid_loss(*grid, *users, *items, step.objective);
    bench.require(std::isfinite(loss), name + ": the loss is not finite");
    const auto peak = static_cast<double>(bench.backend.pool().peak_bytes());
    rows.push_back(row(bench, name, time_on(bench.stream(), bench.repeat, epoch), sgd_work(user_shape(bench, rank))));
    rows.back()["updates_per_s"] =
        static_cast<double>(bench.shape.entries) / (1e-3 * rows.back()["median_ms"].get<double>());
    rows.back()["peak_bytes"] = peak;
    rows.back()["peak_over_orientations_and_factors"] =
        peak / (orientations_bytes(bench.shape.users, bench.shape.items, bench.shape.entries) +
                factors_bytes(bench.shape.users, bench.shape.items, rank));
    check_written(bench, *users, name);
    check_written(bench, *items, name);
  }
  return {{"rows", rows}, {"load_grid_ms", grid_ms}};
}

json run_top_k(Bench& bench) {
  constexpr std::uint32_t kCount = 100;
  json rows = json::array();
  const CompressedMatrix by_user = copy_to_host(bench.stream(), *bench.ratings().by_user);
  bench.known_ratings.reset();
  const CompressedRows seen = by_user.view();
  std::vector<RowIndex> everyone(bench.shape.users);
  std::iota(everyone.begin(), everyone.end(), 0U);
  for (const std::uint32_t rank : {64U, 128U}) {
    const auto users = random_table(bench, bench.shape.users, rank, 41);
    const auto items = random_table(bench, bench.shape.items, rank, 42);
    for (const bool excludes : {false, true}) {
      TopKQuery query;
      query.queries = users.get();
      query.rows = everyone;
      query.candidates = items.get();
      query.exclude = excludes ? &seen : nullptr;
      query.k = std::min(kCount, bench.shape.items);
      TopKResult result;
      const std::string name =
          fmt::format("top-{} of all users{}, f = {}", query.k, excludes ? " without seen items" : "", rank);
      const Timing timing = time_on(bench.stream(), bench.repeat, [&] { result = bench.backend.top_k(query); });
      Shape shape = user_shape(bench, rank);
      if (!excludes) shape.entries = 0;
      rows.push_back(row(bench, name + ", results on the host", timing, top_k_work(shape, query.k)));
      std::size_t bad = 0;
      for (std::size_t i = 0; i < result.candidates.size(); ++i) {
        const bool is_missing = result.candidates[i] == kNoRow;
        const bool is_ordered = i % query.k == 0 || result.scores[i] <= result.scores[i - 1];
        if ((is_missing && !excludes) || (!is_missing && !std::isfinite(result.scores[i])) || !is_ordered) ++bad;
      }
      bench.require(result.candidates.size() == everyone.size() * query.k && bad == 0,
                    fmt::format("{}: {} places are wrong", name, bad));
    }
  }
  return {{"rows", rows}};
}

json run_loss(Bench& bench) {
  json rows = json::array();
  const DeviceRatings& ratings = bench.ratings();
  for (const std::uint32_t rank : {64U, 128U}) {
    const auto users = random_table(bench, bench.shape.users, rank, 51);
    const auto items = random_table(bench, bench.shape.items, rank, 52);
    const RowRange all{0, bench.shape.users};
    double loss = 0.0;
    const auto measure = [&](const std::string& what, const Work& work, const auto& body) {
      const std::string name = fmt::format("{}, f = {}", what, rank);
      rows.push_back(row(bench, name, time_on(bench.stream(), bench.repeat, body), work));
      bench.require(std::isfinite(loss) && loss > 0.0, name + ": the sum is not a positive number");
    };
    measure("loss of all entries", entry_loss_work(user_shape(bench, rank)),
            [&] { loss = bench.backend.entry_loss(*ratings.by_user, all, *users, *items, explicit_objective()); });
    const double table_bytes = static_cast<double>(bench.shape.users) * rank * kMasterBytes;
    measure("penalty of the users", {.stream_bytes = table_bytes, .vector_flops = 0.5 * table_bytes},
            [&] { loss = bench.backend.penalty(*ratings.by_user, all, *users, explicit_objective()); });
    measure("Gram matrix of the users", gram_work(bench.shape.users, rank), [&] {
      const auto gram = bench.backend.gram(*users);
      loss = 1.0;
    });
  }
  return {{"rows", rows}};
}

}  // namespace concerto::bench
