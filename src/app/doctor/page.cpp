// The page.
#include "page.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace concerto::doctor {
namespace {

constexpr int kSchemaVersion = 1;

std::string counted(std::size_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

std::string ranks_text(const std::vector<Rank>& ranks) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    parts.push_back(last == i ? fmt::format("{}", ranks[i]) : fmt::format("{}-{}", ranks[i], ranks[last]));
    i = last + 1;
  }
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < parts.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  }
  return text;
}

void print_page(std::ostream& out, const Expectations& expected, const std::vector<Facts>& ranks,
                const std::vector<Finding>& findings) {
  std::set<std::string> machines;
  for (const Facts& facts : ranks) machines.insert(facts.place.network);
  if (expected.ranks > 1) {
    out << fmt::format("{} on {}\n", counted(expected.ranks, "rank"), counted(machines.size(), "machine"));
  }
  for (const Finding& finding : findings) {
    const bool names_ranks = expected.ranks > 1 && finding.level != Level::kOk;
    out << fmt::format("{:<8} {:<13} {}{}\n", to_string(finding.level), finding.check,
                       names_ranks ? ranks_text(finding.ranks) + ": " : "", finding.what);
    if (!finding.mend.empty()) out << fmt::format("{:<8} {:<13} mend: {}\n", "", "", finding.mend);
  }
  const auto count = [&](Level level) {
    return static_cast<std::size_t>(std::ranges::count(findings, level, &Finding::level));
  };
  out << fmt::format("{}, {}\n", counted(count(Level::kProblem), "problem"), counted(count(Level::kWarning), "warning"))
      << std::flush;
}

std::string page_to_json(const std::vector<Facts>& ranks, const std::vector<Finding>& findings) {
  nlohmann::ordered_json page{{"schema_version", kSchemaVersion},
                              {"command", "doctor"},
                              {"findings", nlohmann::ordered_json::array()},
                              {"facts", nlohmann::ordered_json::array()}};
  for (const Finding& finding : findings) {
    page["findings"].push_back({{"level", to_string(finding.level)},
                                {"check", finding.check},
                                {"ranks", finding.ranks},
                                {"what", finding.what},
                                {"mend", finding.mend}});
  }
  for (const Facts& facts : ranks) page["facts"].push_back(nlohmann::ordered_json::parse(to_json(facts)));
  return page.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace concerto::doctor
