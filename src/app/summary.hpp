// Summaries for people, on standard output.
#pragma once

#include <ostream>
#include <string>

#include "concerto/train/metrics.hpp"

namespace concerto {

/// A table of metrics with one column for the model and, if given, one for the popularity baseline.
void print_metrics(std::ostream& out, const MetricValues& model, const MetricValues* popularity);

/// "name    value" with the values in one column.
void print_row(std::ostream& out, const std::string& name, const std::string& value);

/// The metrics to use where none are named.
[[nodiscard]] std::vector<Metric> parse_metrics(const std::vector<std::string>& names, bool is_implicit);

}  // namespace concerto
