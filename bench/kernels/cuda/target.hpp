// Time to quality: from a prepared file with a planted model to within 1 % of the RMSE that the same configuration
// reaches after 30 epochs on the cpu backend. The same functions run on both backends; nothing here knows a device.
#pragma once

#include <filesystem>
#include <vector>

#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backend.hpp"

#include "planted.hpp"

namespace concerto::bench {

/// Test RMSE after 30 epochs of the configuration below on the cpu backend, on the whole data (scale 1): printed by
/// bench_target_on_cpu.
inline constexpr double kCpuRmseAfter30Epochs = 0.690286;
inline constexpr unsigned kTargetEpochs = 30;
inline constexpr double kTargetTolerance = 1.01;

/// Writes the prepared directory (replacing it) and gives the true factors' RMSE.
double prepare_target(const PlantedOptions& options, const std::filesystem::path& directory, ThreadPool& pool);

struct TargetRun {
  double open_seconds = 0.0;          ///< mapping and verifying the prepared directory
  double seconds = 0.0;               ///< from the start to the first epoch whose RMSE reached the goal; 0: never
  std::vector<double> rmse;           ///< on the held-out part, an epoch each
  std::vector<double> epoch_seconds;  ///< training alone
  EntryIndex entries = 0;
};
/// Opens the directory and trains (als, cg, f = 64, regularization 0.05) until the RMSE is at most `goal`, or for
/// kTargetEpochs epochs.
[[nodiscard]] TargetRun run_target(Backend& backend, const std::filesystem::path& directory, double goal,
                                   ThreadPool& pool);

}  // namespace concerto::bench
