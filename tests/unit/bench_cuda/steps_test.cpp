// Every step of bench_cuda in miniature on the host machine: it runs to its end, finds its results right, and its rows
// have what a reader needs. Times mean nothing here.
#include <filesystem>

#include <gtest/gtest.h>

#include "bench.hpp"

namespace concerto::bench {
namespace {

class Steps : public ::testing::TestWithParam<Step> {};

TEST_P(Steps, RunsAndFindsItsResultsRight) {
  ThreadPool pool(1);
  const cuda::DeviceFacts facts = cuda::find_device().facts;
  cuda::CudaBackend backend({}, facts);
  const std::filesystem::path work =
      std::filesystem::temp_directory_path() / (std::string("concerto_bench_") + GetParam().name);
  std::filesystem::create_directories(work);
  Bench bench{backend, facts, pool, {48, 24, 900}, 0.002, work, {1, 1, 1e9}, {}, {}, {}};
  const json result = GetParam().run(bench);
  std::filesystem::remove_all(work);
  EXPECT_EQ(bench.problems, std::vector<std::string>{});
  if (!result.contains("rows")) return;
  EXPECT_FALSE(result["rows"].empty());
  for (const json& row : result["rows"]) {
    EXPECT_FALSE(row["name"].get<std::string>().empty());
    if (row.contains("share_of_roofline")) {
      EXPECT_GE(row["share_of_roofline"].get<double>(), 0.0);
    }
  }
}

std::string step_name(const ::testing::TestParamInfo<Step>& step) {
  return step.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, Steps, ::testing::ValuesIn(all_steps()), step_name);

}  // namespace
}  // namespace concerto::bench
