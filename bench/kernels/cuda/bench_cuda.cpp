// bench_cuda: measures the cuda backend on the device of this machine, step by step.
//
//   bench_cuda [--only STEP[,STEP...]] [--seconds LIMIT] [--out FILE.json] [--scale S] [--work DIR]
//   bench_cuda --device        describes the device as JSON; exit status 3 and the reason where there is none
//   bench_cuda --list          the names of the steps
//
// FILE is written anew each time a step ends. LIMIT stops before a step is begun, and bounds the repetitions within it.
// Exit status 1 if a step threw or found its results wrong, 3 without a device.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include <fmt/core.h>

#include "concerto/base/error.hpp"

#include "bench.hpp"

namespace concerto::bench {
namespace {

constexpr int kNoDevice = 3;

struct Arguments {
  std::vector<std::string> only;
  double seconds = 210.0;
  std::string out;
  double scale = 1.0;
  std::filesystem::path work = std::filesystem::temp_directory_path();
  bool device = false;
  bool list = false;
};

std::vector<std::string> split(const std::string& words) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= words.size();) {
    const std::size_t end = std::min(words.find(',', begin), words.size());
    parts.push_back(words.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--device" || name == "--list") {
      (name == "--device" ? arguments.device : arguments.list) = true;
      continue;
    }
    if (i + 1 == argc) throw Error(ErrorCode::kBadInput, "an option without its value, or an unknown one", argv[i]);
    const std::string value = argv[++i];
    if (name == "--only") {
      arguments.only = split(value);
    } else if (name == "--seconds") {
      arguments.seconds = std::atof(value.c_str());
    } else if (name == "--out") {
      arguments.out = value;
    } else if (name == "--scale") {
      arguments.scale = std::atof(value.c_str());
    } else if (name == "--work") {
      arguments.work = value;
    } else {
      throw Error(ErrorCode::kBadInput, "no such option", std::string(name));
    }
  }
  if (!(arguments.scale > 0.0 && arguments.scale <= 1.0)) {
    throw Error(ErrorCode::kBadInput, "must be above 0 and at most 1", "--scale");
  }
  for (const std::string& wanted : arguments.only) {
    const auto& steps = all_steps();
    if (std::ranges::none_of(steps, [&](const Step& step) { return step.name == wanted; })) {
      throw Error(ErrorCode::kBadInput, fmt::format("no step is called '{}'", wanted), "--only");
    }
  }
  return arguments;
}

json describe(const cuda::DeviceFacts& facts) {
  return {{"name", facts.name},
          {"capability", fmt::format("{}.{}", facts.major, facts.minor)},
          {"multiprocessors", facts.multiprocessors},
          {"l2_bytes", facts.l2_bytes},
          {"memory_bytes", facts.memory_bytes},
          {"cuda_driver", facts.driver},
          {"cuda_runtime", facts.runtime}};
}

void write(const std::string& path, const json& result) {
  if (path.empty()) return;
  const std::string beside = path + ".new";
  std::ofstream(beside) << result.dump(1) << '\n';
  std::filesystem::rename(beside, path);
}

int run_steps(const Arguments& arguments, const cuda::DeviceFacts& facts) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const auto spent = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  ThreadPool pool;
  cuda::CudaBackend backend({}, facts);
  Bench bench{backend, facts, pool, {}, arguments.scale, arguments.work, {}, {}, {}, {}};
  bench.shape.users = std::max(16U, static_cast<RowIndex>(bench.shape.users * arguments.scale));
  bench.shape.items = std::max(16U, static_cast<RowIndex>(bench.shape.items * arguments.scale));
  bench.shape.entries = std::max<EntryIndex>(
      64, static_cast<EntryIndex>(static_cast<double>(bench.shape.entries) * arguments.scale * arguments.scale));
  json result = {{"schema", 1},
                 {"device", describe(facts)},
                 {"scale", arguments.scale},
                 {"steps", json::object()},
                 {"problems", json::array()}};
  for (const Step& step : all_steps()) {
    if (!arguments.only.empty() && std::ranges::find(arguments.only, step.name) == arguments.only.end()) continue;
    if (spent() > arguments.seconds) {
      bench.problems.push_back(fmt::format("{}: no time was left", step.name));
      continue;
    }
    bench.repeat.most_ms = std::min(Repeat{}.most_ms, 1e3 * 0.1 * (arguments.seconds - spent()));
    const double before = spent();
    try {
      result["steps"][step.name] = step.run(bench);
    } catch (const Error& error) {
      bench.problems.push_back(fmt::format("{}: {}", step.name, error.what()));
    }
    result["steps"][step.name]["step_seconds"] = spent() - before;
    result["problems"] = bench.problems;
    write(arguments.out, result);
  }
  result["problems"] = bench.problems;
  write(arguments.out, result);
  if (arguments.out.empty()) fmt::print("{}\n", result.dump(1));
  for (const std::string& problem : bench.problems) fmt::print(stderr, "{}\n", problem);
  return bench.problems.empty() ? 0 : 1;
}

int run(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  if (arguments.list) {
    for (const Step& step : all_steps()) fmt::print("{}\n", step.name);
    return 0;
  }
  const cuda::Availability found = cuda::find_device();
  if (!found.usable) {
    fmt::print(stderr, "{}\n", found.reason);
    return kNoDevice;
  }
  if (arguments.device) {
    fmt::print("{}\n", describe(found.facts).dump(1));
    return 0;
  }
  return run_steps(arguments, found.facts);
}

}  // namespace
}  // namespace concerto::bench

int main(int argc, char** argv) {
  try {
    return concerto::bench::run(argc, argv);
  } catch (const concerto::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return concerto::exit_status(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
