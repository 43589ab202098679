// Tells the sanitizers that a thread goes on on another stack. Without them every function here is empty.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace concerto::simt {

class SanitizerFiber {
 public:
  void begin([[maybe_unused]] void* stack, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, bytes);
    stack_ = stack;
    bytes_ = bytes;
    fake_ = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
    fiber_ = __tsan_create_fiber(0);
#endif
  }
  void begin_scheduler() {
#if defined(__SANITIZE_THREAD__)
    fiber_ = __tsan_get_current_fiber();
#endif
  }
  /// Before the jump from this fiber to `next`; `ends`: this one is never resumed.
  void leave([[maybe_unused]] const SanitizerFiber& next, [[maybe_unused]] bool ends) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ends ? nullptr : &fake_, next.stack_, next.bytes_);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(next.fiber_, 0);
#endif
  }
  /// After a jump to this fiber.
  void arrive() {
#if defined(__SANITIZE_ADDRESS__)
    const void* from = nullptr;
    std::size_t from_bytes = 0;
    __sanitizer_finish_switch_fiber(fake_, &from, &from_bytes);
    if (scheduler_ != nullptr) {
      scheduler_->stack_ = from;
      scheduler_->bytes_ = from_bytes;
    }
#endif
  }
  void end() {
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(fiber_);
#endif
  }
  /// The fiber whose stack's bounds this one learns when it is first entered from there.
  void learns_of([[maybe_unused]] SanitizerFiber& scheduler) {
#if defined(__SANITIZE_ADDRESS__)
    scheduler_ = &scheduler;
#endif
  }

#if defined(__SANITIZE_ADDRESS__)
 private:
  const void* stack_ = nullptr;
  std::size_t bytes_ = 0;
  void* fake_ = nullptr;
  SanitizerFiber* scheduler_ = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
 private:
  void* fiber_ = nullptr;
#endif
};

}  // namespace concerto::simt
