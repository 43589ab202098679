// results.json, which a sweep writes after every run, and what it takes from the reports of its runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "outcome.hpp"

namespace concerto::bench {

/// Changed when a field changes its meaning or goes away.
inline constexpr const char* kResultsFormat = "concerto bench 1";

struct Results {
  std::string name;
  std::string about;
  std::string command;
  std::optional<std::string> commit;  ///< of the sources, where the working directory is in their repository
  std::string begun;                  ///< "2026-12-01T05:00:00Z"
  std::string cpu;
  unsigned threads = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t repeats = 0;
  double target_within = 0.0;
  std::vector<CaseRecord> cases;
};

[[nodiscard]] std::string to_json(const Results& results);

/// What the report of a run of `train` says (text of report.json); `metric` names the one that counts. Error{kCorrupt}
/// where it is no such report, or has no such metric; what else is missing is empty.
[[nodiscard]] RunFacts facts_of(const std::string& report, const std::string& metric);

/// The name of the sweep whose results a text is, or nothing where it is none.
[[nodiscard]] std::optional<std::string> sweep_of(const std::string& results);

}  // namespace concerto::bench
