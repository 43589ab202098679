// Composition: options, plan, guard, services, loop.
#include "launch.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>
#include <random>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/join.hpp"

#include "drive.hpp"
#include "guard.hpp"
#include "plan.hpp"
#include "services.hpp"

namespace concerto {
namespace {

constexpr const char* kName = "concerto-launch";

EnvironmentVariables own_environment() {
  EnvironmentVariables variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=', 1);  // a name is not empty
    if (equals != std::string_view::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

/// GPUs as the driver shows them, without a vendor's library: the launcher also runs where there is none.
std::uint32_t installed_devices() {
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/driver/nvidia/gpus", error);
  if (error) return 0;
  return static_cast<std::uint32_t>(std::distance(begin(entries), end(entries)));
}

std::string random_job_name() {
  std::random_device device;
  return fmt::format("local-{:08x}", device());
}

/// Standard descriptors that whoever started the launcher has closed: pipes would take their numbers.
void open_standard_descriptors() {
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (fcntl(number, F_GETFD) < 0 && open("/dev/null", O_RDWR) != number) _exit(1);
  }
}

/// An error is one line.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

int failed(const std::string& what, int status) {
  std::cerr << kName << ": error: " << one_line(what) << std::endl;
  return status;
}

template <class Body>
int with_errors_reported(const Body& body) {
  try {
    return body();
  } catch (const Error& error) {
    return failed(error.what(), exit_status(error.code()));
  } catch (const std::bad_alloc&) {
    return failed("memory: the system gives no more", 1);
  } catch (const std::exception& error) {
    return failed(error.what(), 1);
  }
}

std::string found_program(const LauncherOptions& options, const Machine& machine) {
  const auto path = machine.environment.find("PATH");
  Result<std::string> program =
      find_program(options.command.front(), path == machine.environment.end() ? "/usr/bin:/bin" : path->second);
  if (!program.ok()) throw Error(ErrorCode::kBadInput, program.failure().message, "program to run");
  return std::move(program).value();
}

std::string join_token(const Machine& machine) {
  const auto found = machine.environment.find(kJoinTokenVariable);
  return found == machine.environment.end() ? "" : found->second;
}

void check_joining(const LaunchPlan& plan, const Machine& machine) {
  const Assignment& assignment = plan.assignment;
  if (assignment.nodes == 1 || is_etcd(assignment.rendezvous) || !plan.options.join_file.empty()) return;
  if (assignment.node_rank > 0 && !join_token(machine).empty()) return;
  throw Error(ErrorCode::kBadInput,
              fmt::format("is needed with {} launchers: the file with the token by which they join{}", assignment.nodes,
                          assignment.node_rank > 0 ? fmt::format("; or its line in {}", kJoinTokenVariable) : ""),
              "--join-file");
}

/// Between two attempts to join. Signals are blocked: without this Ctrl-C would wait for the time limit.
void pause_unless_stopped(const Descriptor& guard) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  const timespec pause{0, 100'000'000};
  const int number = sigtimedwait(&set, nullptr, &pause);
  pollfd hang_up{guard.get(), POLLIN, 0};
  if (number > 0 || poll(&hang_up, 1, 0) > 0) {
    throw Error(ErrorCode::kCancelled, "stopped while waiting for the other launchers", "signal");
  }
}

int run_job(const LaunchPlan& plan, const Machine& machine, const Descriptor& guard) {
  ServiceOptions serving;
  serving.assignment = plan.assignment;
  serving.join_file = plan.options.join_file;
  serving.join_token = join_token(machine);
  serving.store_files = plan.options.store_files;
  serving.is_trusted_fabric = plan.options.is_trusted_fabric;
  serving.join_limit = plan.options.join_limit;
  serving.lost_after = plan.options.lost_after;
  serving.pause = [&guard] { pause_unless_stopped(guard); };
  const std::unique_ptr<JobServices> services = make_job_services(serving);
  DriveOptions options;
  options.name = kName;
  options.log_folder = plan.options.log_folder;
  options.supervisor.node = plan.assignment.node_rank;
  options.supervisor.nodes = plan.assignment.nodes;
  options.supervisor.grace = plan.options.grace;
  options.supervisor.time_limit = plan.options.time_limit;
  for (const RankPlan& rank : plan.ranks) options.supervisor.ranks.push_back(rank.job.rank);
  options.process_of = [&](Rank rank, const RankGrant& grant) {
    return process_of(plan, plan.ranks[rank - plan.assignment.first_rank()], machine, *services, grant);
  };
  return drive(options, *services, guard);
}

int launch(const std::vector<std::string>& arguments) {
  const std::optional<LauncherOptions> options = parse_options(arguments, std::cout);
  if (!options) return 0;
  const Machine machine{own_environment(), allowed_processors(), machine_processors(), installed_devices()};
  const LaunchPlan plan = make_plan(*options, machine, random_job_name(), found_program(*options, machine));
  for (const std::string& notice : plan.notices) std::cerr << kName << ": " << notice << std::endl;
  if (options->is_dry_run) {
    print_plan(plan, machine, std::cout);
    if (!std::cout.flush()) throw Error(ErrorCode::kIo, "cannot be written", "standard output");
    return 0;
  }
  check_joining(plan, machine);
  const auto body = [&](Descriptor guard) {
    return with_errors_reported([&] { return run_job(plan, machine, guard); });
  };
  return run_guarded(body, [](const char* line) { std::cerr << kName << ": error: " << line << std::endl; });
}

}  // namespace

int run_launcher(const std::vector<std::string>& arguments) {
  open_standard_descriptors();
  return with_errors_reported([&] { return launch(arguments); });
}

}  // namespace concerto
