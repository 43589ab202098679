// Real data files for tests: outside the repository, named by CONCERTO_TEST_DATA; tests skip, loudly, where absent.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace concerto::test {

/// The path of a data file, or nothing where it is not on this machine.
inline std::optional<std::filesystem::path> data_file(const std::string& name) {
  const char* root = std::getenv("CONCERTO_TEST_DATA");
  if (root == nullptr) return std::nullopt;
  std::filesystem::path path = std::filesystem::path(root) / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

}  // namespace concerto::test

/// Declares `variable` as the path of a data file or skips the test, saying which file is missing.
#define CONCERTO_DATA_FILE_OR_SKIP(variable, name)                                                     \
  const auto variable##_found = ::concerto::test::data_file(name);                                     \
  if (!variable##_found) GTEST_SKIP() << "SKIPPED: data file " << (name) << " is not on this machine"; \
  const std::filesystem::path& variable = *variable##_found
