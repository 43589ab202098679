// The command line by CLI11; the only file of the launcher that sees it.
#include "options.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/job_environment.hpp"

#include "variables.hpp"

namespace concerto {
namespace {

constexpr const char* kAbout =
    "concerto-launch [OPTIONS] -- PROGRAM [ARGUMENTS]\n\n"
    "Starts the ranks of a Concerto run, here or as part of a job on several machines, passes their output and "
    "signals\n"
    "on, and ends them all when one fails.";

constexpr const char* kFooter = R"(Examples:
  concerto-launch --nproc-per-node 4 -- concerto train run.toml
  srun --ntasks-per-node=1 concerto-launch --nproc-per-node 8 -- concerto train run.toml
  srun -n 8 concerto-launch -- concerto train run.toml
  concerto-launch --dry-run --nproc-per-node 2 -- concerto train run.toml

Under Slurm (srun) and in a Kubernetes Indexed Job, nodes, node rank and rendezvous come from the environment;
options win over it. Rank r of a machine gets the r-th visible GPU and an equal share of the processors. Each rank
finds in its environment who it is: CONCERTO_JOB, CONCERTO_RANK, CONCERTO_WORLD_SIZE, CONCERTO_LOCAL_RANK,
CONCERTO_LOCAL_SIZE, CONCERTO_NODE_RANK, CONCERTO_INCARNATION, CONCERTO_STORE, CONCERTO_CREDENTIALS.

Ctrl-C and SIGTERM are passed on to the ranks and waited for; a second one kills them.
Exit status: 0 if all ranks ended with 0; otherwise that of the rank that failed first (128 + signal where it was ended
by one, 130 on Ctrl-C); 124 when the time limit was over; 2 where the command is wrong; 1 where the system refused
something.)";

CLI::Validator whole(std::uint32_t lowest, std::uint32_t highest) {
  const auto problem = [lowest, highest](const std::string& text) -> std::string {
    const auto number = whole_number(text);
    if (number && *number >= lowest && *number <= highest) return {};
    return fmt::format("must be a whole number from {} to {}, not {}", lowest, highest, text);
  };
  return {problem, ""};
}

void add_seconds(CLI::App& program, const char* name, std::chrono::milliseconds& value, const char* help) {
  const auto parse = [&value, name](const std::string& text) {
    constexpr double kMost = 1e9;
    char* end = nullptr;
    const double seconds = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(seconds) || seconds < 0.0 || seconds > kMost) {
      throw Error(ErrorCode::kBadInput, fmt::format("must be a number of seconds of at least 0, not {}", text), name);
    }
    value = std::chrono::milliseconds(std::llround(seconds * 1000.0));
  };
  program.add_option_function<std::string>(name, parse, help)->type_name("SECONDS");
}

/// "HOST:PORT", also behind "concerto://".
std::string checked_rendezvous(std::string text) {
  constexpr std::string_view kScheme = "concerto://";
  if (text.starts_with(kScheme)) text.erase(0, kScheme.size());
  const std::size_t colon = text.rfind(':');
  const auto port = colon == std::string::npos ? std::nullopt : whole_number(std::string_view(text).substr(colon + 1));
  constexpr std::uint32_t kMostPort = 65'535;
  if (colon == 0 || !port || *port == 0 || *port > kMostPort || text.find('/') != std::string::npos) {
    throw Error(ErrorCode::kBadInput, fmt::format("must be HOST:PORT, not '{}'", text), "--rendezvous");
  }
  return text;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void declare(CLI::App& program, LauncherOptions& options) {
  constexpr std::uint32_t kMostNodes = 65'536;
  constexpr std::uint32_t kMostRanks = 4'096;
  program.add_option("--nproc-per-node", options.ranks_per_node, "ranks to start on this machine (default 1)")
      ->type_name("K")
      ->check(whole(1, kMostRanks));
  program.add_option("--nnodes", options.nodes, "launchers of the job (default 1)")
      ->type_name("N")
      ->check(whole(1, kMostNodes));
  program.add_option("--node-rank", options.node_rank, "which of them this is, from 0")
      ->type_name("I")
      ->check(whole(0, kMostNodes - 1));
  program.add_option("--rendezvous", options.rendezvous, "where launcher 0 is met, and where it listens")
      ->type_name("HOST:PORT");
  program.add_option("--job", options.job, "name of the job: letters, digits, '-' and '_'")->type_name("NAME");
  program
      .add_option(
          "--devices", options.devices,
          "GPUs: auto (the visible ones), none, or a list such as 0,1,4,5: rank r of this machine gets the r-th")
      ->type_name("LIST");
  program.add_option("--bind", options.bind, "processors: auto (an equal share for each rank), or none")
      ->type_name("HOW")
      ->check(CLI::IsMember({"auto", "none"}));
  program.add_option("--log-dir", options.log_folder, "also append each rank's output to DIR/rank-R.log")
      ->type_name("DIR");
  add_seconds(program, "--grace", options.grace, "after SIGTERM, when a rank has failed, before SIGKILL (default 10)");
  add_seconds(program, "--time-limit", options.time_limit, "for the whole job; 0: none (default)");
  program.add_flag("--dry-run", options.is_dry_run, "say what would be started, start nothing");
}

}  // namespace

std::optional<LauncherOptions> parse_options(const std::vector<std::string>& words, std::ostream& out) {
  // What is behind "--" is the ranks' and is not looked at.
  const auto dashes = std::ranges::find(words, "--");
  LauncherOptions options;
  CLI::App program{kAbout, "concerto-launch"};
  program.set_version_flag("--version", std::string("concerto-launch ") + CONCERTO_VERSION);
  program.footer(kFooter);
  declare(program, options);
  try {
    program.parse(std::vector<std::string>(std::make_reverse_iterator(dashes), words.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      program.exit(error, out, out);
      return std::nullopt;
    }
    throw Error(ErrorCode::kBadInput, one_line(error.what()) + " (see --help; the program to run comes behind --)",
                "command line");
  }
  if (dashes != words.end()) options.command.assign(dashes + 1, words.end());
  if (options.command.empty()) {
    throw Error(ErrorCode::kBadInput, "no program to run: concerto-launch [OPTIONS] -- PROGRAM [ARGUMENTS]",
                "command line");
  }
  if (!options.job.empty() && !is_job_name(options.job)) {
    throw Error(ErrorCode::kBadInput,
                fmt::format("must be 1 to 64 letters, digits, '-' and '_', not '{}'", options.job), "--job");
  }
  if (options.rendezvous) options.rendezvous = checked_rendezvous(*options.rendezvous);
  return options;
}

}  // namespace concerto
