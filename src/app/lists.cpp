// Ranked lists as tab-separated lines or JSON objects.
#include "lists.hpp"

#include <sstream>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "report.hpp"

namespace concerto {

ListFormat parse_list_format(const std::string& name) {
  if (name == "tsv") return ListFormat::kTsv;
  if (name == "json") return ListFormat::kJson;
  throw Error(ErrorCode::kBadInput, "is tsv or json", "--format " + name);
}

void write_list(std::ostream& out, ListFormat format, const std::string& query, std::span<const RowIndex> rows,
                std::span<const float> scores, double offset, const IdMap& items) {
  std::string text;
  for (std::size_t place = 0; place < rows.size() && rows[place] != kNoRow; ++place) {
    const std::string item = items.text(rows[place]);
    const double score = scores[place] + offset;
    if (format == ListFormat::kTsv) {
      text += fmt::format("{}\t{}\t{:.6g}\n", query, item, score);
    } else {
      text += fmt::format(R"({}{{"item": {}, "score": {:.6g}}})", text.empty() ? "" : ", ", json_quote(item), score);
    }
  }
  if (format == ListFormat::kJson) text = fmt::format("{{\"id\": {}, \"items\": [{}]}}\n", json_quote(query), text);
  out << text;
}

std::vector<RowIndex> rows_of(const std::vector<std::string>& words, const IdMap& map, const std::string& option) {
  std::vector<RowIndex> rows;
  std::vector<std::string> unknown;
  const auto take = [&](const std::string& id) {
    const auto row = map.find(id);
    if (row) rows.push_back(*row);
    return row.has_value();
  };
  for (const std::string& word : words) {
    if (take(word)) continue;
    std::istringstream parts(word.empty() ? "," : word);
    for (std::string id; std::getline(parts, id, ',');) {
      if (!take(id)) unknown.push_back(id.empty() ? "\"\"" : id);
    }
  }
  if (!unknown.empty()) {
    throw Error(ErrorCode::kBadInput, fmt::format("the model does not know {}", fmt::join(unknown, ", ")), option);
  }
  return rows;
}

}  // namespace concerto
