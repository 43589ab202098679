# Writes a C++ source that holds the files of the page as string constants (src/app/bench/page_files.hpp).
#   cmake -DFOLDER=src/app/bench/page -DCHART_JS=chart.min.js -DOUT=page_files.cpp -P embed.cmake
cmake_minimum_required(VERSION 3.25)

set(source "// Written by embed.cmake: the files of the page.\n#include \"page_files.hpp\"\n\nnamespace concerto::bench {\n")

# A raw string has no limit of length in g++ and clang, and compiles in no time; an array of bytes takes seconds.
function(embed name path)
  file(READ "${path}" content)
  string(FIND "${content}" ")embedded\"" at)
  if(NOT at EQUAL -1)
    message(FATAL_ERROR "${path} holds what ends a raw string here; choose another delimiter in embed.cmake")
  endif()
  set(source "${source}\nconst std::string_view ${name} = R\"embedded(${content})embedded\";\n" PARENT_SCOPE)
endfunction()

embed(kPageHtml "${FOLDER}/index.html")
embed(kPageCss "${FOLDER}/page.css")
embed(kPageTextJs "${FOLDER}/text.js")
embed(kPageChartsJs "${FOLDER}/charts.js")
embed(kPageJs "${FOLDER}/page.js")
embed(kChartJs "${CHART_JS}")
file(WRITE "${OUT}" "${source}\n}  // namespace concerto::bench\n")
