// A skeleton filled in. Texts of the results reach the page only as JSON that no browser takes for markup.
#include "page.hpp"

#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "concerto/base/error.hpp"

#include "page_files.hpp"

namespace concerto::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "concerto bench 1";
/// More than any results have; a bound, since writing JSON takes stack for each level.
constexpr int kMostNested = 32;

Error corrupt(const std::string& what) {
  return {ErrorCode::kCorrupt, what, "results"};
}

Json parse(const std::string& text) {
  const auto bounded = [](int depth, Json::parse_event_t /*event*/, Json& /*value*/) {
    if (depth > kMostNested) throw corrupt(fmt::format("is nested more than {} levels deep", kMostNested));
    return true;
  };
  try {
    return Json::parse(text, bounded);
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::kCorrupt, "is not JSON", "results", error.what());
  }
}

/// The objects of the list `name` of an object.
const Json& objects(const Json& parent, const char* name, const std::string& place) {
  const auto list = parent.find(name);
  if (list == parent.end() || !list->is_array()) throw corrupt(fmt::format("{}{} is not a list", place, name));
  for (std::size_t k = 0; k < list->size(); ++k) {
    if (!(*list)[k].is_object()) throw corrupt(fmt::format("{}{}[{}] is not an object", place, name, k));
  }
  return *list;
}

void require_text(const Json& parent, const char* name, const std::string& place) {
  const auto value = parent.find(name);
  if (value == parent.end() || !value->is_string()) throw corrupt(fmt::format("{}{} is not a text", place, name));
}

/// What the page cannot do without. All else may be missing: a sweep that goes on has not measured it yet.
void require_results(const Json& results) {
  if (!results.is_object()) throw corrupt("is not an object");
  const auto format = results.find("format");
  if (format == results.end() || *format != kFormat) {
    throw corrupt(fmt::format("is not a file of the format '{}'", kFormat));
  }
  std::size_t case_index = 0;
  for (const Json& one : objects(results, "cases", "")) {
    const std::string place = fmt::format("cases[{}].", case_index++);
    require_text(one, "name", place);
    std::size_t level_index = 0;
    for (const Json& level : objects(one, "levels", place)) {
      const std::string level_place = fmt::format("{}levels[{}].", place, level_index++);
      require_text(level, "name", level_place);
      std::size_t run_index = 0;
      for (const Json& run : objects(level, "runs", level_place)) {
        require_text(run, "ended", fmt::format("{}runs[{}].", level_place, run_index++));
      }
    }
  }
}

/// JSON that HTML cannot take for the end of a script, nor for a comment in it. Only texts hold "<" in JSON.
std::string in_script(const Json& results) {
  std::string escaped;
  for (const char c : results.dump()) {
    if (c == '<') {
      escaped += "\\u003c";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

/// `skeleton` with a text in place of each {{name}}; what is put in is not looked at again.
template <std::size_t count>
std::string filled(std::string_view skeleton,
                   const std::array<std::pair<std::string_view, std::string_view>, count>& texts) {
  std::string page;
  while (true) {
    const std::size_t begin = skeleton.find("{{");
    const std::size_t end = skeleton.find("}}", begin);
    if (end == std::string_view::npos) return page.append(skeleton);
    page.append(skeleton.substr(0, begin));
    const std::string_view name = skeleton.substr(begin + 2, end - begin - 2);
    for (const auto& [known, text] : texts) {
      if (known == name) page.append(text);
    }
    skeleton.remove_prefix(end + 2);
  }
}

}  // namespace

std::string page_of(const std::string& results_json) {
  const Json results = parse(results_json);
  require_results(results);
  const std::string data = in_script(results);
  const PageFiles files = page_files();
  return filled<6>(files.html, {{{"page.css", files.css},
                                 {"chart.min.js", files.chart_js},
                                 {"results.json", data},
                                 {"text.js", files.text_js},
                                 {"charts.js", files.charts_js},
                                 {"page.js", files.page_js}}});
}

}  // namespace concerto::bench
