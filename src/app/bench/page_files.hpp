// The files that a page is made of, as the program carries them. page_files.cpp is written by page/embed.cmake.
#pragma once

#include <string_view>

namespace concerto::bench {

extern const std::string_view kPageHtml;  ///< the skeleton: the names of the others, in {{ }}, stand where they belong
extern const std::string_view kPageCss;   ///< "page.css"
extern const std::string_view kPageTextJs;    ///< "text.js": numbers and sentences
extern const std::string_view kPageChartsJs;  ///< "charts.js"
extern const std::string_view kPageJs;        ///< "page.js"
extern const std::string_view kChartJs;       ///< "chart.min.js", of the package libjs-chart.js

}  // namespace concerto::bench
