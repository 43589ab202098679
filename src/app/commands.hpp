// The commands of the program: what each is given, and the function that runs it. cli.cpp fills these structs from the
// command line; each function lives in command_NAME.cpp and throws Error when it cannot do its job.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "concerto/config/config.hpp"
#include "concerto/data/synth.hpp"

#include "log.hpp"

namespace concerto {

struct TrainArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string report;  ///< overrides output.report
};
void run_train(const TrainArguments& arguments, Console& console);

struct EvaluateArguments {
  std::string model;
  std::string data;
  std::string exclude;
  std::string history;
  std::vector<std::string> metrics;
  std::string format = "auto";
  std::optional<double> min_value;  ///< absent: as in training
  std::string clip = "none";
  std::string report;
  ComputeConfig compute;
};
void run_evaluate(const EvaluateArguments& arguments, Console& console);

struct RecommendArguments {
  std::string model;
  std::vector<std::string> users;  ///< lists of ids; one word "all" means every user
  std::string history;
  std::string exclude;
  std::optional<double> min_value;  ///< of the history; absent: as in training
  std::uint32_t top = 10;
  std::string format = "tsv";  ///< "tsv", "json"
  std::string input_format = "auto";
  ComputeConfig compute;
};
void run_recommend(const RecommendArguments& arguments, Console& console);

struct SimilarArguments {
  std::string model;
  std::vector<std::string> items;  ///< lists of ids
  std::uint32_t top = 10;
  std::string format = "tsv";
  ComputeConfig compute;
};
void run_similar(const SimilarArguments& arguments, Console& console);

struct InspectArguments {
  std::string path;
  std::string format = "auto";
  ComputeConfig compute;
};
void run_inspect(const InspectArguments& arguments, Console& console);

struct ExportArguments {
  std::string model;
  std::string format = "npy";  ///< "npy", "safetensors", "text"
  std::string out;
};
void run_export(const ExportArguments& arguments, Console& console);

struct DoctorArguments {
  std::string config;  ///< empty: what needs no configuration
  std::vector<std::string> overrides;
  bool is_json = false;
};
/// Returns the exit status: 1 where there is a problem.
[[nodiscard]] int run_doctor(const DoctorArguments& arguments, Console& console);

struct BenchArguments {
  std::string sweep;
  std::string out;                 ///< empty: NAME.bench, of the sweep's name
  std::vector<std::string> cases;  ///< empty: all
  std::optional<std::uint32_t> repeats;
  std::vector<std::string> overrides;
};
/// Returns the exit status: 1 where a run failed.
[[nodiscard]] int run_bench(const BenchArguments& arguments, Console& console);

struct BenchPageArguments {
  std::string results;
  std::string out;
};
void run_bench_page(const BenchPageArguments& arguments, Console& console);

struct PrepareArguments {
  DataConfig data;  ///< `train` is what is prepared
  bool is_implicit = false;
  std::string values = "ignore";
  std::string out;
  ComputeConfig compute;
};
void run_prepare(const PrepareArguments& arguments, Console& console);

struct SynthArguments {
  SynthOptions options;
  std::string out;
  ComputeConfig compute;
};
void run_synth(const SynthArguments& arguments, Console& console);

}  // namespace concerto
