// Which backend runs, and what is said about it, on whatever machine the test runs on: with a GPU or without, built
// with CUDA or without.
#include "../src/app/engine.hpp"

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

#include "program.hpp"

namespace concerto {
namespace {

using testing::HasSubstr;

ComputeConfig compute(const std::string& backend, const std::string& gather = "bf16") {
  ComputeConfig config;
  config.backend = backend;
  config.gather = gather;
  config.threads = 2;
  return config;
}

Error refusal(const ComputeConfig& config) {
  ThreadPool pool(1);
  try {
    (void)choose_backend(config, pool);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return {ErrorCode::kIo, ""};
}

TEST(Engine, AutoSaysInOneLineWhyTheGpuDoesOrDoesNotRun) {
  std::ostringstream lines;
  Log log(lines);
  Engine engine(compute("auto"), log);
  const std::string text = lines.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  if (cuda_obstacle().empty()) {
    EXPECT_EQ(engine.backend().name(), "cuda");
    EXPECT_THAT(text, HasSubstr("runs on cuda: "));
    EXPECT_THAT(text, HasSubstr(" (auto: there is a GPU)\n"));
  } else {
    EXPECT_EQ(engine.backend().name(), "cpu");
    EXPECT_THAT(text, HasSubstr("runs on cpu: 2 threads, "));
    EXPECT_THAT(text, HasSubstr(" (no GPU: " + cuda_obstacle() + ")\n"));
  }
}

TEST(Engine, ABackendAskedForByNameGivesNoReasons) {
  for (const std::string name : {"cpu", "reference"}) {
    std::ostringstream lines;
    Log log(lines);
    Engine engine(compute(name), log);
    EXPECT_EQ(engine.backend().name(), name);
    EXPECT_THAT(lines.str(), HasSubstr("runs on " + engine.backend().description() + "\n"));
  }
}

TEST(Engine, AGpuAskedForIsNeverReplaced) {
  if (cuda_obstacle().empty()) {
    ThreadPool pool(1);
    EXPECT_EQ(choose_backend(compute("cuda"), pool).backend->name(), "cuda");
    return;
  }
  const Error error = refusal(compute("cuda"));
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_EQ(exit_status(error.code()), 2);
  EXPECT_EQ(error.where(), R"(compute.backend = "cuda")");
  EXPECT_THAT(error.message(), testing::StartsWith(cuda_obstacle() + "; use "));
}

TEST(Engine, UnknownWordsAreNamed) {
  EXPECT_STREQ(refusal(compute("gpu")).what(),
               R"(compute.backend = "gpu": known backends are auto, reference, cpu and cuda)");
  for (const std::string backend : {"auto", "cpu", "reference", "cuda"}) {
    EXPECT_STREQ(refusal(compute(backend, "fp16")).what(), R"(compute.gather = "fp16": is bf16 or fp32)");
  }
}

TEST(Engine, WithoutAGpuEveryTrainingSettlesOnWhatWasChosen) {
  std::ostringstream lines;
  Log log(lines);
  Engine engine(compute("cpu"), log);
  MemoryShape shape;
  shape.users = shape.items = 4000000000U;
  shape.entries = std::uint64_t{1} << 50;
  shape.rank = 8192;
  const std::string before = lines.str();
  engine.settle_for(shape, "training");
  EXPECT_EQ(engine.backend().name(), "cpu");
  EXPECT_EQ(lines.str(), before);
}

class BackendOptions : public test::ProgramTest {};

TEST_F(BackendOptions, OfCommandsThatMeasureAndRank) {
  write_ratings("ratings.txt");
  ASSERT_EQ(test::run(train_arguments()).status, 0);
  const std::vector<std::vector<std::string>> commands = {
      {"evaluate", path("model"), "--data", path("ratings.txt"), "--metrics", "rmse"},
      {"recommend", path("model"), "--users", "1"},
      {"similar", path("model"), "--items", "1"}};
  for (const std::vector<std::string>& command : commands) {
    const auto with = [&](std::vector<std::string> more) {
      more.insert(more.begin(), command.begin(), command.end());
      return test::run(more);
    };
    EXPECT_EQ(with({"--backend", "cpu", "--gather", "fp32"}).status, 0);
    EXPECT_EQ(with({"--backend", "auto"}).status, 0);
    const test::Finished wrong = with({"--gather", "fp16"});
    EXPECT_EQ(wrong.status, 2);
    EXPECT_THAT(wrong.err, HasSubstr(R"(compute.gather = "fp16": is bf16 or fp32)"));
    if (!cuda_obstacle().empty()) {
      const test::Finished refused = with({"--backend", "cuda", "--gather", "fp32"});
      EXPECT_EQ(refused.status, 2);
      EXPECT_EQ(refused.out, "");
      EXPECT_THAT(refused.err, HasSubstr(R"(compute.backend = "cuda": )" + cuda_obstacle()));
    }
  }
}

}  // namespace
}  // namespace concerto
