// fork, exec and a wait. Between fork and exec only calls that are safe there are made.
#include "child.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto::bench {
namespace {

namespace fs = std::filesystem;

constexpr int kNotRun = 127;
constexpr int kSignalBase = 128;

/// By which a launcher or a rank learns that it is part of a job.
constexpr std::array<std::string_view, 3> kOfJobs{"SLURM_", "CONCERTO_", "JOB_COMPLETION_INDEX"};

bool is_of_job(std::string_view variable) {
  return std::any_of(kOfJobs.begin(), kOfJobs.end(), [&](std::string_view one) { return variable.starts_with(one); });
}

/// Closed when it goes.
class File {
 public:
  File(const fs::path& path, int flags) : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) throw io_error("open", path.string());
  }
  ~File() { ::close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

/// Runs in the child: the signals as a program expects them, in a group of its own, so that a Ctrl-C comes to it once.
[[noreturn]] void become(char* const* arguments, char* const* environment, int in, int out, pid_t parent) noexcept {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(kNotRun);  // it died before the kernel knew that we care
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  ::sigaction(SIGINT, &by_default, nullptr);
  ::sigaction(SIGTERM, &by_default, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(in, STDIN_FILENO) >= 0 && ::dup2(out, STDOUT_FILENO) >= 0 && ::dup2(out, STDERR_FILENO) >= 0) {
    ::execve(arguments[0], arguments, environment);
  }
  ::_exit(kNotRun);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

bool is_program(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

int run_child(const std::vector<std::string>& command, const fs::path& log, const std::stop_token& stop) {
  if (!is_program(command.front())) throw Error(ErrorCode::kIo, "is not a program", command.front());
  const File nothing("/dev/null", O_RDONLY);
  const File out(log, O_WRONLY | O_CREAT | O_APPEND);
  std::vector<std::string> words = command;
  std::vector<std::string> variables;
  for (char** one = environ; *one != nullptr; ++one) {
    if (!is_of_job(*one)) variables.emplace_back(*one);
  }
  const std::vector<char*> arguments = pointers(words);
  const std::vector<char*> environment = pointers(variables);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw io_error("start", command.front());
  if (child == 0) become(arguments.data(), environment.data(), nothing.get(), out.get(), parent);
  siginfo_t end{};
  {
    // Gone before the child's number may become another process's.
    const std::stop_callback pass_on(stop, [child] { ::kill(child, SIGTERM); });
    while (::waitid(P_PID, static_cast<id_t>(child), &end, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalBase + WTERMSIG(status);
}

fs::path own_program() {
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) throw Error(ErrorCode::kIo, "cannot be read: " + error.message(), "/proc/self/exe");
  return program;
}

fs::path find_launcher() {
  constexpr const char* kName = "concerto-launch";
  fs::path beside = own_program().parent_path() / kName;
  if (is_program(beside)) return beside;
  const char* const given = std::getenv("PATH");
  const std::string path = given == nullptr ? "" : given;
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    fs::path candidate = fs::path(path.substr(begin, end - begin)) / kName;
    if (candidate.is_absolute() && is_program(candidate)) return candidate;
    begin = end + 1;
  }
  throw Error(ErrorCode::kBadInput,
              fmt::format("is needed to start ranks, and is neither {} nor on PATH", beside.string()), kName);
}

std::string last_words(const std::string& text, std::size_t most) {
  constexpr std::size_t kMostLines = 4;
  std::vector<std::string> lines;
  std::size_t end = text.size();
  while (end > 0 && lines.size() < kMostLines) {
    const std::size_t newline = text.rfind('\n', end - 1);
    const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
    std::string line = text.substr(begin, end - begin);
    std::replace_if(
        line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
    if (line.find_first_not_of(' ') != std::string::npos) lines.push_back(std::move(line));
    end = begin == 0 ? 0 : begin - 1;
  }
  std::reverse(lines.begin(), lines.end());
  const std::string words = fmt::format("{}", fmt::join(lines, " | "));
  return words.size() <= most ? words : "..." + words.substr(words.size() - most);
}

}  // namespace concerto::bench
