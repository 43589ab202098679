// How a backend is made. Each function lives in the library of its backend; only src/app calls them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/compute/sgd_order.hpp"

namespace concerto {

/// The specification: serial, double accumulation. `limits`: those of the backend whose SGD it is compared with.
[[nodiscard]] std::unique_ptr<Backend> make_reference_backend(const SgdLimits& limits = {});

/// Threads and SIMD. `pool` must outlive the backend.
[[nodiscard]] std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool);

/// Working memory of the cpu backend beyond ratings and tables: Grams, per-thread scratch, SGD grid. Bytes.
[[nodiscard]] std::uint64_t cpu_working_bytes(const MemoryShape& shape);

/// In which precision the cuda backend reads the fixed side of a step: bf16 halves the bytes; fp32 is the whole value.
enum class Gather : std::uint8_t { kBf16, kFp32 };

struct CudaOptions {
  Gather gather = Gather::kBf16;
  bool deterministic = false;            ///< no float atomics, fixed order: the same bytes each time
  std::uint64_t memory_limit_bytes = 0;  ///< of GPU memory; 0: what the GPU has
};

/// Whether the cuda backend can run here: "" if so, else why not, in a few words ("this machine has no NVIDIA driver").
/// A program built without CUDA says so.
[[nodiscard]] std::string cuda_obstacle();
/// One GPU. Error{kUnsupported} saying cuda_obstacle() where there is one.
[[nodiscard]] std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);
/// Into how many blocks the cuda backend cuts for SGD, on any device, so that its order does not depend on the device.
/// The blocks of a stratum run at the same time: one for each of the 132 multiprocessors of an H100 or H200 as soon as
/// that leaves a block 256 entries (from 4.5 million entries on), two of them from a billion entries on. More blocks
/// cost: at 99 million ratings of 480,189 users, 132 blocks a side leave runs of about two entries of one user.
[[nodiscard]] constexpr SgdLimits cuda_sgd_limits() noexcept {
  return {.entries_per_block = 16384, .few_blocks_per_side = 132, .min_block_entries = 256, .max_blocks_per_side = 264};
}
/// GPU memory that a run takes: ratings, tables, scratch; and what the GPU has left now. Bytes. Without a GPU 0.
[[nodiscard]] std::uint64_t cuda_device_bytes(const MemoryShape& shape, Gather gather);
/// Host memory that the cuda backend takes beyond the caller's ratings and tables: offsets, plans, an SGD grid while it
/// is made. Bytes.
[[nodiscard]] std::uint64_t cuda_host_bytes(const MemoryShape& shape);
[[nodiscard]] std::uint64_t cuda_available_bytes();

/// The vector instruction sets that this processor offers and the cpu backend was built for, best first ("AVX3",
/// "AVX2", ...), and a switch to one of them for tests ("" = best). Not thread-safe; process-wide.
[[nodiscard]] std::vector<std::string> cpu_instruction_sets();
void select_cpu_instruction_set(const std::string& name);

}  // namespace concerto
