// Fibers, barriers and warp exchanges of the host machine. Fibers are Boost.Context's; the sanitizers are told of every
// switch.
#include "machine.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include <boost/context/detail/fcontext.hpp>

#include "concerto/base/rng.hpp"

#include "sanitizer_fibers.hpp"

namespace concerto::simt {
namespace {

constexpr std::size_t kStackBytes = std::size_t{256} << 10;
constexpr std::size_t kMostThreads = 1024;
constexpr std::size_t kSharedBytes = std::size_t{228} << 10;
/// Bytes behind what a kernel asked for, which it must leave alone.
constexpr std::size_t kFenceBytes = 4096;
constexpr std::byte kFence{0xa5};

enum class State : std::uint8_t { kReady, kBarrier, kWarp, kEnded };

struct PendingCopy {
  void* to;
  const void* from;
  std::size_t bytes;
  std::size_t from_bytes;
  unsigned group;
};

struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;
  SanitizerFiber sanitizer;
  Dim3 index;
  State state = State::kEnded;
  const char* where = "";
  std::vector<PendingCopy> copies;
  unsigned group = 0;
};

/// What the lanes of one warp bring to an exchange. Two sets of slots: a lane may write the next exchange's slot while
/// others still read this one's, but cannot get further ahead.
struct Warp {
  std::array<std::array<WarpSlot, 32>, 2> slots;
  unsigned arrived = 0;
  unsigned mask = 0;
  unsigned generation = 0;
  const char* where = "";
};

struct Machine {
  std::unique_ptr<std::byte[]> stacks{new std::byte[kMostThreads * kStackBytes]};
  std::array<Fiber, kMostThreads> fibers;
  std::array<Warp, kMostThreads / 32> warps;
  alignas(128) std::array<std::byte, kSharedBytes + kFenceBytes> shared;
  boost::context::detail::fcontext_t scheduler = nullptr;
  SanitizerFiber scheduler_sanitizer;
  const std::function<void()>* body = nullptr;
  const char* name = "";
  Dim3 block;
  Dim3 grid;
  Dim3 block_size;
  std::size_t current = 0;
  std::size_t threads = 0;
  std::size_t shared_bytes = 0;
  std::size_t alive = 0;
  std::size_t at_barrier = 0;
};

thread_local std::unique_ptr<Machine> owned_machine;
constinit thread_local Machine* machine = nullptr;  // read at every step of every thread
std::uint64_t schedule = 0;

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "kernel %s, block (%u, %u): %s\n", machine->name, machine->block.x, machine->block.y, what);
  for (std::size_t t = 0; t < machine->threads; ++t) {
    const Fiber& fiber = machine->fibers[t];
    if (fiber.state == State::kBarrier || fiber.state == State::kWarp) {
      std::fprintf(stderr, "  thread %zu waits at %s\n", t, fiber.where);
    } else {
      std::fprintf(stderr, "  thread %zu has ended\n", t);
    }
  }
  std::abort();
}

void switch_to_scheduler(Fiber& self, bool ends) {
  self.sanitizer.leave(machine->scheduler_sanitizer, ends);
  machine->scheduler = boost::context::detail::jump_fcontext(machine->scheduler, nullptr).fctx;
  self.sanitizer.arrive();
}

Fiber& current() noexcept {
  return machine->fibers[machine->current];
}

void perform(const PendingCopy& copy) {
  std::memcpy(copy.to, copy.from, copy.from_bytes);
  std::memset(static_cast<std::byte*>(copy.to) + copy.from_bytes, 0, copy.bytes - copy.from_bytes);
}

void fiber_main(boost::context::detail::transfer_t from) {
  machine->scheduler = from.fctx;
  current().sanitizer.arrive();
  (*machine->body)();
  Fiber& self = current();
  for (const PendingCopy& copy : self.copies) perform(copy);
  self.copies.clear();
  self.state = State::kEnded;
  switch_to_scheduler(self, true);
}

void resume(std::size_t thread) {
  machine->current = thread;
  Fiber& fiber = machine->fibers[thread];
  machine->scheduler_sanitizer.leave(fiber.sanitizer, false);
  fiber.context = boost::context::detail::jump_fcontext(fiber.context, nullptr).fctx;
  machine->scheduler_sanitizer.arrive();
  if (fiber.state == State::kEnded) {
    --machine->alive;
    fiber.sanitizer.end();
  }
}

void release_barrier() {
  if (machine->alive == 0 || machine->at_barrier != machine->alive) return;
  for (std::size_t t = 0; t < machine->threads; ++t) {
    if (machine->fibers[t].state == State::kBarrier) machine->fibers[t].state = State::kReady;
  }
  machine->at_barrier = 0;
}

void order(std::vector<std::uint32_t>& places, std::uint64_t stream) {
  std::iota(places.begin(), places.end(), 0U);
  if (schedule == 1) std::reverse(places.begin(), places.end());
  if (schedule > 1) places = random_permutation(static_cast<std::uint32_t>(places.size()), schedule, stream);
}

void run_block(Dim3 block, std::uint64_t stream) {
  machine->block = block;
  std::memset(machine->shared.data(), 0xff, machine->shared_bytes);
  const auto fence = machine->shared.begin() + static_cast<std::ptrdiff_t>(machine->shared_bytes);
  std::fill_n(fence, kFenceBytes, kFence);
  machine->alive = machine->threads;
  machine->at_barrier = 0;
  for (Warp& warp : machine->warps) warp.arrived = 0;
  for (std::size_t t = 0; t < machine->threads; ++t) {
    Fiber& fiber = machine->fibers[t];
    std::byte* stack = machine->stacks.get() + t * kStackBytes;
    fiber.index = {static_cast<unsigned>(t), 0, 0};
    fiber.state = State::kReady;
    fiber.group = 0;
    fiber.sanitizer.begin(stack, kStackBytes);
    fiber.sanitizer.learns_of(machine->scheduler_sanitizer);
    fiber.context = boost::context::detail::make_fcontext(stack + kStackBytes, kStackBytes, fiber_main);
  }
  std::vector<std::uint32_t> places(machine->threads);
  order(places, stream);
  while (machine->alive > 0) {
    bool moved = false;
    for (const std::uint32_t t : places) {
      if (machine->fibers[t].state != State::kReady) continue;
      resume(t);
      moved = true;
    }
    release_barrier();
    const auto end = machine->fibers.begin() + static_cast<std::ptrdiff_t>(machine->threads);
    const bool any = std::any_of(machine->fibers.begin(), end, [](const Fiber& f) { return f.state == State::kReady; });
    if (machine->alive > 0 && !moved && !any) stop("threads wait for each other without end");
  }
  if (!std::all_of(fence, fence + kFenceBytes, [](std::byte b) { return b == kFence; })) {
    stop("it wrote behind the shared memory that it asked for");
  }
}

}  // namespace

void set_schedule(std::uint64_t seed) noexcept {
  schedule = seed;
}

void run_grid(const char* name, Dim3 grid, unsigned block, std::size_t shared_bytes,
              const std::function<void()>& body) {
  if (machine == nullptr) {
    owned_machine = std::make_unique<Machine>();
    machine = owned_machine.get();
  }
  machine->name = name;
  machine->body = &body;
  machine->grid = grid;
  machine->block_size = {block, 1, 1};
  machine->threads = block;
  machine->shared_bytes = shared_bytes;
  if (block == 0 || block > kMostThreads || grid.x == 0 || grid.y == 0 || shared_bytes + 1024 > kSharedBytes) {
    std::fprintf(stderr, "kernel %s: no device runs a grid of %u x %u blocks of %u threads with %zu shared bytes\n",
                 name, grid.x, grid.y, block, shared_bytes);
    std::abort();
  }
  machine->scheduler_sanitizer.begin_scheduler();
  std::vector<std::uint32_t> places(std::size_t{grid.x} * grid.y);
  order(places, 1);
  for (const std::uint32_t place : places) run_block({place % grid.x, place / grid.x, 0}, 2 + place);
}

const Dim3& thread_index() noexcept {
  return current().index;
}
const Dim3& block_index() noexcept {
  return machine->block;
}
const Dim3& block_size() noexcept {
  return machine->block_size;
}
const Dim3& grid_size() noexcept {
  return machine->grid;
}
std::byte* dynamic_shared() noexcept {
  return machine->shared.data();
}

void block_barrier(const char* where) {
  Fiber& self = current();
  self.where = where;
  self.state = State::kBarrier;
  ++machine->at_barrier;
  switch_to_scheduler(self, false);
}

const WarpSlot* warp_exchange(unsigned mask, const char* where, const void* mine, std::size_t bytes) {
  Fiber& self = current();
  const std::size_t first = machine->current / 32 * 32;
  const unsigned lane = machine->current % 32;
  Warp& warp = machine->warps[first / 32];
  self.where = where;
  if (bytes > kSlotBytes) stop("an exchange of more bytes than a slot has");
  if ((mask >> lane & 1U) == 0) stop("a lane that its own mask leaves out");
  if (warp.arrived == 0) {
    warp.mask = mask;
    warp.where = where;
  } else if (warp.mask != mask || (warp.where != where && std::strcmp(warp.where, where) != 0)) {
    stop("lanes of one warp meet in different operations");
  }
  const unsigned generation = warp.generation;
  std::memcpy(warp.slots[generation % 2][lane].bytes, mine, bytes);
  warp.arrived |= 1U << lane;
  if (warp.arrived == mask) {
    warp.arrived = 0;
    ++warp.generation;
    for (std::size_t l = 0; l < 32 && first + l < machine->threads; ++l) {
      Fiber& other = machine->fibers[first + l];
      if ((mask >> l & 1U) != 0 && other.state == State::kWarp) other.state = State::kReady;
    }
  } else {
    self.state = State::kWarp;
    switch_to_scheduler(self, false);
  }
  return warp.slots[generation % 2].data();
}

void copy_async(void* to, const void* from, std::size_t bytes, std::size_t from_bytes) {
  require_aligned(to, bytes, "the target of an asynchronous copy");
  if (from_bytes > 0) require_aligned(from, bytes, "the source of an asynchronous copy");
  std::memset(to, 0xff, bytes);
  current().copies.push_back({to, from, bytes, from_bytes, current().group});
}

void copy_async_commit() {
  ++current().group;
}

void copy_async_wait(unsigned groups_in_flight) {
  Fiber& self = current();
  const unsigned done = self.group > groups_in_flight ? self.group - groups_in_flight : 0;
  std::erase_if(self.copies, [&](const PendingCopy& copy) {
    if (copy.group >= done) return false;
    perform(copy);
    return true;
  });
}

void require_aligned(const void* pointer, std::size_t alignment, const char* what) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0) stop(what);
}

}  // namespace concerto::simt
