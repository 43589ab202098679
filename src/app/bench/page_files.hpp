// The files that a page is made of, as the program carries them. page_files.cpp is written by page/embed.cmake.
#pragma once

#include <string_view>

namespace concerto::bench {

struct PageFiles {
  std::string_view html;     ///< "index.html", the skeleton: the names of the others, in {{ }}, stand where they belong
  std::string_view css;      ///< "page.css"
  std::string_view text_js;  ///< "text.js": numbers and sentences
  std::string_view charts_js;  ///< "charts.js"
  std::string_view page_js;    ///< "page.js"
  std::string_view chart_js;   ///< "chart.min.js", of the package libjs-chart.js
};
[[nodiscard]] PageFiles page_files();

}  // namespace concerto::bench
