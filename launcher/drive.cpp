// The launcher's loop: descriptors in, effects out.
#include "drive.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"

#include "line_buffer.hpp"
#include "output_sink.hpp"

namespace concerto {
namespace {

/// A scheduler may signal both the guard and the launcher; what comes within this time is one wish, not two.
constexpr Tick kOneWish{200};
/// After the end of the job, how long a reader who reads nothing is waited for.
constexpr Tick kFlushPatience{5'000};
constexpr int kCleaning_ms = 10'000;
constexpr int kIncomplete = 1;

Tick now() {
  return std::chrono::duration_cast<Tick>(std::chrono::steady_clock::now().time_since_epoch());
}

Descriptor signal_descriptor() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, number);
  Descriptor descriptor(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  CONCERTO_CHECK(static_cast<bool>(descriptor), "no descriptor for signals");
  return descriptor;
}

/// One of the two streams of a running rank.
struct Stream {
  Descriptor source;
  LineBuffer lines;
  OutputSink* sink = nullptr;
};

struct Process {
  pid_t id = 0;
  std::array<Stream, 2> streams;  ///< by OutputStream
};

class Loop {
 public:
  Loop(const DriveOptions& options, JobServices& services, const Descriptor& guard)
      : options_(options),
        services_(services),
        guard_(guard.get()),
        signals_(signal_descriptor()),
        supervisor_(options.supervisor),
        out_(STDOUT_FILENO),
        err_(STDERR_FILENO),
        is_one_sink_(is_same_file(STDOUT_FILENO, STDERR_FILENO)) {
    if (options_.log_folder.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(options_.log_folder, error);
    if (error) throw Error(ErrorCode::kIo, "cannot be made: " + error.message(), options_.log_folder.string());
    for (const Rank rank : options_.supervisor.ranks) open_log(rank);
  }

  int run() {
    supervisor_.start(now());
    perform();
    while (!finish_) {
      wait();
      perform();
    }
    kill_descendants(kCleaning_ms);
    say_how_it_ended();
    return flush() || finish_->status != 0 ? finish_->status : kIncomplete;
  }

 private:
  void open_log(Rank rank) {
    const std::filesystem::path path = options_.log_folder / fmt::format("rank-{}.log", rank);
    Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    if (!file) throw io_error("write", path.string());
    Log& log = logs_[rank];
    log.sink = std::make_unique<OutputSink>(file.get());
    log.file = std::move(file);
    log.path = path.string();
  }

  OutputSink& sink_of(OutputStream stream) { return stream == OutputStream::kErr && !is_one_sink_ ? err_ : out_; }
  OutputSink& notices() { return is_one_sink_ ? out_ : err_; }

  // -- effects --

  void perform() {
    for (auto effects = supervisor_.take_effects(); !effects.empty(); effects = supervisor_.take_effects()) {
      for (SupervisorEffect& effect : effects) {
        std::visit([this](auto& what) { perform(what); }, effect);
      }
    }
    pump();
  }

  void perform(const SpawnRank& effect) {
    std::string problem;
    int status = exit_status(ErrorCode::kIo);
    try {
      const RankGrant grant = services_.admit(effect.rank);
      Result<StartedProcess> started = start_process(options_.process_of(effect.rank, grant));
      if (started.ok()) {
        add_process(effect.rank, std::move(started).value());
        return;
      }
      problem = started.failure().message;
      if (started.failure().kind == FailureKind::kRefused) status = exit_status(ErrorCode::kBadInput);
    } catch (const Error& error) {
      problem = error.what();
      status = exit_status(error.code());
    }
    supervisor_.start_failed(effect.rank, status, problem, now());
  }

  void add_process(Rank rank, StartedProcess started) {
    Process& process = processes_[rank];
    process.id = started.id;
    process.streams[0] = {std::move(started.out), {}, &sink_of(OutputStream::kOut)};
    process.streams[1] = {std::move(started.err), {}, &sink_of(OutputStream::kErr)};
    if (const auto log = logs_.find(rank); log != logs_.end()) {
      log->second.sink->write_line(
          "", fmt::format("=== rank {}, node {}, process {}", rank, options_.supervisor.node, started.id));
    }
    supervisor_.started(rank, started.id, now());
  }

  void perform(const SignalRank& effect) {
    if (const auto found = processes_.find(effect.rank); found != processes_.end()) {
      signal_group(found->second.id, effect.number);
    }
  }
  void perform(const PrintLine& effect) {
    sink_of(effect.stream).write_line(fmt::format("[rank {}] ", effect.rank), effect.text);
    if (const auto log = logs_.find(effect.rank); log != logs_.end()) log->second.sink->write_line("", effect.text);
  }
  void perform(const Notice& effect) { say(effect.text); }
  void perform(const PublishFailure& effect) { services_.publish_failure(effect.failure); }
  void perform(const PublishEnded& /*effect*/) { services_.publish_ended(); }
  void perform(const PublishLeft& /*effect*/) { services_.publish_left(); }
  void perform(const Finish& effect) { finish_ = effect; }

  void say(std::string_view text) { notices().write_line(options_.name + ": ", text); }

  // -- events --

  /// Descriptors to wait for, and what to do when they are ready, in the same order.
  struct Waits {
    std::vector<pollfd> descriptors;
    std::vector<std::function<void()>> actions;
    void add(int descriptor, short events, std::function<void()> action) {
      descriptors.push_back({descriptor, events, 0});
      actions.push_back(std::move(action));
    }
  };

  Waits waits() {
    Waits waits;
    if (guard_ >= 0 && !is_abandoned_) {
      waits.add(guard_, POLLIN, [this] {
        is_abandoned_ = true;
        supervisor_.abandoned("the process that guards the launcher is gone", now());
      });
    }
    if (services_.wake_descriptor() >= 0) {
      waits.add(services_.wake_descriptor(), POLLIN, [this] { take_peer_events(); });
    }
    for (auto& [rank, process] : processes_) {
      for (const OutputStream which : {OutputStream::kOut, OutputStream::kErr}) {
        Stream& stream = process.streams[static_cast<std::size_t>(which)];
        // Nobody reads it any more: the rank learns that as it would without a launcher, unless a file still takes it.
        if (stream.sink->is_broken() && !logs_.contains(rank)) stream.source.reset();
        if (!stream.source || stream.sink->is_full()) continue;
        waits.add(stream.source.get(), POLLIN, [this, r = rank, which, &stream] { read_some(r, which, stream); });
      }
    }
    for (OutputSink* sink : {&out_, &err_}) {
      if (sink->has_pending()) waits.add(sink->descriptor(), POLLOUT, [] {});  // perform() pumps
    }
    // Last: what a rank wrote before its end is read before its end is taken notice of.
    waits.add(signals_.get(), POLLIN, [this] { take_signals(); });
    return waits;
  }

  void wait() {
    Waits waiting = waits();
    int patience_ms = -1;
    if (const auto deadline = supervisor_.next_deadline()) {
      constexpr Tick kLongest{60'000};
      patience_ms = static_cast<int>(std::clamp(*deadline - now(), Tick{0}, kLongest).count());
    }
    const int count = poll(waiting.descriptors.data(), waiting.descriptors.size(), patience_ms);
    CONCERTO_CHECK(count >= 0 || errno == EINTR, "poll refuses the launcher's descriptors");
    for (std::size_t i = 0; count > 0 && i < waiting.descriptors.size(); ++i) {
      if (waiting.descriptors[i].revents != 0) waiting.actions[i]();
    }
    supervisor_.tick(now());
  }

  void take_peer_events() {
    for (const PeerEvent& event : services_.take_events()) {
      const Tick when = now();
      if (const auto* ended = std::get_if<PeerEnded>(&event)) supervisor_.node_ended(ended->node, when);
      if (const auto* left = std::get_if<PeerLeft>(&event)) supervisor_.node_left(left->node, when);
      if (const auto* lost = std::get_if<PeerLost>(&event)) supervisor_.node_lost(lost->node, lost->evidence, when);
      if (const auto* failed = std::get_if<JobFailed>(&event)) supervisor_.job_failed(failed->failure, when);
    }
  }

  /// Returns whether there may be more.
  bool read_some(Rank rank, OutputStream which, Stream& stream) {
    std::array<char, std::size_t{64} << 10> bytes;
    const ssize_t count = read(stream.source.get(), bytes.data(), bytes.size());
    const auto consume = [&](std::string line) { supervisor_.output(rank, which, std::move(line)); };
    if (count > 0) {
      stream.lines.append({bytes.data(), static_cast<std::size_t>(count)}, consume);
      return true;
    }
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    stream.lines.flush(consume);
    stream.source.reset();
    return false;
  }

  void take_signals() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCHLD) continue;
      const Tick when = now();
      if (last_signal_ && when - *last_signal_ < kOneWish) continue;
      last_signal_ = when;
      supervisor_.signalled(static_cast<int>(info.ssi_signo), when);
    }
    take_deaths();
  }

  void take_deaths() {
    const auto rank_of = [this](pid_t id) {
      return std::ranges::find_if(processes_, [id](const auto& entry) { return entry.second.id == id; });
    };
    const auto kill_the_rest = [&](pid_t id) {
      if (rank_of(id) != processes_.end()) signal_group(id, SIGKILL);
    };
    for (const DeadProcess& dead : collect_dead_children(kill_the_rest)) {
      const auto found = rank_of(dead.id);
      if (found == processes_.end()) continue;  // an orphan that a rank left
      drain(found->first, found->second);
      const Rank rank = found->first;
      processes_.erase(found);
      supervisor_.exited(rank, dead.status, now());
    }
  }

  /// Reads what a dead rank has left in its pipes, and no more: a process that still holds one could write forever.
  void drain(Rank rank, Process& process) {
    constexpr int kMostReads = 32;  // a pipe holds 1 MiB at most, unless root has allowed more
    for (const OutputStream which : {OutputStream::kOut, OutputStream::kErr}) {
      Stream& stream = process.streams[static_cast<std::size_t>(which)];
      for (int i = 0; i < kMostReads && stream.source && read_some(rank, which, stream); ++i) {
      }
      stream.lines.flush([&](std::string line) { supervisor_.output(rank, which, std::move(line)); });
    }
  }

  // -- output --

  void pump() {
    out_.pump();
    err_.pump();
    for (auto& [rank, log] : logs_) {
      log.sink->pump();
      if (log.sink->is_broken() && !log.is_reported) {
        log.is_reported = true;
        say(fmt::format("{}: cannot be written: {}; it is not whole", log.path, std::strerror(log.sink->error())));
      }
    }
  }

  void say_how_it_ended() {
    if (out_.is_broken()) {
      say(fmt::format("error: standard output: cannot be written: {}; it is not whole", std::strerror(out_.error())));
    }
    if (!finish_->failure) return;
    const JobFailure& failure = *finish_->failure;
    const std::string where = options_.supervisor.nodes > 1 ? fmt::format("node {}: ", failure.node) : "";
    const char* const end = failure.last_lines.empty() ? "" : "; its last lines:";
    say(fmt::format("error: {}{}{}", where, failure.message, end));
    for (const std::string& line : failure.last_lines) say("  | " + line);
  }

  /// Returns whether everything could be written.
  bool flush() {
    Tick patient_until = now() + kFlushPatience;
    while (out_.has_pending() || err_.has_pending()) {
      std::vector<pollfd> writable;
      for (OutputSink* sink : {&out_, &err_}) {
        if (sink->has_pending()) writable.push_back({sink->descriptor(), POLLOUT, 0});
      }
      const Tick left = patient_until - now();
      if (left <= Tick{0}) return false;
      if (poll(writable.data(), writable.size(), static_cast<int>(left.count())) > 0) {
        pump();
        patient_until = now() + kFlushPatience;
      }
    }
    return !out_.is_broken() && std::ranges::none_of(logs_, [](const auto& entry) { return entry.second.is_reported; });
  }

  struct Log {
    std::string path;
    Descriptor file;
    std::unique_ptr<OutputSink> sink;
    bool is_reported = false;
  };

  const DriveOptions& options_;
  JobServices& services_;
  int guard_;
  Descriptor signals_;
  Supervisor supervisor_;
  OutputSink out_;
  OutputSink err_;
  bool is_one_sink_;
  std::map<Rank, Log> logs_;
  std::map<Rank, Process> processes_;
  std::optional<Tick> last_signal_;
  bool is_abandoned_ = false;
  std::optional<Finish> finish_;
};

}  // namespace

int drive(const DriveOptions& options, JobServices& services, const Descriptor& guard) {
  return Loop(options, services, guard).run();
}

}  // namespace concerto
