// Findings for people, and for programs.
#pragma once

#include <ostream>
#include <vector>

#include "judge.hpp"

namespace concerto::doctor {

/// A line for each finding, and how it is mended; at the end how many problems there are.
void print_page(std::ostream& out, const Expectations& expected, const std::vector<Facts>& ranks,
                const std::vector<Finding>& findings);
/// One line of JSON: findings, and the facts that they rest on.
[[nodiscard]] std::string page_to_json(const std::vector<Facts>& ranks, const std::vector<Finding>& findings);

/// "rank 3", "ranks 0-2 and 5".
[[nodiscard]] std::string ranks_text(const std::vector<Rank>& ranks);

}  // namespace concerto::doctor
