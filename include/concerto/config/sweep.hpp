// A sweep: which runs `concerto bench` compares, as its TOML file says. Plain structs, units in names; src/config reads
// TOML into them. configs/README.md documents the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concerto {

/// What the time to the target must be at most, as a multiple of the baseline's.
struct SweepLimit {
  std::string level;
  double at_most = 1.0;
  std::optional<double> aim;  ///< what is hoped for
};

/// Of every connection among ranks and each of its directions.
struct SweepNetwork {
  double delay_ms = 0.0;   ///< one way
  double jitter_ms = 0.0;  ///< besides, uniform from 0 to this
  double rate_mbit = 0.0;  ///< 0: any
};

/// One way to run a case.
struct SweepLevel {
  std::string name;
  std::vector<std::string> settings;  ///< "table.key=value", after the case's
};

/// Levels compared on the same work.
struct SweepCase {
  std::string name;
  std::string title;  ///< by default the name
  std::string about;
  std::uint32_t ranks = 4;
  std::vector<std::string> settings;  ///< after the sweep's
  std::string baseline = "strong";    ///< the level that the others are held against
  std::vector<SweepLimit> limits;
  std::optional<SweepNetwork> network;
  std::vector<SweepLevel> levels;  ///< its own, or the sweep's
};

struct Sweep {
  std::string name;
  std::string about;
  std::uint32_t repeats = 5;
  double target_within = 0.001;       ///< of the baseline's final metric, as a share of it
  std::string train;                  ///< the configuration of each run; relative to the working directory
  std::vector<std::string> settings;  ///< of every run
  std::vector<SweepCase> cases;
};

/// Whether a setting is of a key that the runner decides itself: output.model, output.report, output.versions,
/// evaluate.every, and with a network where ranks listen and are reached.
[[nodiscard]] bool is_decided_by_runner(const std::string& setting, bool has_network);

/// Reads a sweep file. Every problem is Error{kBadInput} naming file and line and, for an unknown key, case or level,
/// the nearest known one. Names of cases, and of the levels of a case, are distinct and can be those of folders;
/// baselines and limits name levels of their case; settings name keys of the configuration that the runner does not
/// decide, but what they say is judged where the configuration is read.
[[nodiscard]] Sweep load_sweep(const std::filesystem::path& file);

/// The same from text; `name` stands for the file in messages.
[[nodiscard]] Sweep parse_sweep(std::string_view text, std::string_view name);

}  // namespace concerto
