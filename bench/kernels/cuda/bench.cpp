// Rows of the result, tables of random values, poisoned outputs.
#include "bench.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "probes.hpp"
#include "shadow.hpp"

namespace concerto::bench {
namespace {

// Solvers that start from what stands there must be able to start from it.
constexpr float kPoison = 2.71875F;

json to_json(const Roofline& roofline) {
  json parts;
  for (std::size_t i = 0; i < kRooflineParts.size(); ++i) {
    parts[std::string(kRooflineParts[i]) + "_ms"] = 1e3 * roofline.parts[i];
  }
  return {{"ms", 1e3 * roofline.seconds}, {"bound_by", std::string(roofline.bound_by)}, {"parts", parts}};
}

}  // namespace

const DeviceRatings& Bench::ratings() {
  if (!known_ratings) known_ratings = make_ratings(stream(), backend.pool(), shape);
  return *known_ratings;
}

json to_json(const Timing& timing) {
  return {{"median_ms", timing.median_ms},
          {"least_ms", timing.least_ms},
          {"most_ms", timing.most_ms},
          {"repetitions", timing.repetitions}};
}

json to_json(const Ceilings& ceilings) {
  return {{"copy_bytes_per_s", ceilings.copy},
          {"gather_l2_128_bytes_per_s", ceilings.gather_l2_128},
          {"gather_l2_256_bytes_per_s", ceilings.gather_l2_256},
          {"gather_memory_128_bytes_per_s", ceilings.gather_memory_128},
          {"gather_memory_256_bytes_per_s", ceilings.gather_memory_256},
          {"bf16_flops_per_s", ceilings.bf16_flops},
          {"fp32_flops_per_s", ceilings.fp32_flops},
          {"l2_bytes", ceilings.l2_bytes}};
}

json row(Bench& bench, const std::string& name, const Timing& timing, const Work& work) {
  const Roofline limit = roofline(work, bench.ceilings());
  json result = to_json(timing);
  result["name"] = name;
  result["work"] = {{"stream_bytes", work.stream_bytes}, {"gather_bytes", work.gather_bytes},
                    {"row_bytes", work.row_bytes},       {"table_bytes", work.table_bytes},
                    {"tensor_flops", work.tensor_flops}, {"vector_flops", work.vector_flops}};
  result["roofline"] = to_json(limit);
  result["share_of_roofline"] = timing.median_ms > 0.0 ? 1e3 * limit.seconds / timing.median_ms : 0.0;
  return result;
}

std::unique_ptr<Buffer> random_table(Bench& bench, RowIndex rows, std::uint32_t rank, std::uint64_t seed) {
  auto buffer = bench.backend.create_table({rows, rank, false});
  auto& table = cuda::buffer_as<cuda::TableBuffer>(buffer.get());
  // Ranks here are multiples of 16, so that there is no padding to keep zero.
  CONCERTO_CHECK(table.stride == rank, "a rank that is no multiple of 16");
  fill_random(bench.stream(), table.master.data(), table.master.size(), seed,
              1.5F / std::sqrt(static_cast<float>(rank)));
  cuda::refresh_shadow(bench.stream(), table, {0, rows});
  return buffer;
}

void poison(Bench& bench, Buffer& buffer) {
  auto& table = cuda::buffer_as<cuda::TableBuffer>(&buffer);
  // A piece from here, then on the device what stands there already: tables may be larger than the host's memory.
  const std::size_t size = table.master.size();
  const std::vector<float> values(std::min(size, std::size_t{1} << 12), kPoison);
  cuda::copy_to_device(bench.stream(), table.master.data(), values.data(), values.size() * sizeof(float));
  for (std::size_t done = values.size(); done < size;) {
    const std::size_t next = std::min(done, size - done);
    cuda::copy_on_device(bench.stream(), table.master.data() + done, table.master.data(), next * sizeof(float));
    done += next;
  }
  cuda::refresh_shadow(bench.stream(), table, {0, table.shape.rows});
  bench.stream().wait();
}

void check_written(Bench& bench, const Buffer& buffer, const std::string& what) {
  const auto& table = cuda::buffer_as<cuda::TableBuffer>(&buffer);
  cuda::DeviceArray<std::uint64_t> count(bench.backend.pool(), 1, "a count");
  count_bad(bench.stream(), table.master.data(), table.master.size(), kPoison, count.data());
  std::uint64_t bad = 0;
  cuda::copy_to_host(bench.stream(), &bad, count.data(), sizeof bad);
  bench.stream().wait();
  bench.require(bad == 0, fmt::format("{}: {} values are not written or not finite", what, bad));
}

const std::vector<Step>& all_steps() {
  static const std::vector<Step> steps = {{"ceilings", run_ceilings},
                                          {"als", run_als},
                                          {"sgd", run_sgd},
                                          {"subspace", run_subspace},
                                          {"top_k", run_top_k},
                                          {"build", run_build},
                                          {"loss", run_loss},
                                          {"target", run_target_step},
                                          {"subspace_msd", run_subspace_msd},
                                          {"deterministic", run_deterministic},
                                          {"cholesky", run_cholesky},
                                          {"baselines", run_baselines}};
  return steps;
}

}  // namespace concerto::bench
