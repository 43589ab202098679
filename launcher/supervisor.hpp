// The launcher's decisions as a state machine: which processes to start, whom to signal, what to say, when to end and
// with which status. Events in, effects out; no clock, process, socket or log. Time is an argument.
//
// The rules. Ranks are started in order. The first failure decides the status of the job and is what the final message
// names; the other ranks then get SIGTERM and, a grace period later, SIGKILL. A rank that ends with status 0 while
// others go on is fine. The first SIGINT, SIGTERM or SIGHUP to the launcher is passed on and then waited for without a
// limit, as ranks may have a model to write; a second one kills. Nothing is over before every rank has been reaped; one
// that not even SIGKILL ends within a limit (a hung device) is named and left.
//
// With several launchers, the failure that the store names first is the job's on all of them, a launcher ends when all
// have, and the first one, which holds the store, ends last.
//
// Effects come in the order in which they must be begun: lines before the notice that explains them, signals before
// publishing, Finish last and once.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/node/failure_detector.hpp"  // Tick

namespace concerto {

struct SupervisorOptions {
  std::vector<Rank> ranks;        ///< to start here, ascending, at least one
  std::uint32_t node = 0;         ///< which launcher this is
  std::uint32_t nodes = 1;        ///< how many there are
  Tick grace{10'000};             ///< between SIGTERM and SIGKILL
  Tick kill_limit{10'000};        ///< after SIGKILL, until a process is given up
  Tick time_limit{0};             ///< for the whole job; 0: none
  Tick peers_limit{30'000};       ///< after the end here of a failed job, until other launchers are given up
  std::size_t last_lines = 20;    ///< of a failed rank, in the final message
  std::size_t line_bytes = 1000;  ///< of each of them
};

/// How a process ended.
struct ExitStatus {
  bool is_signal = false;
  int value = 0;  ///< exit status, or number of the signal
  /// As a shell has it: the status, or 128 + signal.
  [[nodiscard]] int code() const noexcept { return is_signal ? 128 + value : value; }
  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};
/// "status 3", "signal 9 (SIGKILL)"
[[nodiscard]] std::string to_string(const ExitStatus& status);
/// "SIGTERM"; "signal 77" where it has no name here.
[[nodiscard]] std::string signal_name(int number);

/// Why a job fails: what every launcher of it comes to agree on.
struct JobFailure {
  std::uint32_t node = 0;
  Rank rank = kNoRank;  ///< kNoRank: no rank's doing
  int status = 1;       ///< of the whole job
  std::string message;  ///< one line: "rank 3 ended with status 7"
  std::vector<std::string> last_lines;
  friend bool operator==(const JobFailure&, const JobFailure&) = default;
};

enum class OutputStream : std::uint8_t { kOut, kErr };

// -- effects --

/// Start the process of a rank. Answered by started or start_failed before anything else.
struct SpawnRank {
  Rank rank = 0;
};
/// Send a signal to everything that the rank's process has started.
struct SignalRank {
  Rank rank = 0;
  int number = 0;
};
/// A line of a rank, to be shown.
struct PrintLine {
  Rank rank = 0;
  OutputStream stream = OutputStream::kOut;
  std::string text;
};
/// Something that the launcher itself has to say while the job runs.
struct Notice {
  std::string text;
};
/// Tell the other launchers: this failed, as far as this one knows first. Only with several launchers.
struct PublishFailure {
  JobFailure failure;
};
/// Tell the other launchers that all ranks here have ended, well or not. Only with several launchers.
struct PublishEnded {};
/// Tell the first launcher that this one needs its store no more. Only launchers after the first.
struct PublishLeft {};
/// The end; the last effect.
struct Finish {
  int status = 0;
  std::optional<JobFailure> failure;  ///< none: success, or an orderly end on request
};
using SupervisorEffect =
    std::variant<SpawnRank, SignalRank, PrintLine, Notice, PublishFailure, PublishEnded, PublishLeft, Finish>;

class Supervisor {
 public:
  explicit Supervisor(SupervisorOptions options);

  /// What is to be done since the last call, in order.
  [[nodiscard]] std::vector<SupervisorEffect> take_effects();

  // -- events --
  void start(Tick now);
  void started(Rank rank, std::int64_t process, Tick now);
  /// `status` is the job's: 2 where the command is wrong, 1 where the system refused.
  void start_failed(Rank rank, int status, const std::string& message, Tick now);
  /// Reaped, and all its output has been handed in. Of several that are found dead at once, those ended by a signal
  /// come first: others often end because of them.
  void exited(Rank rank, const ExitStatus& status, Tick now);
  void output(Rank rank, OutputStream stream, std::string line);
  /// This launcher got SIGINT, SIGTERM or SIGHUP.
  void signalled(int number, Tick now);
  /// The process that guards this one is gone, or the like: kill everything at once.
  void abandoned(const std::string& reason, Tick now);
  /// Regularly, and not later than next_deadline().
  void tick(Tick now);
  // What the store tells, in the order of its revisions.
  /// The store's word on the first failure of the job, this launcher's own or another's.
  void job_failed(const JobFailure& failure, Tick now);
  void node_ended(std::uint32_t node, Tick now);
  void node_left(std::uint32_t node, Tick now);
  /// Another launcher's lease or connection is gone.
  void node_lost(std::uint32_t node, const std::string& evidence, Tick now);

  [[nodiscard]] bool is_over() const noexcept { return is_over_; }
  /// When something is due if nothing happens before; nothing: never.
  [[nodiscard]] std::optional<Tick> next_deadline() const;

 private:
  enum class Phase : std::uint8_t { kRunning, kAskedToStop, kStopping, kKilling };
  struct Member {
    enum class State : std::uint8_t { kWaiting, kStarting, kRunning, kOver } state = State::kWaiting;
    bool is_given_up = false;
    std::int64_t process = 0;
    std::deque<std::string> last_lines;
  };

  Member& running(Rank rank);
  void spawn_next(Tick now);
  void fail(JobFailure failure, Tick now);
  void stop_all(Tick now);
  void kill_all(Tick now);
  void signal_all(int number);
  void give_up_on_survivors(Tick now);
  [[nodiscard]] JobFailure failure_of(Rank rank, const ExitStatus& status) const;
  [[nodiscard]] std::size_t count(Member::State state) const;
  [[nodiscard]] bool may_leave_peers(Tick now) const;
  void finish_if_done(Tick now);

  SupervisorOptions options_;
  std::map<Rank, Member> members_;
  std::vector<SupervisorEffect> effects_;
  Phase phase_ = Phase::kRunning;
  bool is_over_ = false;
  bool has_published_end_ = false;
  bool is_failure_agreed_ = false;  ///< the store has named it
  int stop_signal_ = 0;             ///< what the user asked with; 0: nothing
  std::size_t next_to_spawn_ = 0;
  std::optional<JobFailure> failure_;
  std::optional<Tick> time_limit_at_;
  std::optional<Tick> kill_at_;
  std::optional<Tick> give_up_at_;
  std::optional<Tick> leave_peers_at_;
  std::set<std::uint32_t> ended_nodes_;  ///< other launchers whose ranks have ended, or that are lost
  std::set<std::uint32_t> left_nodes_;   ///< of these, those that need the store no more
};

}  // namespace concerto
