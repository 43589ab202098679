// The launcher's rules. Each event changes the state and appends effects; finish_if_done() is the only way out.
#include "supervisor.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

constexpr int kTimedOut = 124;  // as timeout(1) has it
constexpr int kRefused = 1;
constexpr int kSignalBase = 128;

std::string shortened(std::string line, std::size_t bytes) {
  if (line.size() <= bytes) return line;
  line.resize(bytes);
  return line + " [...]";
}

}  // namespace

std::string signal_name(int number) {
  switch (number) {
    case SIGHUP:
      return "SIGHUP";
    case SIGINT:
      return "SIGINT";
    case SIGQUIT:
      return "SIGQUIT";
    case SIGILL:
      return "SIGILL";
    case SIGABRT:
      return "SIGABRT";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    case SIGKILL:
      return "SIGKILL";
    case SIGSEGV:
      return "SIGSEGV";
    case SIGPIPE:
      return "SIGPIPE";
    case SIGTERM:
      return "SIGTERM";
    case SIGXCPU:
      return "SIGXCPU";
    default:
      return fmt::format("signal {}", number);
  }
}

std::string to_string(const ExitStatus& status) {
  if (!status.is_signal) return fmt::format("status {}", status.value);
  const std::string name = signal_name(status.value);
  return name.starts_with("signal") ? name : fmt::format("signal {} ({})", status.value, name);
}

Supervisor::Supervisor(SupervisorOptions options) : options_(std::move(options)) {
  CONCERTO_CHECK(!options_.ranks.empty() && options_.node < options_.nodes, "a launcher of no ranks or of no job");
  for (const Rank rank : options_.ranks) members_.emplace(rank, Member{});
  CONCERTO_CHECK(members_.size() == options_.ranks.size(), "a rank is given twice");
}

std::vector<SupervisorEffect> Supervisor::take_effects() {
  return std::exchange(effects_, {});
}

Supervisor::Member& Supervisor::running(Rank rank) {
  const auto found = members_.find(rank);
  CONCERTO_CHECK(found != members_.end() && found->second.state == Member::State::kRunning,
                 "an event of a rank that does not run");
  return found->second;
}

std::size_t Supervisor::count(Member::State state) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(members_, [state](const auto& entry) { return entry.second.state == state; }));
}

void Supervisor::start(Tick now) {
  CONCERTO_CHECK(next_to_spawn_ == 0, "a supervisor is started once");
  if (is_over_) return;  // interrupted before
  if (options_.time_limit > Tick{0}) time_limit_at_ = now + options_.time_limit;
  spawn_next(now);
}

void Supervisor::spawn_next(Tick now) {
  if (phase_ == Phase::kRunning && next_to_spawn_ < options_.ranks.size()) {
    const Rank rank = options_.ranks[next_to_spawn_++];
    members_.at(rank).state = Member::State::kStarting;
    effects_.push_back(SpawnRank{rank});
  } else {
    finish_if_done(now);
  }
}

void Supervisor::started(Rank rank, std::int64_t process, Tick now) {
  Member& member = members_.at(rank);
  CONCERTO_CHECK(member.state == Member::State::kStarting && process > 0, "a rank starts once, as a process");
  member.state = Member::State::kRunning;
  member.process = process;
  // Told to stop while it was being started: signals that went to all have missed this one.
  if (phase_ == Phase::kAskedToStop) effects_.push_back(SignalRank{rank, stop_signal_});
  if (phase_ == Phase::kStopping) {
    effects_.push_back(SignalRank{rank, SIGTERM});
    kill_at_ = now + options_.grace;
  }
  if (phase_ == Phase::kKilling) effects_.push_back(SignalRank{rank, SIGKILL});
  spawn_next(now);
}

void Supervisor::start_failed(Rank rank, int status, const std::string& message, Tick now) {
  Member& member = members_.at(rank);
  CONCERTO_CHECK(member.state == Member::State::kStarting && status != 0, "a failure to start has a status");
  member.state = Member::State::kOver;
  fail({options_.node, rank, status, fmt::format("rank {} could not be started: {}", rank, message), {}}, now);
  finish_if_done(now);
}

void Supervisor::output(Rank rank, OutputStream stream, std::string line) {
  Member& member = members_.at(rank);
  if (options_.last_lines > 0) {
    if (member.last_lines.size() == options_.last_lines) member.last_lines.pop_front();
    member.last_lines.push_back(shortened(line, options_.line_bytes));
  }
  effects_.push_back(PrintLine{rank, stream, std::move(line)});
}

JobFailure Supervisor::failure_of(Rank rank, const ExitStatus& status) const {
  const Member& member = members_.at(rank);
  JobFailure failure{options_.node, rank, status.code(), {}, {member.last_lines.begin(), member.last_lines.end()}};
  failure.message = fmt::format("rank {} (process {}) ended with {}", rank, member.process, to_string(status));
  if (stop_signal_ == 0) return failure;
  failure.message = fmt::format("interrupted by {}; {}", signal_name(stop_signal_), failure.message);
  // Ended by what the user asked for: the status is the user's signal, whatever it took to end the rank.
  const bool is_ours =
      status.is_signal && (status.value == stop_signal_ || (status.value == SIGKILL && phase_ == Phase::kKilling));
  if (is_ours) failure.status = kSignalBase + stop_signal_;
  if (failure.status == kSignalBase + stop_signal_) failure.last_lines.clear();
  return failure;
}

void Supervisor::exited(Rank rank, const ExitStatus& status, Tick now) {
  if (members_.at(rank).is_given_up) return;  // it ended after all
  running(rank).state = Member::State::kOver;
  if (status != ExitStatus{} && !failure_) fail(failure_of(rank, status), now);
  finish_if_done(now);
}

void Supervisor::fail(JobFailure failure, Tick now) {
  if (failure_) return;
  failure_ = std::move(failure);
  // Ranks that were asked to stop have been told; a second signal would make them drop what they are saving.
  if (phase_ == Phase::kAskedToStop) {
    phase_ = Phase::kStopping;
    kill_at_ = now + options_.grace;
  } else if (phase_ == Phase::kRunning) {
    stop_all(now);
  }
  if (options_.nodes > 1) effects_.push_back(PublishFailure{*failure_});
}

void Supervisor::signal_all(int number) {
  for (const auto& [rank, member] : members_) {
    if (member.state == Member::State::kRunning) effects_.push_back(SignalRank{rank, number});
  }
}

void Supervisor::stop_all(Tick now) {
  phase_ = Phase::kStopping;
  signal_all(SIGTERM);
  kill_at_ = now + options_.grace;
}

void Supervisor::kill_all(Tick now) {
  phase_ = Phase::kKilling;
  signal_all(SIGKILL);
  kill_at_.reset();
  give_up_at_ = now + options_.kill_limit;
}

void Supervisor::signalled(int number, Tick now) {
  if (is_over_) return;
  const int passed_on = number == SIGHUP ? SIGTERM : number;
  const std::size_t running = count(Member::State::kRunning);
  if (has_published_end_) {
    // Where all have ended success is decided, and only the store is still held for the others.
    if (ended_nodes_.size() < options_.nodes - 1) {
      fail({options_.node,
            kNoRank,
            kSignalBase + passed_on,
            fmt::format("interrupted by {} while waiting for other launchers", signal_name(number)),
            {}},
           now);
    }
    leave_peers_at_ = now;
  } else if (phase_ == Phase::kRunning) {
    phase_ = Phase::kAskedToStop;
    stop_signal_ = passed_on;
    effects_.push_back(Notice{fmt::format("{}: passed on to {} rank{}; again to end {} at once", signal_name(number),
                                          running, running == 1 ? "" : "s", running == 1 ? "it" : "them")});
    signal_all(passed_on);
  } else if (phase_ != Phase::kKilling) {
    if (stop_signal_ == 0) stop_signal_ = passed_on;
    effects_.push_back(Notice{fmt::format("{} again: ending every rank at once", signal_name(number))});
    kill_all(now);
  }
  finish_if_done(now);
}

void Supervisor::abandoned(const std::string& reason, Tick now) {
  if (is_over_) return;
  if (!failure_) failure_ = JobFailure{options_.node, kNoRank, kSignalBase + SIGKILL, reason, {}};
  is_failure_agreed_ = true;
  leave_peers_at_ = now;
  if (phase_ != Phase::kKilling) kill_all(now);
  finish_if_done(now);
}

void Supervisor::job_failed(const JobFailure& failure, Tick now) {
  if (is_over_ || is_failure_agreed_) return;
  is_failure_agreed_ = true;
  const bool was_failing = failure_.has_value();
  failure_ = failure;
  if (!was_failing) {
    effects_.push_back(Notice{fmt::format("the job failed on node {}: {}", failure.node, failure.message)});
    if (phase_ == Phase::kRunning) {
      stop_all(now);
    } else if (phase_ == Phase::kAskedToStop) {
      phase_ = Phase::kStopping;
      kill_at_ = now + options_.grace;
    }
  }
  finish_if_done(now);
}

void Supervisor::node_ended(std::uint32_t node, Tick now) {
  if (is_over_ || node == options_.node) return;
  ended_nodes_.insert(node);
  finish_if_done(now);
}

void Supervisor::node_left(std::uint32_t node, Tick now) {
  if (is_over_ || node == options_.node) return;
  ended_nodes_.insert(node);
  left_nodes_.insert(node);
  finish_if_done(now);
}

void Supervisor::node_lost(std::uint32_t node, const std::string& evidence, Tick now) {
  if (is_over_ || node == options_.node) return;
  left_nodes_.insert(node);
  if (ended_nodes_.insert(node).second) {
    fail({node, kNoRank, kRefused, fmt::format("the launcher of node {} is lost: {}", node, evidence), {}}, now);
  }
  finish_if_done(now);
}

void Supervisor::tick(Tick now) {
  if (is_over_) return;
  const bool is_anyone_running = count(Member::State::kRunning) > 0;
  if (time_limit_at_ && now >= *time_limit_at_) {
    time_limit_at_.reset();
    const auto seconds = static_cast<double>(options_.time_limit.count()) / 1000.0;
    if (is_anyone_running) {
      fail({options_.node, kNoRank, kTimedOut, fmt::format("the time limit of {} s is over", seconds), {}}, now);
    }
  }
  if (kill_at_ && now >= *kill_at_) {
    if (is_anyone_running) effects_.push_back(Notice{"the grace period is over: ending every rank at once"});
    kill_all(now);
  }
  if (give_up_at_ && now >= *give_up_at_) give_up_on_survivors(now);
  finish_if_done(now);
}

void Supervisor::give_up_on_survivors(Tick now) {
  give_up_at_.reset();
  for (auto& [rank, member] : members_) {
    if (member.state != Member::State::kRunning) continue;
    member.state = Member::State::kOver;
    member.is_given_up = true;
    const std::string text = fmt::format(
        "rank {} (process {}) does not even end by SIGKILL and is left: it hangs in "
        "the system",
        rank, member.process);
    effects_.push_back(Notice{text});
    fail({options_.node, rank, kSignalBase + SIGKILL, text, {}}, now);
  }
}

bool Supervisor::may_leave_peers(Tick now) const {
  if (options_.nodes == 1 || (leave_peers_at_ && now >= *leave_peers_at_)) return true;
  if (failure_ && !is_failure_agreed_) return false;  // which failure is the job's, the store has yet to say
  const std::size_t others = options_.nodes - 1;
  if (options_.node == 0) return left_nodes_.size() == others;  // it holds the store that the others read
  return failure_.has_value() || ended_nodes_.size() == others;
}

void Supervisor::finish_if_done(Tick now) {
  if (is_over_ || count(Member::State::kStarting) + count(Member::State::kRunning) > 0) return;
  if (phase_ == Phase::kRunning && next_to_spawn_ < options_.ranks.size()) return;  // not even started
  if (options_.nodes > 1) {
    if (!has_published_end_) effects_.push_back(PublishEnded{});
    has_published_end_ = true;
    const bool is_decided = failure_ || ended_nodes_.size() == options_.nodes - 1;
    if (is_decided && !leave_peers_at_) leave_peers_at_ = now + options_.peers_limit;
  }
  if (!may_leave_peers(now)) return;
  is_over_ = true;
  int status = failure_ ? failure_->status : 0;
  // Stopped before every rank was there: the job has not been done, whatever those that ran say.
  if (!failure_ && next_to_spawn_ < options_.ranks.size()) status = kSignalBase + stop_signal_;
  if (options_.nodes > 1 && options_.node > 0) effects_.push_back(PublishLeft{});
  effects_.push_back(Finish{status, failure_});
}

std::optional<Tick> Supervisor::next_deadline() const {
  if (is_over_) return std::nullopt;
  std::optional<Tick> next;
  const auto consider = [&next](const std::optional<Tick>& deadline) {
    if (deadline && (!next || *deadline < *next)) next = deadline;
  };
  consider(time_limit_at_);
  consider(kill_at_);
  consider(give_up_at_);
  if (has_published_end_) consider(leave_peers_at_);  // before, it is not this that is waited for
  return next;
}

}  // namespace concerto
