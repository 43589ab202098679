// From facts to findings: what is well, what is not, and which setting mends it. Pure.
#pragma once

#include <string>
#include <vector>

#include "concerto/config/config.hpp"

#include "facts.hpp"

namespace concerto::doctor {

enum class Level { kOk, kWarning, kProblem };

struct Finding {
  Level level = Level::kOk;
  std::string check;        ///< "open files"
  std::vector<Rank> ranks;  ///< of whom it is true
  std::string what;
  std::string mend;  ///< empty where nothing need be done
  friend bool operator==(const Finding&, const Finding&) = default;
};

/// What is judged by.
struct Expectations {
  Config config;
  bool has_config = false;  ///< else `config` is all defaults, and nothing is asked of data, memory and output
  Rank ranks = 1;           ///< of the job; fewer facts than that: some ranks did not come
};

/// In the order of checks, the worst of each first; what several ranks have in common is one finding.
[[nodiscard]] std::vector<Finding> judge(const Expectations& expected, const std::vector<Facts>& ranks);

/// "ok", "warning", "problem".
[[nodiscard]] std::string_view to_string(Level level);
/// Open files that a process of a job of so many ranks may need: a rank holds two connections with each
/// other, and a listening socket for each of them while they connect (8 + 2 for each rank were counted of running
/// ones); the first launcher one connection with each rank, and three files for each of its own.
[[nodiscard]] std::uint64_t open_files_needed(Rank ranks);

}  // namespace concerto::doctor
