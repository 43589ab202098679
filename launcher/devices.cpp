// Shares of a machine.
#include "devices.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "variables.hpp"

namespace concerto {
namespace {

constexpr const char* kVisible = "CUDA_VISIBLE_DEVICES";

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> names;
  for (;;) {
    const std::size_t comma = text.find(',');
    names.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return names;
    text.remove_prefix(comma + 1);
  }
}

std::vector<std::string> wanted_list(const std::string& wanted, std::uint32_t local_size) {
  std::vector<std::string> names = split(wanted);
  std::vector<std::string> sorted = names;
  std::ranges::sort(sorted);
  if (sorted.front().empty() || std::ranges::adjacent_find(sorted) != sorted.end()) {
    throw Error(ErrorCode::kBadInput, fmt::format("must be a list of different devices, not '{}'", wanted),
                "--devices");
  }
  if (names.size() < local_size) {
    throw Error(ErrorCode::kBadInput,
                fmt::format("lists {} devices for {} ranks on this machine", names.size(), local_size), "--devices");
  }
  return names;
}

/// As CUDA reads the variable: an empty one, or an invalid first name, hides every device.
std::vector<std::string> visible_list(const EnvironmentVariables& variables, std::uint32_t installed) {
  std::vector<std::string> names;
  if (const auto found = variables.find(kVisible); found != variables.end()) {
    for (const std::string& name : split(found->second)) {
      if (name.empty() || name.starts_with('-')) break;
      names.push_back(name);
    }
    return names;
  }
  for (std::uint32_t device = 0; device < installed; ++device) names.push_back(std::to_string(device));
  return names;
}

}  // namespace

DevicePlan plan_devices(const std::string& wanted, const EnvironmentVariables& variables, std::uint32_t installed,
                        std::uint32_t first, std::uint32_t count, std::uint32_t local_size) {
  DevicePlan plan;
  plan.visible.resize(count);
  if (wanted == "none") return plan;
  const bool is_list = wanted != "auto";
  const std::vector<std::string> names = is_list ? wanted_list(wanted, local_size) : visible_list(variables, installed);
  if (names.empty()) return plan;
  for (std::uint32_t i = 0; i < count; ++i) plan.visible[i] = names[(first + i) % names.size()];
  // A scheduler that gives each task a device of its own shows it only that one: nothing is shared then.
  const bool is_own = count == 1 && names.size() == 1;
  if (names.size() < local_size && !is_own) {
    plan.notices.push_back(fmt::format("{} ranks share {} device{} on this machine; with NCCL each needs its own",
                                       local_size, names.size(), names.size() == 1 ? "" : "s"));
  }
  return plan;
}

std::vector<int> share_of(const std::vector<int>& processors, std::uint32_t index, std::uint32_t count) {
  if (processors.size() < count) return {};
  const std::size_t begin = processors.size() * index / count;
  const std::size_t end = processors.size() * (index + std::size_t{1}) / count;
  return {processors.begin() + static_cast<std::ptrdiff_t>(begin),
          processors.begin() + static_cast<std::ptrdiff_t>(end)};
}

std::string to_ranges(const std::vector<int>& processors) {
  std::string text;
  for (std::size_t begin = 0; begin < processors.size();) {
    std::size_t end = begin + 1;
    while (end < processors.size() && processors[end] == processors[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += end - begin == 1 ? std::to_string(processors[begin])
                             : fmt::format("{}-{}", processors[begin], processors[end - 1]);
    begin = end;
  }
  return text;
}

}  // namespace concerto
