// What a simulation consists of, and which file does what with it:
//   simulator.cpp  time, faults, the launcher and its records, the end
//   network.cpp    connections
//   process.cpp    the effects of a node on its memory, and what the oracle is told
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "concerto/base/rng.hpp"
#include "concerto/node/asynchronous.hpp"

#include "contents.hpp"
#include "oracle.hpp"
#include "simulator.hpp"
#include "training.hpp"

namespace concerto::sim {

/// A message on its way, with what goes with it.
struct Wire {
  Rank from = 0;
  Incarnation incarnation = 0;  ///< of who sent it
  std::optional<RunMessage> run;
  ReplicaMessage message;
  std::vector<FrontierEntry> frontier;
  std::shared_ptr<const Contents> state;
  std::int64_t delta = 0;
  std::uint64_t digest = 0;
  std::vector<std::byte> payload;  ///< of a real model
};

/// One life of a rank.
struct Process {
  Process(Rank r, Incarnation i, AsynchronousOptions options, std::span<const ReplicatedBlock> blocks)
      : rank(r),
        incarnation(i),
        node(std::move(options), blocks),
        state(blocks.size()),
        held(blocks.size(), Version{1, 0}),
        sealed(blocks.size()),
        open(blocks.size()),
        written(blocks.size()),
        results(blocks.size()),
        increments(blocks.size()) {}

  Rank rank;
  Incarnation incarnation;
  AsynchronousNode node;
  std::vector<Contents> state;
  std::vector<Version> held;
  std::vector<Delta> sealed;
  std::vector<Delta> open;
  std::vector<std::int64_t> written;          ///< by this life, to each block
  std::vector<Contents> results;              ///< of the running step, by block
  std::vector<std::int64_t> increments;       ///< of the running step, by block
  std::unique_ptr<TrainingProcess> training;  ///< where the scenario has a real model
  Membership record;
  bool is_alive = true;
  Ticks paused_until = 0;
  Ticks slow_until = 0;
  std::uint32_t slow_factor = 1;
  Ticks late_by = 0;  ///< it reads records so much later
  Ticks last_record_at = 0;
  std::deque<std::function<void()>> inbox;  ///< while it is paused
  // For the fairness of queues: data messages sent to each peer, and how many there were when a block fell behind.
  std::map<Rank, std::uint64_t> sent;
  std::map<std::pair<Rank, BlockId>, std::uint64_t> behind_since;

  [[nodiscard]] std::string name() const;
};

/// A direction of a pair of ranks.
struct Direction {
  Ticks last_delivery = 0;
  Ticks blocked_until = 0;
  Ticks slow_until = 0;
  Ticks slow_by = 0;
  std::deque<std::pair<Ticks, std::shared_ptr<const Wire>>> recent;  ///< sent, and when they arrive
};

struct Connection {
  std::uint64_t number = 0;           ///< rises with each
  bool is_open = false;               ///< what is sent now may arrive
  bool is_known[2] = {false, false};  ///< as each end knows: the lower rank first
  Incarnation ends[2] = {0, 0};
  bool is_opening = false;
  std::vector<std::shared_ptr<const Wire>> replays;
};

class Simulation {
 public:
  Simulation(const Scenario& scenario, bool trace);
  SimulationResult run();

 private:
  struct Event {
    Ticks at = 0;
    std::uint64_t order = 0;
    std::function<void()> what;
    [[nodiscard]] bool operator<(const Event& other) const {  // the queue gives the greatest first
      return std::pair(at, order) > std::pair(other.at, other.order);
    }
  };

  // simulator.cpp
  void at(Ticks when, std::function<void()> what);
  /// In that life of the rank, if it is alive then; waits while it is paused.
  void in_process(Ticks when, const std::shared_ptr<Process>& process, std::function<void(Process&)> what);
  void begin(const Fault& fault);
  void start_process(Rank rank, Incarnation incarnation);
  void kill(Rank rank);
  void write_record(std::vector<Incarnation> members);
  void give_record(const std::shared_ptr<Process>& process, Ticks late);
  void look_at_copies();
  void look_at_copies(BlockId block);
  void tick(const std::shared_ptr<Process>& process);
  void begin_level_change();
  void ask_to_hold(const std::shared_ptr<Process>& process);
  void change_level_if_held();
  [[nodiscard]] bool is_over() const;
  /// Where a process is, for who reads a trace.
  [[nodiscard]] std::string describe(const Process& process) const;
  void check_end();
  [[nodiscard]] std::shared_ptr<Process> living(Rank rank) const;
  [[nodiscard]] Ticks draw(Ticks least, Ticks most) { return least + random_.below(most - least + 1); }
  void log(const std::string& text);
  void fold(std::uint64_t value) { hash_ = mix(hash_, value); }

  // network.cpp
  [[nodiscard]] Connection& connection(Rank a, Rank b) { return connections_[std::minmax(a, b)]; }
  void connect_all(Rank rank);
  void connect(Rank a, Rank b, Ticks after);
  void open_connection(Rank a, Rank b);
  void cut(Rank a, Rank b, bool replays);
  void transmit(Process& from, Rank to, Wire wire);
  void deliver(Rank to, std::uint64_t number, const std::shared_ptr<const Wire>& wire);

  // process.cpp
  /// Gives the node an event and performs what comes out. `wire`: the message that is being received.
  void act(const std::shared_ptr<Process>& process, const Wire* wire,
           const std::function<void(AsynchronousEffects&)>& event);
  void perform(Process& p, const ReplicaEffect& effect, const ReplicaEffects& all, const Wire* wire);
  void compare_digest(const std::shared_ptr<Process>& process, const ReplicaEffect& effect, const Wire& wire);
  void send(Process& p, const ReplicaEffect& effect, const ReplicaEffects& all);
  void now_holds(Process& p, const ReplicaEffect& effect, Contents contents);
  void merge(Process& p, const ReplicaEffect& effect, std::int64_t sum);
  void begin_step(const std::shared_ptr<Process>& process, const BlockStep& step);
  void check_reads(Process& p, const BlockStep& step);
  [[nodiscard]] std::uint64_t result_of(Side table, SweepClock clock, BlockId block,
                                        const std::function<std::uint64_t(BlockId)>& read) const;
  [[nodiscard]] std::uint64_t serial_value(Side table, SweepClock clock, BlockId block);
  void fell_behind(Process& p, BlockId block);
  void check_model(const std::vector<const Process*>& members);
  void check_promise(Process& p, const ReplicaMessage& message, Rank peer);

  Scenario scenario_;
  bool trace_;
  Random random_;
  Ticks now_ = 0;
  std::uint64_t order_ = 0;
  std::priority_queue<Event> queue_;
  std::vector<ReplicatedBlock> blocks_;
  std::vector<PlacedBlock> placed_;
  std::vector<std::shared_ptr<Process>> processes_;  ///< by rank: the last life
  std::map<std::pair<Rank, Incarnation>, std::shared_ptr<Process>> lives_;
  std::map<std::pair<Rank, Rank>, Connection> connections_;
  std::map<std::pair<Rank, Rank>, Direction> directions_;
  Membership record_;
  Oracle oracle_;
  std::optional<Training> training_;
  SimulationResult result_;
  std::uint64_t hash_ = 0;
  bool has_damage_ = false;  ///< steps may have read damaged bytes
  // A level change under way.
  SweepClock hold_at_ = 0;
  std::set<std::pair<Rank, Incarnation>> holding_;
  bool has_changed_ = false;
  std::vector<std::vector<std::uint64_t>> serial_;  ///< [2 * clock + table][block]
};

}  // namespace concerto::sim
