// Summaries for people: fixed columns, four digits.
#include "summary.hpp"

#include <fmt/format.h>

namespace concerto {

void print_metrics(std::ostream& out, const MetricValues& model, const MetricValues* popularity) {
  out << fmt::format("{:<20}{:>12}{}\n", "", "model", popularity != nullptr ? fmt::format("{:>14}", "popularity") : "");
  for (const auto& [name, value] : model.values) {
    const std::string beside = popularity != nullptr ? fmt::format("{:>14.4f}", popularity->at(name)) : "";
    out << fmt::format("{:<20}{:>12.4f}{}\n", name, value, beside);
  }
  if (model.users_evaluated > 0) {
    out << fmt::format("ranked for {} users; {} have nothing held out\n", model.users_evaluated, model.users_skipped);
  }
  if (model.unknown_entries > 0) {
    out << fmt::format("{} held-out entries are of unknown users ({}) or items\n", model.unknown_entries,
                       model.unknown_users);
  }
}

void print_row(std::ostream& out, const std::string& name, const std::string& value) {
  out << fmt::format("{:<20}{}\n", name, value);
}

std::vector<Metric> parse_metrics(const std::vector<std::string>& names, bool is_implicit) {
  std::vector<Metric> metrics;
  metrics.reserve(names.size());
  for (const std::string& name : names) metrics.push_back(parse_metric(name));
  if (!metrics.empty()) return metrics;
  if (is_implicit) return {parse_metric("recall@20"), parse_metric("ndcg@20")};
  return {parse_metric("rmse"), parse_metric("mae")};
}

}  // namespace concerto
