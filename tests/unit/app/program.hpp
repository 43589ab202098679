// Runs the program inside the test process, with a scratch directory of its own.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "../src/app/cli.hpp"

namespace concerto::test {

struct Finished {
  int status;
  std::string out;
  std::string err;
  /// The lines of `err` that report an error.
  [[nodiscard]] std::vector<std::string> errors() const {
    std::vector<std::string> found;
    std::istringstream lines(err);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("concerto: error: ")) found.push_back(line);
    }
    return found;
  }
};

inline Finished run(const std::vector<std::string>& arguments) {
  std::ostringstream out;
  std::ostringstream err;
  const int status = run_program(arguments, out, err);
  return {status, out.str(), err.str()};
}

class ProgramTest : public testing::Test {
 protected:
  ProgramTest() {
    std::string name = (std::filesystem::temp_directory_path() / "concerto_app_test_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no scratch directory");
    scratch_ = name;
  }
  ~ProgramTest() override { std::filesystem::remove_all(scratch_); }

  [[nodiscard]] std::string path(const std::string& name) const { return (scratch_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(scratch_ / name) << text;
    return path(name);
  }
  /// 30 users and 20 items; user u rates every item i with (u + i) % 3 != 0 by 1 + (u * i) % 5.
  std::string write_ratings(const std::string& name) const {
    std::string text;
    for (int u = 0; u < 30; ++u) {
      for (int i = 0; i < 20; ++i) {
        if ((u + i) % 3 != 0)
          text += std::to_string(u) + " " + std::to_string(i) + " " + std::to_string(1 + u * i % 5) + "\n";
      }
    }
    return write(name, text);
  }
  /// A configuration that trains in milliseconds; `more` is appended as --set arguments.
  std::vector<std::string> train_arguments(const std::vector<std::string>& more = {}) const {
    const std::string config =
        write("run.toml", "# A small run.\n[data]\ntrain = \"" + path("ratings.txt") +
                              "\"\n[model]\nrank = 3\n[solver]\nepochs = 2\n[compute]\nthreads = 1\n"
                              "[output]\nmodel = \"" +
                              path("model") + "\"\n");
    std::vector<std::string> arguments = {"train", config};
    for (const std::string& setting : more) {
      arguments.emplace_back("--set");
      arguments.push_back(setting);
    }
    return arguments;
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_)) found.push_back(entry.path().filename());
    std::sort(found.begin(), found.end());
    return found;
  }

  std::filesystem::path scratch_;
};

}  // namespace concerto::test
