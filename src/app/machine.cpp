// Facts about the machine from /proc and the control groups of Linux.
#include "machine.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>

#include <unistd.h>

namespace concerto {
namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// What stands behind `key` on its line of a "key: value" file.
std::string value_of(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t begin = line.find_first_not_of(" \t:", key.size());
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

std::optional<std::uint64_t> number(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{}) return std::nullopt;
  return value;
}

/// What a control group leaves, kNoLimit where it sets none. Pages that the kernel can drop count as free.
std::uint64_t group_headroom(const std::filesystem::path& group, const char* limit_file, const char* usage_file) {
  const auto limit = number(file_text(group / limit_file));
  const auto usage = number(file_text(group / usage_file));
  if (!limit || !usage) return kNoLimit;
  const std::uint64_t droppable = number(value_of(file_text(group / "memory.stat"), "inactive_file")).value_or(0);
  const std::uint64_t used = *usage - std::min(*usage, droppable);
  return *limit > used ? *limit - used : 0;
}

/// The tightest limit over this process's control groups, of either version, and their parents.
std::uint64_t all_groups_headroom() {
  std::uint64_t headroom = kNoLimit;
  const std::filesystem::path mount = "/sys/fs/cgroup";
  std::istringstream lines(file_text("/proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const bool is_unified = line.starts_with("0::");
    const bool is_memory = line.substr(first + 1, second - first - 1).find("memory") != std::string::npos;
    if (!is_unified && !is_memory) continue;
    const std::filesystem::path root = is_unified ? mount : mount / "memory";
    for (std::filesystem::path group = line.substr(second + 1);; group = group.parent_path()) {
      const std::filesystem::path place = root / group.relative_path();
      headroom =
          std::min(headroom, is_unified ? group_headroom(place, "memory.max", "memory.current")
                                        : group_headroom(place, "memory.limit_in_bytes", "memory.usage_in_bytes"));
      if (!group.has_relative_path()) break;
    }
  }
  return headroom;
}

std::uint64_t kibibytes(const char* file, std::string_view key) {
  return number(value_of(file_text(file), key)).value_or(0) * 1024;
}

}  // namespace

std::string cpu_model() {
  const std::string name = value_of(file_text("/proc/cpuinfo"), "model name");
  return name.empty() ? "unknown" : name;
}

std::uint64_t physical_memory_bytes() {
  return kibibytes("/proc/meminfo", "MemTotal");
}

std::uint64_t available_memory_bytes() {
  return std::min(kibibytes("/proc/meminfo", "MemAvailable"), all_groups_headroom());
}

std::uint64_t resident_bytes() {
  return kibibytes("/proc/self/status", "VmRSS");
}

std::uint64_t peak_resident_bytes() {
  return kibibytes("/proc/self/status", "VmHWM");
}

double seconds_since_process_start() {
  // Field 22 of stat is the start in ticks since boot; the name in field 2 may hold spaces, so count from its end.
  const std::string stat = file_text("/proc/self/stat");
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0.0;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field;
  for (int index = 3; index <= 22; ++index) fields >> field;
  const double started = static_cast<double>(number(field).value_or(0)) / static_cast<double>(sysconf(_SC_CLK_TCK));
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 - started;
}

}  // namespace concerto
