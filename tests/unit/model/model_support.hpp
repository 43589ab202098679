// Small models and temporary folders for the tests of model directories.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/model/model.hpp"

namespace concerto::test {

/// A folder that is removed with its content.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(testing::TempDir()) /
            (std::string("concerto-") + info->name() + "-" + std::to_string(::getpid()));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A model of 5 users with integer ids 10, 20, ... and 3 items with labels, rank 3, biases. Values tell user from item,
/// row and column; every number of the objective differs from its default.
inline Model small_model() {
  Model model;
  model.objective.regularization = 0.07;
  model.objective.regularization_exponent = 0.25;
  model.objective.biases = true;
  model.objective.bias_regularization = 0.125;
  model.objective.mean = 3.58;
  model.users = FactorTable({.rows = 5, .rank = 3, .biases = true});
  model.items = FactorTable({.rows = 3, .rank = 3, .biases = true});
  for (FactorTable* table : {&model.users, &model.items}) {
    const float base = table == &model.users ? 100.0F : -200.0F;
    for (RowIndex row = 0; row < table->rows(); ++row) {
      for (std::uint32_t column = 0; column < 3; ++column) {
        table->row(row)[column] = base + 10.0F * static_cast<float>(row) + 0.1F * static_cast<float>(column);
      }
      table->biases()[row] = base / 50.0F + static_cast<float>(row);
    }
  }
  model.user_ids = IdMap::integers({10, 20, 30, 40, 50}, kRowOrderSeed, 0);
  model.item_ids = IdMap::labels({"alpha", "beta", "gamma ray"}, kRowOrderSeed, 1);
  model.lowest_value = 0.5F;
  model.highest_value = 5.0F;
  model.config_json = R"({"model": {"rank": 3, "regularization": 0.07}})";
  model.metrics_json = R"({"rmse": 0.8434})";
  return model;
}

/// Puts a file there without the care for power cuts that write_file takes: tests of damage write thousands.
inline void put_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  ASSERT_TRUE(file.flush().good()) << path;
}

/// The error's whole message, or "no error".
template <class Body>
std::string message_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace concerto::test
