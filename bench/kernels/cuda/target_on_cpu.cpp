// The cpu backend's part of the target (target.hpp): trains 30 epochs and prints the RMSE after each. Its last line is
// the figure that target.hpp stores. Takes minutes at scale 1.
//
//   bench_target_on_cpu DIRECTORY [SCALE]
#include <cstdlib>

#include <fmt/core.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

#include "target.hpp"

int main(int argc, char** argv) {
  using namespace concerto;
  if (argc < 2 || argc > 3) {
    fmt::print(stderr, "usage: bench_target_on_cpu DIRECTORY [SCALE]\n");
    return 2;
  }
  try {
    ThreadPool pool;
    const bench::PlantedOptions options = bench::PlantedOptions{}.scaled(argc > 2 ? std::atof(argv[2]) : 1.0);
    const double true_rmse = bench::prepare_target(options, argv[1], pool);
    const auto backend = make_cpu_backend(pool);
    const bench::TargetRun run = bench::run_target(*backend, argv[1], 0.0, pool);
    fmt::print("entries {}, true rmse {:.6f}\n", run.entries, true_rmse);
    for (std::size_t e = 0; e < run.rmse.size(); ++e) {
      fmt::print("epoch {}: rmse {:.6f}, {:.2f} s\n", e + 1, run.rmse[e], run.epoch_seconds[e]);
    }
    fmt::print("rmse after {} epochs: {:.6f}\n", run.rmse.size(), run.rmse.back());
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return exit_status(error.code());
  }
  return 0;
}
