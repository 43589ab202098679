// fork, exec, groups and reaping. Between fork and exec only calls that are safe there are made.
#include "process_posix.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

struct Pipe {
  Descriptor reading;
  Descriptor writing;
};

std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{Descriptor(ends[0]), Descriptor(ends[1])};
}

/// Pointers for exec, made before fork: nothing may be allocated after.
std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// What the child needs, ready to use.
struct ChildSetup {
  const char* program = nullptr;
  char* const* arguments = nullptr;
  char* const* environment = nullptr;
  int in = -1;
  int out = -1;
  int err = -1;
  int report = -1;  ///< errno goes here when exec fails
  int credentials = -1;
  const cpu_set_t* processors = nullptr;
  pid_t parent = 0;
};

void reset_signals() noexcept {
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction present {};
    // As nohup asks: who ignores SIGHUP has its children ignore it.
    const bool is_kept = number == SIGHUP && ::sigaction(number, nullptr, &present) == 0 &&
                         present.sa_handler == SIG_IGN;  // NOLINT: the macro's cast
    if (!is_kept) ::sigaction(number, &by_default, nullptr);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become(const ChildSetup& setup) noexcept {
  constexpr int kNotRun = 127;
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != setup.parent) ::_exit(kNotRun);  // it died before the kernel knew that we care
  if (setup.processors != nullptr) ::sched_setaffinity(0, sizeof(cpu_set_t), setup.processors);
  const bool is_set_up = ::dup2(setup.in, STDIN_FILENO) >= 0 && ::dup2(setup.out, STDOUT_FILENO) >= 0 &&
                         ::dup2(setup.err, STDERR_FILENO) >= 0;
  if (is_set_up && (setup.credentials < 0 || ::dup2(setup.credentials, kCredentialsDescriptor) >= 0)) {
    reset_signals();
    ::execve(setup.program, setup.arguments, setup.environment);
  }
  const int error = errno;
  [[maybe_unused]] const ssize_t count = ::write(setup.report, &error, sizeof error);
  ::_exit(kNotRun);
}

Failure refused_by_system(const char* what) {
  return {FailureKind::kAborted, fmt::format("{}: {}", what, std::strerror(errno))};
}

/// 0 once the program runs; otherwise why it does not.
int exec_error(int report) {
  int error = 0;
  ssize_t count = 0;
  do {
    count = ::read(report, &error, sizeof error);
  } while (count < 0 && errno == EINTR);
  return count == sizeof error ? error : 0;
}

bool is_runnable_file(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

/// The parent's number in /proc/ID/stat: the second field behind the name, which may hold anything but ends in ')'.
pid_t parent_of(int processes, const char* id) noexcept {
  std::array<char, 32> path{};
  std::array<char, 512> text{};
  const std::size_t length = std::strlen(id);
  constexpr std::string_view kStat = "/stat";
  if (length + kStat.size() >= path.size()) return -1;
  std::memcpy(path.data(), id, length);
  std::memcpy(path.data() + length, kStat.data(), kStat.size());
  const int file = ::openat(processes, path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  const ssize_t count = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  if (count <= 0) return -1;
  const std::string_view stat(text.data(), static_cast<std::size_t>(count));
  const std::size_t end_of_name = stat.rfind(") ");
  constexpr std::size_t kToParent = 4;  // ") S "
  if (end_of_name == std::string_view::npos || end_of_name + kToParent >= stat.size()) return -1;
  pid_t parent = -1;
  std::from_chars(stat.data() + end_of_name + kToParent, stat.data() + stat.size(), parent);
  return parent;
}

/// Sends SIGKILL to every child. Where there is no /proc it does nothing.
void kill_children() noexcept {
  DIR* const processes = ::opendir("/proc");
  if (processes == nullptr) return;
  const pid_t self = ::getpid();
  while (const dirent* entry = ::readdir(processes)) {
    pid_t id = 0;
    const char* const name = entry->d_name;
    const char* const end = name + std::strlen(name);
    const auto [stop, error] = std::from_chars(name, end, id);
    if (error != std::errc{} || stop != end || id <= 1) continue;
    if (parent_of(::dirfd(processes), name) == self) ::kill(id, SIGKILL);
  }
  ::closedir(processes);
}

/// A copy above the descriptors that a child gives a meaning to.
Descriptor moved_up(int low) {
  return Descriptor(::fcntl(low, F_DUPFD_CLOEXEC, kCredentialsDescriptor + 1));
}

}  // namespace

Result<std::string> find_program(const std::string& name, const std::string& search_path) {
  if (name.find('/') != std::string::npos) {
    if (is_runnable_file(name)) return name;
    struct stat status {};
    if (::stat(name.c_str(), &status) != 0) {
      return Failure{FailureKind::kRefused, fmt::format("{}: {}", name, std::strerror(errno))};
    }
    return Failure{FailureKind::kRefused, fmt::format("{}: is not a program that may be run", name)};
  }
  std::string_view rest = search_path;
  while (!name.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string_view folder = rest.substr(0, colon);
    std::string path = fmt::format("{}/{}", folder.empty() ? "." : folder, name);
    if (is_runnable_file(path)) return path;
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  return Failure{FailureKind::kRefused, fmt::format("{}: no such program in PATH", name)};
}

Result<StartedProcess> start_process(const ProcessSpec& spec) {
  auto out = make_pipe();
  auto err = make_pipe();
  auto report = make_pipe();
  const Descriptor empty(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!out || !err || !report || !empty) return refused_by_system("no descriptor");
  auto report_end = moved_up(report->writing.get());
  auto credentials = spec.credentials < 0 ? Descriptor() : moved_up(spec.credentials);
  if (!report_end || (spec.credentials >= 0 && !credentials)) return refused_by_system("no descriptor");
  report->writing.reset();

  std::vector<std::string> arguments = spec.command;
  std::vector<std::string> variables;
  for (const auto& [name, value] : spec.environment) variables.push_back(fmt::format("{}={}", name, value));
  const std::vector<char*> argument_pointers = pointers(arguments);
  const std::vector<char*> variable_pointers = pointers(variables);
  cpu_set_t processors;
  CPU_ZERO(&processors);
  for (const int processor : spec.processors) CPU_SET(processor, &processors);

  ChildSetup setup;
  setup.program = spec.program.c_str();
  setup.arguments = argument_pointers.data();
  setup.environment = variable_pointers.data();
  setup.in = empty.get();
  setup.out = out->writing.get();
  setup.err = err->writing.get();
  setup.report = report_end.get();
  setup.credentials = credentials.get();
  setup.processors = spec.processors.empty() ? nullptr : &processors;
  setup.parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return refused_by_system("no process");
  if (child == 0) become(setup);
  ::setpgid(child, child);  // here too: the child may not have come so far when it is first signalled
  report_end.reset();
  if (const int error = exec_error(report->reading.get()); error != 0) {
    ::waitpid(child, nullptr, 0);
    return Failure{FailureKind::kRefused, fmt::format("{}: {}", spec.program, std::strerror(error))};
  }
  ::fcntl(out->reading.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(err->reading.get(), F_SETFL, O_NONBLOCK);
  return StartedProcess{child, std::move(out->reading), std::move(err->reading)};
}

void signal_group(pid_t leader, int number) noexcept {
  ::kill(-leader, number);
}

std::vector<DeadProcess> collect_dead_children(const std::function<void(pid_t)>& before_reaping) {
  std::vector<DeadProcess> dead;
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) break;
    const bool is_signal = info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    dead.push_back({info.si_pid, {is_signal, info.si_status}});
    before_reaping(info.si_pid);
    ::waitpid(info.si_pid, nullptr, 0);
  }
  std::ranges::stable_partition(dead, [](const DeadProcess& process) { return process.status.is_signal; });
  return dead;
}

void become_subreaper() {
  CONCERTO_CHECK(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "Linux since 3.4 has subreapers");
}

bool kill_descendants(int limit_ms) noexcept {
  constexpr int kPause_ms = 20;  // at most so long a child of a killed child lives unseen
  sigset_t child_signal;
  ::sigemptyset(&child_signal);
  ::sigaddset(&child_signal, SIGCHLD);
  for (int waited_ms = 0;; waited_ms += kPause_ms) {
    // Reaping first: a child that is dead has passed its own children on.
    pid_t reaped = 0;
    do {
      reaped = ::waitpid(-1, nullptr, WNOHANG);
    } while (reaped > 0);
    if (reaped < 0 && errno == ECHILD) return true;
    if (waited_ms >= limit_ms) return false;
    kill_children();
    const timespec pause{0, kPause_ms * 1'000'000L};
    ::sigtimedwait(&child_signal, nullptr, &pause);
  }
}

std::vector<int> allowed_processors() {
  std::vector<int> result;
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return result;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &set)) result.push_back(processor);
  }
  return result;
}

std::size_t machine_processors() noexcept {
  const long count = ::sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? static_cast<std::size_t>(count) : 1;
}

}  // namespace concerto
