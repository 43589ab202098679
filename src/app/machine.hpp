// Facts about the machine and this process, read from the operating system.
#pragma once

#include <cstdint>
#include <string>

namespace concerto {

/// The processor's name as the system gives it; "unknown" where it gives none.
[[nodiscard]] std::string cpu_model();
/// Physical memory in bytes.
[[nodiscard]] std::uint64_t physical_memory_bytes();
/// Bytes that this process may still take: what the system says is available, less where a control group is tighter.
[[nodiscard]] std::uint64_t available_memory_bytes();
/// This process's resident memory now, and at its highest.
[[nodiscard]] std::uint64_t resident_bytes();
[[nodiscard]] std::uint64_t peak_resident_bytes();
/// Seconds since this process was started (resolution: a clock tick).
[[nodiscard]] double seconds_since_process_start();

}  // namespace concerto
