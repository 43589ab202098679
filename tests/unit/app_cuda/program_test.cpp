// The whole program with the cuda backend's own kernels, run by the host machine of support/simt: what is chosen, said,
// reported and refused where there is a GPU. What machines without one say is in unit/app.
#include "unit/app/program.hpp"

#include <gmock/gmock.h>

#include "concerto/base/file.hpp"

#include "../src/app/report.hpp"

namespace concerto {
namespace {

using test::Finished;
using test::run;
using testing::HasSubstr;

class ProgramOnCuda : public test::ProgramTest {
 protected:
  Finished train(std::vector<std::string> settings) {
    write_ratings("ratings.txt");
    return run(train_arguments(settings));
  }
  [[nodiscard]] std::string report() const { return read_file(path("report.json")); }
  [[nodiscard]] std::string text(const std::string& pointer) const { return json_text(report(), pointer).value_or(""); }
  [[nodiscard]] double number(const std::string& pointer) const { return json_number(report(), pointer).value_or(-1); }
};

TEST_F(ProgramOnCuda, AutoTakesTheGpuAndSaysSo) {
  const Finished finished = train({"output.report=" + path("report.json")});
  ASSERT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("runs on cuda: "));
  EXPECT_THAT(finished.err, HasSubstr(" bf16 gathers (auto: there is a GPU)\n"));
  EXPECT_THAT(text("/machine/backend"), testing::StartsWith("cuda: "));
  EXPECT_EQ(text("/machine/instruction_set"), "cuda");
  const double ratings = 2 * (400 * 8.0 + 30 * 8.0);
  EXPECT_GT(number("/final/device_bytes"), ratings);
}

TEST_F(ProgramOnCuda, TheConfigurationReachesTheBackend) {
  const Finished finished = train({"output.report=" + path("report.json"), "compute.backend=cuda",
                                   "compute.gather=fp32", "compute.deterministic=true"});
  ASSERT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr(" fp32 gathers, deterministic\n"));
  EXPECT_EQ(number("/final/device_bytes") > 0, true);
}

TEST_F(ProgramOnCuda, TheOtherBackendsCanStillBeAskedFor) {
  const Finished finished = train({"output.report=" + path("report.json"), "compute.backend=cpu"});
  ASSERT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("runs on cpu: "));
  EXPECT_EQ(number("/final/device_bytes"), 0);
}

TEST_F(ProgramOnCuda, EverySolverTrainsAsOnTheCpu) {
  for (const std::string solver :
       {"solver.kind=als", "solver.inner=cholesky", "solver.kind=subspace", "solver.kind=sgd"}) {
    for (const std::string backend : {"cpu", "cuda"}) {
      const Finished finished = train({solver, "solver.epochs=5", "compute.gather=fp32", "compute.backend=" + backend,
                                       "data.split={test = 0.2}", "output.report=" + path(backend + ".json")});
      ASSERT_EQ(finished.status, 0) << solver << finished.err;
    }
    const auto rmse = [&](const std::string& backend) {
      return json_number(read_file(path(backend + ".json")), "/final/metrics/rmse").value_or(-1);
    };
    EXPECT_GT(rmse("cpu"), 0.0);
    EXPECT_NEAR(rmse("cuda"), rmse("cpu"), solver == "solver.kind=sgd" ? 0.02 : 0.002) << solver;
  }
}

TEST_F(ProgramOnCuda, ModelsAreMeasuredAndRankedByIt) {
  ASSERT_EQ(train({"compute.backend=cpu"}).status, 0);
  write("new.txt", "100 0 5\n100 1 4\n100 7 1\n");
  const std::vector<std::vector<std::string>> commands = {
      {"evaluate", path("model"), "--data", path("ratings.txt"), "--metrics", "rmse,mae"},
      {"recommend", path("model"), "--users", "1,2", "--top", "3"},
      {"recommend", path("model"), "--history", path("new.txt"), "--top", "3"},
      {"similar", path("model"), "--items", "1", "--top", "3"}};
  for (const std::vector<std::string>& command : commands) {
    const auto on = [&](std::vector<std::string> more) {
      more.insert(more.begin(), command.begin(), command.end());
      return run(more);
    };
    const Finished cpu = on({"--backend", "cpu"});
    const Finished cuda = on({"--backend", "cuda", "--gather", "fp32"});
    EXPECT_EQ(cuda.status, 0) << cuda.err;
    EXPECT_THAT(cuda.err, HasSubstr("runs on cuda: "));
    EXPECT_THAT(cuda.err, HasSubstr("fp32 gathers"));
    EXPECT_EQ(std::count(cuda.out.begin(), cuda.out.end(), '\n'), std::count(cpu.out.begin(), cpu.out.end(), '\n'));
    EXPECT_EQ(on({"--backend", "cuda"}).status, 0);
  }
}

TEST_F(ProgramOnCuda, WhatDoesNotFitIsRefusedBeforeWorkStarts) {
  // 131,072 declared users at rank 8,192 are 4 GiB of fp32 and 2 GiB of bf16, and the machine has 4.
  const std::vector<std::string> large = {"data.users=131072", "model.rank=8192"};
  std::vector<std::string> by_name = large;
  by_name.push_back("compute.backend=cuda");
  const Finished refused = train(by_name);
  EXPECT_EQ(refused.status, 2);
  ASSERT_EQ(refused.errors().size(), 1U) << refused.err;
  EXPECT_THAT(
      refused.errors()[0],
      testing::ContainsRegex("GPU memory: training 131072 users and 20 items with 400 entries at rank 8192 "
                             "needs about 6.* GiB, the GPU has 4.0 GiB free, .* GiB too much; lower model.rank, "
                             "or use compute.backend = \"cpu\""));
  EXPECT_FALSE(std::filesystem::exists(path("model")));

  std::vector<std::string> automatic = large;
  automatic.push_back("compute.memory_limit_bytes=1000000000");  // so that the cpu does not begin either
  const Finished moved = train(automatic);
  EXPECT_EQ(moved.status, 2);
  EXPECT_THAT(moved.err, testing::ContainsRegex(
                             "runs on cpu: .*not on the GPU: training .* needs about .*, the GPU has 4.0 GiB free"));
  ASSERT_EQ(moved.errors().size(), 1U) << moved.err;
  EXPECT_THAT(moved.errors()[0], HasSubstr("compute.memory_limit_bytes"));
}

}  // namespace
}  // namespace concerto
