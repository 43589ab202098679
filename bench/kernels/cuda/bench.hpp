// What the steps of bench_cuda share: the backend that is measured, the shape it is measured on, and how a row of the
// result is made. A step measures, checks what was computed, and returns JSON; it neither prints nor writes files.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "concerto/base/thread_pool.hpp"

#include "costs.hpp"
#include "cuda_backend.hpp"
#include "device_ratings.hpp"
#include "timing.hpp"

namespace concerto::bench {

using nlohmann::json;

struct Bench {
  cuda::CudaBackend& backend;
  cuda::DeviceFacts facts;
  ThreadPool& pool;
  RatingsShape shape;
  double scale = 1.0;
  std::filesystem::path work;  ///< for files of the target step
  Repeat repeat;
  std::optional<Ceilings> known_ceilings;
  std::optional<DeviceRatings> known_ratings;
  std::vector<std::string> problems;  ///< what was computed and is wrong; a step with problems has failed

  /// Measured the first time they are asked for.
  [[nodiscard]] const Ceilings& ceilings();
  [[nodiscard]] const DeviceRatings& ratings();
  [[nodiscard]] const cuda::Stream& stream() const { return backend.stream(); }
  void require(bool holds, const std::string& what) {
    if (!holds) problems.push_back(what);
  }
};

[[nodiscard]] json to_json(const Timing& timing);
[[nodiscard]] json to_json(const Ceilings& ceilings);
/// A measured kernel: its times, what it needs (Work), and its share of the roofline.
[[nodiscard]] json row(Bench& bench, const std::string& name, const Timing& timing, const Work& work);

/// A table of random values of the scale of trained factors.
[[nodiscard]] std::unique_ptr<Buffer> random_table(Bench& bench, RowIndex rows, std::uint32_t rank, std::uint64_t seed);
/// Fills the master with a finite value that no solver leaves; `check_written` then finds rows that were not written,
/// and values that are not finite, and notes them as a problem. The table has no empty rows under the shapes used here.
void poison(Bench& bench, Buffer& table);
void check_written(Bench& bench, const Buffer& table, const std::string& what);

// The steps. Each file of steps says what it measures.
[[nodiscard]] json run_ceilings(Bench& bench);
[[nodiscard]] json run_als(Bench& bench);
[[nodiscard]] json run_cholesky(Bench& bench);
[[nodiscard]] json run_subspace(Bench& bench);
[[nodiscard]] json run_subspace_msd(Bench& bench);
[[nodiscard]] json run_sgd(Bench& bench);
[[nodiscard]] json run_deterministic(Bench& bench);
[[nodiscard]] json run_top_k(Bench& bench);
[[nodiscard]] json run_loss(Bench& bench);
[[nodiscard]] json run_build(Bench& bench);
[[nodiscard]] json run_baselines(Bench& bench);
[[nodiscard]] json run_target_step(Bench& bench);

struct Step {
  const char* name;
  json (*run)(Bench&);
};
/// In the order in which they run when all are asked for: what matters most first.
[[nodiscard]] const std::vector<Step>& all_steps();

}  // namespace concerto::bench
