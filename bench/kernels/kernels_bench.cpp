// The kernels of the cpu backend on one thread, beside what the machine can do: `bench_kernels`. Ceilings are measured
// first (ceilings.hpp) and printed as context; every kernel then reports its rate and its share of the ceiling it
// meets. JSON by Google Benchmark: --benchmark_format=json or --benchmark_out=FILE. Rates count thread CPU time.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "concerto/base/aligned.hpp"
#include "concerto/compute/backends.hpp"

#include "ceilings.hpp"
#include "row_system.hpp"
#include "vector_kernels.hpp"

namespace concerto::bench {
namespace {

constexpr std::size_t kCachedTable = std::size_t{2} << 20;  ///< item rows: in a shared cache
constexpr std::size_t kLargeTable = std::size_t{64} << 20;  ///< user rows: in memory

/// The ceilings, measured at the first use of any.
struct Ceilings {
  double fma = fma_gflops();
  double triad = triad_gbytes();
  double l2 = l2_read_gbytes();
};
const Ceilings& ceilings() {
  static const Ceilings measured;
  return measured;
}

AlignedVector<float> random_floats(std::size_t count) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> draw(-0.1F, 0.1F);
  AlignedVector<float> values(count);
  for (float& value : values) value = draw(random);
  return values;
}

std::size_t argument(const benchmark::State& state, int index) {
  return static_cast<std::size_t>(state.range(index));
}

/// Rates over all iterations: GFLOP/s and their share of the FMA peak.
void count_flops(benchmark::State& state, double flops) {
  const double all = flops * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(all * 1e-9, benchmark::Counter::kIsRate);
  state.counters["%_of_fma"] = benchmark::Counter(all * 1e-7 / ceilings().fma, benchmark::Counter::kIsRate);
}
/// GB/s and their share of `ceiling` GB/s.
void count_bytes(benchmark::State& state, double bytes, const std::string& name, double ceiling) {
  const double all = bytes * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(all * 1e-9, benchmark::Counter::kIsRate);
  state.counters["%_of_" + name] = benchmark::Counter(all * 1e-7 / ceiling, benchmark::Counter::kIsRate);
}

void gram(benchmark::State& state) {
  const std::size_t width = argument(state, 0);
  const std::size_t rows = argument(state, 1);
  const AlignedVector<float> panel = random_floats(rows * width);
  AlignedVector<float> c(width * cpu::system_step(width), 0.0F);
  for (auto _ : state) gram_of_panel(panel.data(), rows, width, c.data(), cpu::system_step(width));
  benchmark::DoNotOptimize(c.data());
  count_flops(state, static_cast<double>(rows * width * (width + 1)));
}
BENCHMARK(gram)->ArgNames({"f", "n"})->ArgsProduct({{32, 64, 96, 128, 256, 512}, {16, 64, 128, 256}});

void weighted_gram(benchmark::State& state) {
  const std::size_t width = argument(state, 0);
  const std::size_t rows = argument(state, 1);
  const AlignedVector<float> panel = random_floats(rows * width);
  const AlignedVector<float> left = random_floats(rows * width);
  AlignedVector<float> c(width * cpu::system_step(width), 0.0F);
  for (auto _ : state) {
    weighted_gram_of_panel(left.data(), panel.data(), rows, width, c.data(), cpu::system_step(width));
  }
  benchmark::DoNotOptimize(c.data());
  count_flops(state, static_cast<double>(rows * width * (width + 1)));
}
BENCHMARK(weighted_gram)->ArgNames({"f", "n"})->ArgsProduct({{64, 128}, {64, 128}});

/// A batch of systems, each copied to the working place as the Gram leaves it there, factored and solved.
void cholesky(benchmark::State& state) {
  const std::size_t width = argument(state, 0);
  const std::size_t step = cpu::system_step(width);
  AlignedVector<float> system = random_floats(width * step);
  for (std::size_t i = 0; i < width; ++i) {
    for (std::size_t j = 0; j < i; ++j) system[i * step + j] = system[j * step + i];
    system[i * step + i] = static_cast<float>(width);
  }
  const AlignedVector<float> right = random_floats(width);
  AlignedVector<float> work(width * step);
  AlignedVector<float> x(width);
  AlignedVector<float> inverses(width * 8);
  for (auto _ : state) {
    std::copy(system.begin(), system.end(), work.begin());
    std::copy(right.begin(), right.end(), x.begin());
    if (!factor_and_solve(work.data(), width, step, inverses.data(), x.data())) {
      state.SkipWithError("not positive definite");
      break;
    }
  }
  const auto f = static_cast<double>(width);
  count_flops(state, f * f * f / 3.0 + 2.0 * f * f);
}
BENCHMARK(cholesky)->ArgName("f")->Arg(16)->Arg(32)->Arg(64)->Arg(96)->Arg(128)->Arg(256)->Arg(512)->Arg(1024);

/// A later pass of CG over rows gathered before, in an L2 cache.
void cg_pass_in_cache(benchmark::State& state) {
  const std::size_t width = argument(state, 0);
  const std::size_t rows = argument(state, 1);
  const AlignedVector<float> panel = random_floats(rows * width);
  const AlignedVector<float> weights = random_floats(rows);
  const AlignedVector<float> x = random_floats(width);
  AlignedVector<float> out(width, 0.0F);
  for (auto _ : state) cg_pass(panel.data(), rows, width, weights.data(), x.data(), out.data());
  benchmark::DoNotOptimize(out.data());
  count_flops(state, 4.0 * static_cast<double>(rows * width));
  count_bytes(state, static_cast<double>(rows * width * sizeof(float)), "l2_read", ceilings().l2);
}
BENCHMARK(cg_pass_in_cache)->ArgNames({"f", "n"})->ArgsProduct({{64, 128, 256}, {64, 512}});

/// The first pass of CG, which gathers: random rows of a table.
void cg_gathering_pass(benchmark::State& state, std::size_t table_bytes) {
  const std::size_t width = argument(state, 0);
  constexpr std::size_t kRows = 512;
  constexpr std::size_t kBatches = 256;
  const std::size_t table_rows = table_bytes / (width * sizeof(float));
  const AlignedVector<float> table = random_floats(table_rows * width);
  std::mt19937_64 random(1);
  std::vector<std::uint32_t> indices(kRows * kBatches);
  for (std::uint32_t& index : indices) index = static_cast<std::uint32_t>(random() % table_rows);
  const AlignedVector<float> weights = random_floats(kRows);
  const AlignedVector<float> x = random_floats(width);
  AlignedVector<float> out(width, 0.0F);
  AlignedVector<float> panel(kRows * width);
  std::size_t batch = 0;
  for (auto _ : state) {
    first_cg_pass(table.data(), indices.data() + batch * kRows, kRows, width, weights.data(), x.data(), out.data(),
                  panel.data());
    batch = (batch + 1) % kBatches;
  }
  benchmark::DoNotOptimize(out.data());
  count_bytes(state, static_cast<double>(kRows * width * sizeof(float)), "row_gather",
              row_gather_gbytes(width, table_bytes));
}
BENCHMARK_CAPTURE(cg_gathering_pass, table_in_cache, kCachedTable)->ArgName("f")->Arg(64)->Arg(128);
BENCHMARK_CAPTURE(cg_gathering_pass, table_in_memory, kLargeTable)->ArgName("f")->Arg(64)->Arg(128);

/// Products of CG directions with Y^T Y, for eight rows side by side.
void gram_products(benchmark::State& state) {
  const std::size_t width = argument(state, 0);
  const AlignedVector<float> matrix = random_floats(width * width);
  const AlignedVector<float> vectors = random_floats(8 * width);
  AlignedVector<float> out(8 * width);
  for (auto _ : state) multiply_vectors(8, vectors.data(), matrix.data(), width, out.data());
  benchmark::DoNotOptimize(out.data());
  count_flops(state, 16.0 * static_cast<double>(width * width));
}
BENCHMARK(gram_products)->ArgName("f")->Arg(64)->Arg(128)->Arg(256)->Arg(512);

}  // namespace
}  // namespace concerto::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const auto& best = concerto::bench::ceilings();
  benchmark::AddCustomContext("instruction_set", concerto::cpu_instruction_sets().front());
  benchmark::AddCustomContext("fma_gflops", std::to_string(best.fma));
  benchmark::AddCustomContext("triad_gbytes", std::to_string(best.triad));
  benchmark::AddCustomContext("l2_read_gbytes", std::to_string(best.l2));
  for (const std::size_t width : {std::size_t{64}, std::size_t{128}}) {
    const std::string suffix = "_f" + std::to_string(width);
    benchmark::AddCustomContext("row_gather_gbytes_in_cache" + suffix,
                                std::to_string(concerto::bench::row_gather_gbytes(width, std::size_t{2} << 20)));
    benchmark::AddCustomContext("row_gather_gbytes_in_memory" + suffix,
                                std::to_string(concerto::bench::row_gather_gbytes(width, std::size_t{64} << 20)));
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
