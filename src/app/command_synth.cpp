// `concerto synth --out DIR`: generated data with a known true model.
#include <chrono>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/thread_pool.hpp"

#include "commands.hpp"
#include "inputs.hpp"
#include "signals.hpp"
#include "summary.hpp"

namespace concerto {

void run_synth(const SynthArguments& arguments, Console& console) {
  const StopSignals signals(console.err);
  require_output_parent(arguments.out, "--out");
  require_memory(synth_bytes(arguments.options), {}, "generating from a model of this size",
                 "lower --users, --items or --rank");
  ThreadPool pool(arguments.compute.threads);
  constexpr std::chrono::seconds kBetweenLines{2};
  auto last = std::chrono::steady_clock::now();
  const auto progress = [&](std::uint64_t done, std::uint64_t total) {
    if (signals.token().stop_requested()) throw Error(ErrorCode::kCancelled, "stopped; nothing is kept", arguments.out);
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kBetweenLines || total == 0) return;
    last = now;
    console.log.info(fmt::format("generated {} of {} entries, {:.0f} %", done, total,
                                 100.0 * static_cast<double>(done) / static_cast<double>(total)));
  };
  const SynthSummary summary = synthesize(arguments.options, arguments.out, pool, progress);
  print_row(console.out, "train.txt", fmt::format("{} entries", summary.train_entries));
  print_row(console.out, "test.txt", fmt::format("{} entries", summary.test_entries));
  if (!arguments.options.is_implicit) {
    print_row(console.out, "true model",
              fmt::format("test rmse {:.4f}, noise {:.4f}", summary.true_rmse, summary.noise_stddev));
  }
  print_row(console.out, "data", arguments.out);
  console.out << std::flush;
}

}  // namespace concerto
