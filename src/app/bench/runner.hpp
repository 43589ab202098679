// Makes the runs of a sweep, one after another, and writes what came of them after each.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "concerto/config/sweep.hpp"

#include "log.hpp"
#include "results.hpp"

namespace concerto::bench {

struct RunnerOptions {
  std::string sweep_file;              ///< as messages name it
  std::filesystem::path out;           ///< a directory that is empty or not there
  std::vector<std::string> overrides;  ///< "table.key=value", after those of the sweep
  std::string command;                 ///< as results.json has it
};

/// A run is `concerto-launch -- concerto train`, a child process with a folder of its own, OUT/runs/CASE/LEVEL-REPEAT,
/// in which run.log and report.json stay; its model and versions go when it has been judged.
class Runner {
 public:
  /// Reads every configuration that a run will have: what is wrong with one is Error{kBadInput} naming case and level,
  /// before anything is written or started.
  Runner(Sweep sweep, RunnerOptions options, Log& log);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  /// Makes all runs. OUT/results.json, and the page of it, OUT/index.html, are there, whole, from the beginning and
  /// after each run. A stop request ends the run that is under way, of which nothing is kept, and returns. Error{kIo}
  /// where OUT cannot be written to; a run that fails is a result.
  void run(const std::stop_token& stop);

  [[nodiscard]] const Results& results() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace concerto::bench
