// `concerto prepare DATA --out DIR`: reads once, keeps both orientations in the form that `train` maps.
#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "commands.hpp"
#include "engine.hpp"
#include "inputs.hpp"

namespace concerto {

void run_prepare(const PrepareArguments& arguments, Console& console) {
  if (arguments.values != "ignore" && arguments.values != "weight") {
    throw Error(ErrorCode::kBadInput, "is ignore or weight", "--values " + arguments.values);
  }
  if (arguments.data.split && !arguments.data.test.empty()) {
    throw Error(ErrorCode::kBadInput, "a test file excludes a split", "--test");
  }
  require_data(arguments.data.train, "DATA");
  if (!arguments.data.test.empty()) require_data(arguments.data.test, "--test");
  require_output_parent(arguments.out, "--out");
  require_apart({"--out", arguments.out}, {{"DATA", arguments.data.train}, {"--test", arguments.data.test}});
  Dataset::check_target(arguments.out);
  if (Dataset::is_prepared(arguments.data.train)) {
    throw Error(ErrorCode::kBadInput, "is prepared already", arguments.data.train);
  }
  ThreadPool pool(arguments.compute.threads);
  const ReadingRules rules = reading_rules(arguments.is_implicit ? "implicit" : "explicit", arguments.values, false);
  const LoadedData loaded = load_data(arguments.data, rules, {arguments.compute.memory_limit_bytes}, pool, console.log);
  loaded.train.write(arguments.out, loaded.test ? &*loaded.test : nullptr, loaded.merging);
  console.out << fmt::format("prepared {} users, {} items, {} entries{} in {}\n", loaded.train.users().size(),
                             loaded.train.items().size(), loaded.train.entries(),
                             loaded.test ? fmt::format(", {} held out", loaded.test->entries()) : "", arguments.out)
              << std::flush;
}

}  // namespace concerto
