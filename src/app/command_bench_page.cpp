// `concerto bench-page RESULTS --out PAGE`: the page of a sweep, of results that are there.
#include <filesystem>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"

#include "bench/page.hpp"
#include "commands.hpp"
#include "inputs.hpp"

namespace concerto {
namespace {

void require_file(const std::string& path, const std::string& what) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) return;
  throw Error(ErrorCode::kBadInput, fmt::format("there is no file {}", path), what);
}

std::string page_of_file(const std::string& path) {
  try {
    return bench::page_of(read_file(path));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorrupt) throw;
    throw Error(error.code(), error.message(), path, error.cause());
  }
}

}  // namespace

void run_bench_page(const BenchPageArguments& arguments, Console& console) {
  require_file(arguments.results, "RESULTS");
  require_file_target(arguments.out, "--out");
  require_apart({"--out", arguments.out}, {{"RESULTS", arguments.results}});
  write_file(arguments.out, page_of_file(arguments.results));
  console.out << "page written to " << arguments.out << std::endl;
}

}  // namespace concerto
