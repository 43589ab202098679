// The launcher's command line.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "concerto/comm/job_environment.hpp"

namespace concerto {

struct LauncherOptions {
  std::optional<std::uint32_t> nodes;
  std::optional<std::uint32_t> node_rank;
  std::optional<std::string> rendezvous;  ///< "HOST:PORT", or "etcd://HOST:PORT[,HOST:PORT...]"
  StoreFiles store_files;                 ///< of etcd; absolute paths
  bool is_trusted_fabric = false;
  std::optional<std::uint32_t> ranks_per_node;
  std::string job;
  std::string devices = "auto";  ///< "auto", "none" or a list
  std::string bind = "auto";     ///< "auto", "none"
  std::string log_folder;
  std::string join_file;
  std::chrono::milliseconds join_limit{300'000};
  std::chrono::milliseconds lost_after{10'000};
  std::chrono::milliseconds grace{10'000};
  std::chrono::milliseconds time_limit{0};
  bool is_dry_run = false;
  std::vector<std::string> command;  ///< the program to run and its arguments, never empty
};

/// Whether launchers and ranks meet in etcd rather than in the first launcher.
[[nodiscard]] inline bool is_etcd(const std::string& rendezvous) {
  return rendezvous.starts_with("etcd://");
}

/// Nothing where help or the version was asked for, which is then written to `out`. Error{kBadInput} with one line for
/// what is wrong.
[[nodiscard]] std::optional<LauncherOptions> parse_options(const std::vector<std::string>& words, std::ostream& out);

}  // namespace concerto
