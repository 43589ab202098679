// The launcher's command line.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace concerto {

struct LauncherOptions {
  std::optional<std::uint32_t> nodes;
  std::optional<std::uint32_t> node_rank;
  std::optional<std::string> rendezvous;  ///< "HOST:PORT"
  std::optional<std::uint32_t> ranks_per_node;
  std::string job;
  std::string devices = "auto";  ///< "auto", "none" or a list
  std::string bind = "auto";     ///< "auto", "none"
  std::string log_folder;
  std::chrono::milliseconds grace{10'000};
  std::chrono::milliseconds time_limit{0};
  bool is_dry_run = false;
  std::vector<std::string> command;  ///< the program to run and its arguments, never empty
};

/// Nothing where help or the version was asked for, which is then written to `out`. Error{kBadInput} with one line for
/// what is wrong.
[[nodiscard]] std::optional<LauncherOptions> parse_options(const std::vector<std::string>& words, std::ostream& out);

}  // namespace concerto
