// A machine in plain C++ that runs CUDA kernels on the host: every thread of a block is a fiber, blocks run one after
// another. It exists so that whole kernels, not only their arithmetic, are tested where there is no GPU.
//
// What it checks beyond results: a barrier or a warp operation that not all threads reach ends the process with the
// places where they wait; shared memory, freshly allocated memory and the target of an asynchronous copy hold NaN until
// they are written; an address that the device would refuse as unaligned is refused. Threads run in an order drawn from
// a seed (set_schedule), so that a missing barrier shows as a result that depends on it. It says nothing about speed,
// and nothing about hardware whose behaviour differs from its manual.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace concerto::simt {

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

/// The order in which threads and blocks run: 0 ascending, 1 descending, else drawn from the seed. Process-wide.
void set_schedule(std::uint64_t seed) noexcept;

/// Runs `body` once as every thread of a grid. Returns when all have ended.
void run_grid(const char* name, Dim3 grid, unsigned block, std::size_t shared_bytes, const std::function<void()>& body);

// -- for kernels, called from inside run_grid only --
[[nodiscard]] const Dim3& thread_index() noexcept;
[[nodiscard]] const Dim3& block_index() noexcept;
[[nodiscard]] const Dim3& block_size() noexcept;
[[nodiscard]] const Dim3& grid_size() noexcept;
[[nodiscard]] std::byte* dynamic_shared() noexcept;

/// Waits for all threads of the block that have not ended.
void block_barrier(const char* where);
constexpr std::size_t kSlotBytes = 64;
struct alignas(16) WarpSlot {
  std::byte bytes[kSlotBytes];
};
/// Waits for the lanes of `mask`; returns what each lane gave, lane l at [l], to be read before this thread's next
/// exchange. `bytes` at most kSlotBytes.
[[nodiscard]] const WarpSlot* warp_exchange(unsigned mask, const char* where, const void* mine, std::size_t bytes);
[[nodiscard]] inline unsigned lane() noexcept {
  return thread_index().x % 32;
}

/// Asynchronous copies of this thread: performed when they are waited for, as late as the device may.
void copy_async(void* to, const void* from, std::size_t bytes, std::size_t from_bytes);
void copy_async_commit();
void copy_async_wait(unsigned groups_in_flight);

/// Ends the process unless `pointer` is a multiple of `alignment`.
void require_aligned(const void* pointer, std::size_t alignment, const char* what);

}  // namespace concerto::simt
