// Which GPU and which processors each rank of a machine gets. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/comm/job_environment.hpp"

namespace concerto {

struct DevicePlan {
  /// Values of CUDA_VISIBLE_DEVICES for local ranks `first` and on; nothing: the variable is left as it is.
  std::vector<std::optional<std::string>> visible;
  std::vector<std::string> notices;
};

/// `wanted` is "auto", "none" or a list "0,1,GPU-6af..". "auto" takes what CUDA_VISIBLE_DEVICES lists, else devices 0
/// to `installed` - 1; with fewer devices than ranks some share one, and a notice says so. A list must have a device
/// for each rank: Error{kBadInput} otherwise, and for an empty or repeated name.
[[nodiscard]] DevicePlan plan_devices(const std::string& wanted, const EnvironmentVariables& variables,
                                      std::uint32_t installed, std::uint32_t first, std::uint32_t count,
                                      std::uint32_t local_size);

/// The `index`-th of `count` equal, contiguous shares; empty where there are fewer processors than ranks: then they
/// share all of them.
[[nodiscard]] std::vector<int> share_of(const std::vector<int>& processors, std::uint32_t index, std::uint32_t count);

/// "0-3,8" for messages.
[[nodiscard]] std::string to_ranges(const std::vector<int>& processors);

}  // namespace concerto
