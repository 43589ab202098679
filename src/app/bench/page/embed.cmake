# Writes the C++ source that holds the files of the page (src/app/bench/page_files.hpp).
#   cmake -DFOLDER=src/app/bench/page -DCHART_JS=chart.min.js -DOUT=page_files.cpp -P embed.cmake
cmake_minimum_required(VERSION 3.25)

set(fields "")

# A raw string: g++ and clang take it at any length, and in no time; an array of bytes would take them seconds.
function(embed field path)
  file(READ "${path}" content)
  string(FIND "${content}" ")embedded\"" at)
  if(NOT at EQUAL -1)
    message(FATAL_ERROR "${path} holds what ends a raw string here; choose another delimiter in embed.cmake")
  endif()
  set(fields "${fields}.${field} = R\"embedded(${content})embedded\",\n" PARENT_SCOPE)
endfunction()

embed(html "${FOLDER}/index.html")
embed(css "${FOLDER}/page.css")
embed(text_js "${FOLDER}/text.js")
embed(charts_js "${FOLDER}/charts.js")
embed(page_js "${FOLDER}/page.js")
embed(chart_js "${CHART_JS}")
file(WRITE "${OUT}" "// Written by embed.cmake: the files of the page.
#include \"page_files.hpp\"

namespace concerto::bench {

PageFiles page_files() {
  return {
${fields}};
}

}  // namespace concerto::bench
")
