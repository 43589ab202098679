// The cases of conformance_cuda_on_host_test: the cuda backend's own sources, run by the host machine of support/simt.
//
// Every computation runs under two orders of threads and blocks, which must not show in a byte of the outcome:
// ascending and drawn for one case, descending and drawn for another. More would cost time and find no more.
#include "backends_under_test.hpp"
#include "support/simt/machine.hpp"

namespace concerto::test {
namespace {

/// Two orders of threads, as simt::set_schedule names them.
struct Schedules {
  std::uint64_t first;
  std::uint64_t second;
};

Outcome run_on_host(const CudaOptions& options, const Schedules& schedules, const Computation& compute) {
  simt::set_schedule(schedules.first);
  Outcome outcome = compute(*make_cuda_backend(options));
  simt::set_schedule(schedules.second);
  EXPECT_TRUE(same_bytes(outcome, compute(*make_cuda_backend(options)))) << "the order of threads shows in the bytes";
  simt::set_schedule(0);
  return outcome;
}

BackendCase host_case(std::string name, const CudaOptions& options, const Schedules& schedules) {
  const auto run = [options, schedules](const Computation& compute) {
    return run_on_host(options, schedules, compute);
  };
  return {.name = std::move(name),
          .backend = "cuda",
          .run = run,
          .gathers_bf16 = options.gather == Gather::kBf16,
          .is_slow = true};
}

}  // namespace

std::vector<BackendCase> optimized_backends() {
  return {host_case("CudaFp32", {.gather = Gather::kFp32}, {0, 20231}),
          host_case("CudaBf16", {.gather = Gather::kBf16}, {1, 20232})};
}

std::vector<BackendCase> sgd_backends() {
  return {host_case("CudaDeterministic", {.gather = Gather::kFp32, .deterministic = true}, {0, 20231})};
}

}  // namespace concerto::test
