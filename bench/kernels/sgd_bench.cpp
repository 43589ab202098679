// SGD epochs, measures and ranking on the cpu backend: updates, products and lists a second.
//
// Data: `small` has the shape of MovieLens 1M, `large` is 100,000 x 10,000 with 9 million entries. Arguments are the
// data (0 small, 1 large), the rank and the threads.
#include <numeric>

#include <benchmark/benchmark.h>

#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backends.hpp"

#include "zipf_ratings.hpp"

namespace concerto::bench {
namespace {

const ZipfRatings& ratings_of(std::int64_t data) {
  static const ZipfRatings small = zipf_ratings(6040, 3706, 900'000);
  if (data == 0) return small;
  static const ZipfRatings large = zipf_ratings(100'000, 10'000, 9'000'000);
  return large;
}

/// Backend and random tables for a benchmark's arguments.
struct Workload {
  explicit Workload(const benchmark::State& state)
      : ratings(ratings_of(state.range(0))),
        pool(static_cast<unsigned>(state.range(2))),
        backend(make_cpu_backend(pool)) {
    const auto rank = static_cast<std::uint32_t>(state.range(1));
    users = random_table({ratings.by_user.rows, rank, true}, Side::kUsers);
    items = random_table({ratings.by_item.rows, rank, true}, Side::kItems);
  }
  std::unique_ptr<Buffer> random_table(const TableShape& shape, Side side) {
    FactorTable table(shape);
    initialize(table, side, 1, 0.1);
    auto buffer = backend->create_table(shape);
    backend->write_rows(*buffer, {0, shape.rows}, table);
    return buffer;
  }
  const ZipfRatings& ratings;
  ThreadPool pool;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Buffer> users;
  std::unique_ptr<Buffer> items;
};

benchmark::Counter rate(double count) {
  return {count, benchmark::Counter::kIsIterationInvariantRate};
}

void sgd_epoch(benchmark::State& state) {
  Workload work(state);
  const auto grid = work.backend->load_grid(work.ratings.by_user.view(), work.ratings.by_item.view());
  SgdStep step;
  step.grid = grid.get();
  step.users = work.users.get();
  step.items = work.items.get();
  step.objective.biases = true;
  step.objective.mean = 3.0;
  for (auto _ : state) {
    work.backend->sgd_epoch(step);
    ++step.epoch;
  }
  state.counters["updates"] = rate(static_cast<double>(work.ratings.by_user.columns.size()));
}
BENCHMARK(sgd_epoch)->ArgsProduct({{0, 1}, {64, 128}, {1, 2}})->UseRealTime()->Unit(benchmark::kMillisecond);

void entry_loss(benchmark::State& state) {
  Workload work(state);
  const auto by_user = work.backend->load_ratings(work.ratings.by_user.view());
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        work.backend->entry_loss(*by_user, {0, work.ratings.by_user.rows}, *work.users, *work.items, Objective{}));
  }
  const auto entries = static_cast<double>(work.ratings.by_user.columns.size());
  state.counters["entries"] = rate(entries);
  state.counters["gathered_bytes"] = rate(entries * static_cast<double>(state.range(1)) * sizeof(float));
}
BENCHMARK(entry_loss)->ArgsProduct({{1}, {64, 128}, {1, 2}})->UseRealTime()->Unit(benchmark::kMillisecond);

void top_k(benchmark::State& state) {
  Workload work(state);
  const CompressedRows exclude = work.ratings.by_user.view();
  std::vector<RowIndex> rows(std::min<RowIndex>(exclude.rows, 8192));
  std::iota(rows.begin(), rows.end(), 0U);
  TopKQuery query;
  query.queries = work.users.get();
  query.rows = rows;
  query.candidates = work.items.get();
  query.exclude = &exclude;
  query.k = 100;
  for (auto _ : state) benchmark::DoNotOptimize(work.backend->top_k(query));
  const auto lists = static_cast<double>(rows.size());
  state.counters["lists"] = rate(lists);
  state.counters["flops"] = rate(2.0 * lists * exclude.column_count * static_cast<double>(state.range(1)));
}
BENCHMARK(top_k)->ArgsProduct({{0, 1}, {64, 128}, {1, 2}})->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace concerto::bench
