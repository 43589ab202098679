// What the tests of readers share: a directory of their own, files written into it, and errors caught as values.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/reader.hpp"

namespace concerto::test {

class ReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::temp_directory_path() /
                 ("concerto_" + std::string(info->name()) + "_" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(directory_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return directory_ / name;
  }

  static RawRatings read(const std::filesystem::path& path, const ReadOptions& options = {}, unsigned threads = 2) {
    ThreadPool pool(threads);
    return read_ratings(path, options, pool);
  }
  /// Writes and reads.
  [[nodiscard]] RawRatings read_text(std::string_view text, const ReadOptions& options = {}) const {
    return read(write("input.txt", text), options);
  }

  /// The error that reading ends with; the directory is cut off `where`.
  static Error error_of(const std::filesystem::path& path, const ReadOptions& options = {}, unsigned threads = 2) {
    try {
      (void)read(path, options, threads);
    } catch (const Error& error) {
      std::string where = error.where();
      const std::string folder = path.parent_path().string() + "/";
      if (where.compare(0, folder.size(), folder) == 0) where.erase(0, folder.size());
      return {error.code(), error.message(), where, error.cause()};
    }
    ADD_FAILURE() << path << " was read without an error";
    return {ErrorCode::kCancelled, "none"};
  }
  [[nodiscard]] Error error_of_text(std::string_view text, const ReadOptions& options = {}) const {
    return error_of(write("input.txt", text), options);
  }

  std::filesystem::path directory_;
};

inline ReadOptions with_format(FileFormat format) {
  ReadOptions options;
  options.format = format;
  return options;
}

}  // namespace concerto::test
