// How a backend is made. Each function lives in the library of its backend; only src/app calls them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backend.hpp"

namespace concerto {

/// The specification: serial, double accumulation.
[[nodiscard]] std::unique_ptr<Backend> make_reference_backend();

/// Threads and SIMD. `pool` must outlive the backend.
[[nodiscard]] std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool);

/// Working memory of the cpu backend beyond ratings and tables: Grams, per-thread scratch, SGD grid. Bytes.
[[nodiscard]] std::uint64_t cpu_working_bytes(const MemoryShape& shape);

/// The vector instruction sets that this processor offers and the cpu backend was built for, best first ("AVX3",
/// "AVX2", ...), and a switch to one of them for tests ("" = best). Not thread-safe; process-wide.
[[nodiscard]] std::vector<std::string> cpu_instruction_sets();
void select_cpu_instruction_set(const std::string& name);

}  // namespace concerto
