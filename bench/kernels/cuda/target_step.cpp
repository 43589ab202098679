// Time to quality on the device (target.hpp): a planted model is prepared on disk, which is not timed, then opened and
// trained until the held-out RMSE is within 1 % of what the cpu backend reaches after 30 epochs of the same.
#include <algorithm>

#include "bench.hpp"
#include "target.hpp"

namespace concerto::bench {

json run_target_step(Bench& bench) {
  bench.known_ratings.reset();
  constexpr double kLeastScale = 0.01;  // below it hardly an entry is held out
  const std::filesystem::path directory = bench.work / "target-data";
  const double true_rmse =
      prepare_target(PlantedOptions{}.scaled(std::max(kLeastScale, bench.scale)), directory, bench.pool);
  const bool is_whole = bench.scale == 1.0;
  const double goal = is_whole ? kTargetTolerance * kCpuRmseAfter30Epochs : 0.0;
  const TargetRun run = run_target(bench.backend, directory, goal, bench.pool);
  std::filesystem::remove_all(directory);
  if (is_whole) bench.require(run.seconds > 0.0, "the RMSE of the cpu backend was not reached within 30 epochs");
  return {{"entries", run.entries},
          {"true_rmse", true_rmse},
          {"cpu_rmse_after_30_epochs", kCpuRmseAfter30Epochs},
          {"goal", goal},
          {"seconds_from_prepared_file", run.seconds},
          {"open_seconds", run.open_seconds},
          {"epoch_seconds", run.epoch_seconds},
          {"rmse", run.rmse},
          {"peak_device_bytes", bench.backend.peak_device_bytes()}};
}

}  // namespace concerto::bench
