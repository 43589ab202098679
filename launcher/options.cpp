// The command line by CLI11; the only file of the launcher that sees it.
#include "options.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

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
options win over it. Launchers of one job also need --join-file, or with etcd --job. Rank r of a machine gets the r-th
visible GPU and an equal share of the processors. Each rank finds in its environment who it is: CONCERTO_JOB,
CONCERTO_RANK, CONCERTO_WORLD_SIZE, CONCERTO_LOCAL_RANK, CONCERTO_LOCAL_SIZE, CONCERTO_NODE_RANK, CONCERTO_INCARNATION,
CONCERTO_STORE, CONCERTO_CREDENTIALS; with etcd the files that were named here, as CONCERTO_STORE_AUTHORITY,
CONCERTO_STORE_CERTIFICATE, CONCERTO_STORE_KEY, CONCERTO_STORE_CREDENTIALS.

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

/// "HOST:PORT", also behind "concerto://"; or the address of etcd.
std::string checked_rendezvous(std::string text) {
  constexpr std::string_view kScheme = "concerto://";
  if (is_etcd(text) && is_store_address(text)) return text;
  if (text.starts_with(kScheme)) text.erase(0, kScheme.size());
  const std::size_t colon = text.rfind(':');
  const auto port = colon == std::string::npos ? std::nullopt : whole_number(std::string_view(text).substr(colon + 1));
  constexpr std::uint32_t kMostPort = 65'535;
  if (colon == 0 || !port || *port == 0 || *port > kMostPort || text.find('/') != std::string::npos) {
    throw Error(ErrorCode::kBadInput,
                fmt::format("must be HOST:PORT or etcd://HOST:PORT[,HOST:PORT...], not '{}'", text), "--rendezvous");
  }
  return text;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void add_store_files(CLI::App& program, LauncherOptions& options) {
  const auto add = [&program](const char* name, const char* variable, std::string& file, const char* help) {
    program
        .add_option_function<std::string>(
            name, [&file](const std::string& path) { file = std::filesystem::absolute(path).string(); }, help)
        ->type_name("FILE")
        ->envname(variable);
  };
  StoreFiles& files = options.store_files;
  add("--store-authority", "CONCERTO_STORE_AUTHORITY", files.authority, "etcd: certificate authority (PEM)");
  add("--store-certificate", "CONCERTO_STORE_CERTIFICATE", files.certificate, "etcd: certificate to show (PEM)");
  add("--store-key", "CONCERTO_STORE_KEY", files.private_key, "etcd: its private key (PEM)");
  add("--store-credentials", "CONCERTO_STORE_CREDENTIALS", files.credentials,
      "etcd: USER:PASSWORD, in a file of mode 0600");
  program.add_flag("--trusted-fabric", options.is_trusted_fabric,
                   "etcd on another machine without certificates: nobody listens on this network");
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
  program
      .add_option("--rendezvous", options.rendezvous,
                  "where launcher 0 is met, and where it listens; or etcd://HOST:PORT[,HOST:PORT...], where all meet")
      ->type_name("HOST:PORT")
      ->envname("CONCERTO_RENDEZVOUS");
  program
      .add_option(
          "--join-file", options.join_file,
          "holds the token by which launchers join: launcher 0 writes it, for its user alone, the others read it, "
          "or its line from CONCERTO_JOIN_TOKEN")
      ->type_name("FILE")
      ->envname("CONCERTO_JOIN_FILE");
  add_store_files(program, options);
  add_seconds(program, "--join-limit", options.join_limit, "until every launcher must have come (default 300)");
  add_seconds(program, "--lost-after", options.lost_after,
              "until a launcher that is not heard of counts as lost (default 10)");
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
  if (options.lost_after < std::chrono::seconds(1)) {
    throw Error(ErrorCode::kBadInput, "must be at least 1 second", "--lost-after");
  }
  if (options.rendezvous) options.rendezvous = checked_rendezvous(*options.rendezvous);
  if (options.store_files.certificate.empty() != options.store_files.private_key.empty()) {
    throw Error(ErrorCode::kBadInput, "--store-certificate and --store-key go together",
                options.store_files.certificate.empty() ? "--store-key" : "--store-certificate");
  }
  return options;
}

}  // namespace concerto
