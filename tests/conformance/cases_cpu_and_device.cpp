// The cases of conformance_test: the cpu backend with every instruction set of this machine, and the cuda backend where
// the program was built for it and finds a GPU. Without one it says so; CONCERTO_REQUIRE_GPU=1 makes that a failure.
#include <cctype>
#include <cstdlib>
#include <iostream>

#include "concerto/base/thread_pool.hpp"

#include "backends_under_test.hpp"

namespace concerto::test {
namespace {

std::string alphanumeric(std::string name) {
  std::erase_if(name, [](unsigned char c) { return std::isalnum(c) == 0; });
  return name;
}

/// With 1, 2 and 3 threads, whose outcomes must be the same bytes.
Outcome run_on_cpu(const std::string& instruction_set, const Computation& compute) {
  select_cpu_instruction_set(instruction_set);
  Outcome first;
  for (unsigned threads = 1; threads <= 3; ++threads) {
    ThreadPool pool(threads);
    Outcome outcome = compute(*make_cpu_backend(pool));
    if (threads == 1) {
      first = std::move(outcome);
    } else {
      EXPECT_TRUE(same_bytes(first, outcome)) << threads << " threads and 1 thread differ in bytes";
    }
  }
  select_cpu_instruction_set("");
  return first;
}

std::vector<BackendCase> cpu_cases() {
  std::vector<BackendCase> cases;
  for (const std::string& set : cpu_instruction_sets()) {
    const auto run = [set](const Computation& compute) { return run_on_cpu(set, compute); };
    cases.push_back({.name = "Cpu" + alphanumeric(set), .backend = "cpu", .run = run});
  }
  return cases;
}

/// Twice, on one backend that lives as long as the case: making one takes longer than a computation.
BackendCase device_case(std::string name, const CudaOptions& options) {
  const auto made = std::make_shared<std::unique_ptr<Backend>>();
  const auto run = [made, options](const Computation& compute) {
    if (!*made) *made = make_cuda_backend(options);
    Outcome first = compute(**made);
    const Outcome again = compute(**made);
    EXPECT_TRUE(same_bytes(first, again)) << "two runs on the device differ in bytes";
    return first;
  };
  return {.name = std::move(name), .backend = "cuda", .run = run, .gathers_bf16 = options.gather == Gather::kBf16};
}

bool has_device() {
  static const bool has = cuda_obstacle().empty();
  return has;
}

}  // namespace

std::vector<BackendCase> optimized_backends() {
  std::vector<BackendCase> cases = cpu_cases();
  if (has_device()) {
    cases.push_back(device_case("CudaFp32", {.gather = Gather::kFp32}));
    cases.push_back(device_case("CudaBf16", {.gather = Gather::kBf16}));
  }
  return cases;
}

std::vector<BackendCase> sgd_backends() {
  std::vector<BackendCase> cases = cpu_cases();
  if (has_device()) {
    cases.push_back(device_case("CudaDeterministic", {.gather = Gather::kFp32, .deterministic = true}));
  }
  return cases;
}

TEST(Device, HasBeenTested) {
  if (has_device()) return;
  const char* required = std::getenv("CONCERTO_REQUIRE_GPU");
  if (required != nullptr && std::string(required) == "1") {
    FAIL() << "CONCERTO_REQUIRE_GPU=1, but " << cuda_obstacle();
  }
  std::cout << "SKIPPED: cuda conformance: " << cuda_obstacle() << std::endl;
  GTEST_SKIP() << "no GPU";
}

}  // namespace concerto::test
