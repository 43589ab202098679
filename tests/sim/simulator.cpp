// Time, faults, the launcher and its records, and the end.
#include "simulator.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "simulator_state.hpp"

namespace concerto::sim {
namespace {

constexpr Ticks kTickEvery = 50;
/// Replicas have this long to become equal once training has ended and faults are over.
constexpr Ticks kQuiet = 4'000;
/// What a cluster may take after its last fault, for each step that the work has if one rank did it all.
constexpr Ticks kPatience = 400;

}  // namespace

Simulation::Simulation(const Scenario& scenario, bool trace)
    : scenario_(scenario), trace_(trace), random_(scenario.seed, 2), processes_(scenario.ranks) {
  Random weights(scenario.seed, 3);
  for (std::uint32_t b = 0; b < scenario.items + scenario.users; ++b) {
    const bool is_item = b < scenario.items;
    blocks_.push_back(
        {is_item ? Side::kItems : Side::kUsers, 100, scenario.is_adding && is_item, is_item || !scenario.is_adding});
    placed_.push_back({b + 1, static_cast<double>(1 + weights.below(4))});
  }
  if (scenario.trains) training_.emplace(scenario, blocks_, placed_);
  record_ = first_membership(placed_, std::vector<Incarnation>(scenario.ranks, 1));
}

void Simulation::log(const std::string& text) {
  if (trace_) fmt::print(stderr, "{:>7}  {}\n", now_, text);
}

void Simulation::at(Ticks when, std::function<void()> what) {
  queue_.push({when, order_++, std::move(what)});
}

void Simulation::in_process(Ticks when, const std::shared_ptr<Process>& process, std::function<void(Process&)> what) {
  auto run = [this, process, what = std::move(what)] {
    if (!process->is_alive) return;
    if (process->paused_until > now_ || !process->inbox.empty()) {
      process->inbox.emplace_back([process, what] {
        if (process->is_alive) what(*process);
      });
    } else {
      what(*process);
    }
  };
  if (when <= now_) {
    run();
  } else {
    at(when, std::move(run));
  }
}

std::shared_ptr<Process> Simulation::living(Rank rank) const {
  const auto& process = processes_[rank];
  return process && process->is_alive ? process : nullptr;
}

// ---- the launcher ----

void Simulation::start_process(Rank rank, Incarnation incarnation) {
  AsynchronousOptions options;
  options.replicator = {rank, scenario_.ranks, incarnation, std::uint64_t{100} * scenario_.window_blocks};
  options.levels = scenario_.levels;
  options.is_adding = scenario_.is_adding;
  options.epochs = scenario_.epochs;
  options.blocks_per_step = scenario_.blocks_per_step;
  for (const PlacedBlock& block : placed_) options.weights.push_back(static_cast<std::uint64_t>(block.weight));
  const auto process = std::make_shared<Process>(rank, incarnation, std::move(options), blocks_);
  if (training_) process->training = std::make_unique<TrainingProcess>(*training_);
  processes_[rank] = process;
  lives_[{rank, incarnation}] = process;
  const Contents initial;
  for (BlockId b = 0; b < blocks_.size(); ++b) oracle_.held(process->name(), b, {}, Version{1, 0}, initial);
  // What the store says of levels.
  if (scenario_.change && hold_at_ > 0) {
    if (has_changed_) {
      act(process, nullptr, [&](AsynchronousEffects& out) {
        process->node.change_level(scenario_.change->table, scenario_.change->level, hold_at_, out);
      });
    } else {
      (void)process->node.hold_before(hold_at_);
      holding_.insert({rank, incarnation});
    }
  }
  connect_all(rank);
  tick(process);
}

void Simulation::give_record(const std::shared_ptr<Process>& process, Ticks late) {
  const Ticks when = std::max(now_ + late + process->late_by, process->last_record_at);
  process->last_record_at = when;
  in_process(when, process, [this, process, record = record_](Process& p) {
    log(fmt::format("{} reads record {}", p.name(), record.epoch));
    if (record.epoch > p.record.epoch || p.record.places.empty()) p.record = record;
    p.behind_since.clear();
    act(process, nullptr, [&](AsynchronousEffects& out) { process->node.membership(record, out); });
  });
}

void Simulation::write_record(std::vector<Incarnation> members) {
  record_ = next_membership(record_, placed_, std::move(members));
  look_at_copies();
  log(fmt::format("record {}", record_.epoch));
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    if (const auto process = living(r)) give_record(process, draw(1, 80));
  }
  change_level_if_held();
}

void Simulation::look_at_copies() {
  for (BlockId b = 0; b < blocks_.size(); ++b) look_at_copies(b);
}

void Simulation::look_at_copies(BlockId b) {
  std::vector<const Contents*> copies;
  std::vector<Version> versions;
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    const auto process = living(r);
    if (!process || record_.members[r] != process->incarnation) continue;
    copies.push_back(&process->state[b]);
    versions.push_back(process->held[b]);
  }
  oracle_.copies_left(b, copies, versions);
}

void Simulation::kill(Rank rank) {
  const auto process = living(rank);
  if (!process) return;
  log(fmt::format("{} dies", process->name()));
  process->is_alive = false;
  process->inbox.clear();
  look_at_copies();
  for (Rank other = 0; other < scenario_.ranks; ++other) {
    if (other != rank) cut(rank, other, false);
  }
}

// ---- faults ----

void Simulation::begin(const Fault& fault) {
  ++result_.faults;
  log(fmt::format("fault: {} of rank {} and rank {}, {} long, {}", name_of(fault.kind), fault.a, fault.b, fault.lasts,
                  fault.amount));
  const auto process = living(fault.a);
  const auto back = [this, fault](bool comes_back) {
    at(now_ + fault.lasts, [this, fault, comes_back] {
      std::vector<Incarnation> members = record_.members;
      const auto others =
          std::ranges::count_if(members, [](Incarnation i) { return i != 0; }) - (members[fault.a] != 0);
      const Incarnation last = processes_[fault.a]->incarnation;
      if (comes_back || others == 0) {
        kill(fault.a);  // where it was only thought dead
        start_process(fault.a, last + 1);
        members[fault.a] = last + 1;
        write_record(std::move(members));
      } else if (members[fault.a] != 0) {
        members[fault.a] = 0;
        write_record(std::move(members));
      }
    });
  };
  switch (fault.kind) {
    case FaultKind::kCut:
    case FaultKind::kFrame:
      cut(fault.a, fault.b, false);
      break;
    case FaultKind::kReplay:
      cut(fault.a, fault.b, true);
      break;
    case FaultKind::kPartition:
    case FaultKind::kOneWay:
      directions_[{fault.a, fault.b}].blocked_until = now_ + fault.lasts;
      if (fault.kind == FaultKind::kPartition) directions_[{fault.b, fault.a}].blocked_until = now_ + fault.lasts;
      if (fault.lasts > 200) at(now_ + 200, [this, fault] { cut(fault.a, fault.b, false); });
      break;
    case FaultKind::kSlowLink:
      directions_[{fault.a, fault.b}].slow_until = now_ + fault.lasts;
      directions_[{fault.a, fault.b}].slow_by = fault.amount;
      break;
    case FaultKind::kPause:
      if (!process) break;
      process->paused_until = std::max(process->paused_until, now_ + fault.lasts);
      at(process->paused_until, [this, process] {
        while (process->paused_until <= now_ && !process->inbox.empty()) {
          const auto next = std::move(process->inbox.front());
          next();
          if (!process->inbox.empty()) process->inbox.pop_front();
        }
      });
      break;
    case FaultKind::kSlowRank:
      if (!process) break;
      process->slow_until = now_ + fault.lasts;
      process->slow_factor = fault.amount;
      break;
    case FaultKind::kTicks:
      if (!process) break;
      for (std::uint32_t i = 0; i < fault.amount; ++i) {
        in_process(now_, process, [this, process](Process&) {
          act(process, nullptr, [&](AsynchronousEffects& out) { process->node.tick(out); });
        });
      }
      break;
    case FaultKind::kRestart:
      if (!process) break;
      kill(fault.a);
      back(true);
      break;
    case FaultKind::kRemove:
      if (!process) break;
      kill(fault.a);
      back(false);
      break;
    case FaultKind::kExpel: {
      if (!process || record_.members[fault.a] != process->incarnation) break;
      std::vector<Incarnation> members = record_.members;
      members[fault.a] = 0;
      if (std::ranges::all_of(members, [](Incarnation i) { return i == 0; })) break;
      process->late_by += fault.lasts;
      write_record(std::move(members));
      break;
    }
    case FaultKind::kLateRecord:
      if (process) process->late_by = fault.lasts;
      break;
    case FaultKind::kDamage: {
      if (!process) break;
      const auto b = static_cast<BlockId>(random_.below(blocks_.size()));
      // An owner has nothing to compare with.
      if (process->node.replicator().owns(b) || process->node.replicator().owner(b) == kNoRank) break;
      has_damage_ = true;
      process->state[b].value ^= 1;
      process->state[b].is_damaged = true;
      break;
    }
    case FaultKind::kCount:
      break;
  }
}

// ---- a change of level ----

void Simulation::begin_level_change() {
  hold_at_ = 1;
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    if (const auto process = living(r)) hold_at_ = std::max(hold_at_, process->node.hold_before(0) + 1);
  }
  holding_.clear();
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    if (const auto process = living(r)) ask_to_hold(process);
  }
}

void Simulation::ask_to_hold(const std::shared_ptr<Process>& process) {
  in_process(now_ + draw(1, 60), process, [this, process, asked = hold_at_](Process& p) {
    if (has_changed_ || asked != hold_at_) return;
    const SweepClock begun = p.node.hold_before(hold_at_);
    if (begun < hold_at_) {
      holding_.insert({p.rank, p.incarnation});
      change_level_if_held();
      return;
    }
    // Too late: a later sweep, for all.
    hold_at_ = begun + 1;
    holding_.clear();
    for (Rank r = 0; r < scenario_.ranks; ++r) {
      if (const auto other = living(r)) ask_to_hold(other);
    }
  });
}

void Simulation::change_level_if_held() {
  if (hold_at_ == 0 || has_changed_) return;
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    if (record_.has(r) && !holding_.contains({r, record_.members[r]})) return;
  }
  has_changed_ = true;
  log(fmt::format("the level changes from sweep {} on", hold_at_));
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    const auto process = living(r);
    if (!process) continue;
    in_process(now_ + draw(1, 60), process, [this, process](Process&) {
      act(process, nullptr, [&](AsynchronousEffects& out) {
        process->node.change_level(scenario_.change->table, scenario_.change->level, hold_at_, out);
      });
    });
  }
}

// ---- time ----

void Simulation::tick(const std::shared_ptr<Process>& process) {
  in_process(now_ + kTickEvery * scenario_.pace, process, [this, process](Process&) {
    act(process, nullptr, [&](AsynchronousEffects& out) { process->node.tick(out); });
    tick(process);
  });
}

std::string Simulation::describe(const Process& p) const {
  const Replicator& r = p.node.replicator();
  std::string text =
      fmt::format("{}: record {}, phase {}, {}, {}, {}", p.name(), p.record.epoch, static_cast<int>(p.node.phase()),
                  p.node.is_working() ? "working" : "idle", r.is_drained() ? "drained" : "not drained",
                  r.is_settled() ? "settled" : "not settled");
  if (p.node.waits_for()) text += fmt::format(", waits for block {}", *p.node.waits_for());
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    if (r.has_sealed(b) || r.has_open(b)) {
      text += fmt::format(", block {} of rank {}: {} {}", b, r.owner(b), r.has_sealed(b) ? "sealed" : "",
                          r.has_open(b) ? "open" : "");
    }
  }
  return text;
}

bool Simulation::is_over() const {
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    if (!record_.has(r)) continue;
    const auto process = living(r);
    if (!process || process->incarnation != record_.members[r]) return false;
    if (process->node.phase() != RunPhase::kFinished) return false;
  }
  return true;
}

void Simulation::check_end() {
  std::vector<const Process*> members;
  for (Rank r = 0; r < scenario_.ranks; ++r) {
    if (record_.has(r)) members.push_back(living(r).get());
  }
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    const auto owners = std::ranges::count_if(members, [&](const Process* p) { return p->node.replicator().owns(b); });
    if (owners != 1) oracle_.fail(fmt::format("block {} has {} owners at the end", b, owners));
    const Process* owner = *std::ranges::max_element(members, {}, [&](const Process* p) { return p->held[b]; });
    for (const Process* p : members) {
      const bool is_holder =
          blocks_[b].is_read_by_all || p->node.replicator().owns(b) || record_.places[b].successor == p->rank;
      if (!is_holder) continue;
      if (p->held[b] != owner->held[b] || p->state[b].hash() != owner->state[b].hash()) {
        oracle_.fail(fmt::format("block {} differs at the end: {} has version {}.{}, {} has {}.{}", b, p->name(),
                                 p->held[b].term, p->held[b].serial, owner->name(), owner->held[b].term,
                                 owner->held[b].serial));
      }
      if (p->node.replicator().version(b) != p->held[b]) {
        oracle_.fail(fmt::format("{} says that it holds another version of block {} than it does", p->name(), b));
      }
      oracle_.ended(p->name(), b, p->state[b]);
    }
  }
  if (training_ && !oracle_.violation()) check_model(members);
}

/// Equal bytes on all holders, and where lag is bounded an error that is nearer to that of one process than to that of
/// no model. Not so under eventual, where a rank may do many sweeps over what has hardly changed and these count; nor
/// with sgd where somebody died, because what the users of a lost rank then lack is not trained again, or where all
/// ranks add to the same few items at once.
void Simulation::check_model(const std::vector<const Process*>& members) {
  FactorTable users;
  FactorTable items = members.front()->training->trainer().table(Side::kItems);
  for (BlockId b = 0; b < blocks_.size(); ++b) {
    const Process* owner =
        *std::ranges::find_if(members, [&](const Process* p) { return p->node.replicator().owns(b); });
    for (const Process* p : members) {
      const bool is_holder = blocks_[b].is_read_by_all || record_.places[b].successor == p->rank;
      if (is_holder && p->training->trainer().digest(b) != owner->training->trainer().digest(b)) {
        oracle_.fail(fmt::format("block {} of the model differs between {} and {}", b, p->name(), owner->name()));
      }
    }
    if (blocks_[b].table != Side::kUsers) continue;
    const FactorTable& own = owner->training->trainer().table(Side::kUsers);
    if (users.rows() == 0) users = own;
    const RowRange rows = training_->plan().rows[b];
    for (RowIndex u = rows.begin; u < rows.end; ++u) {
      std::ranges::copy(own.row(u), users.row(u).begin());
      users.biases()[u] = own.biases()[u];
    }
  }
  const bool is_bounded = !scenario_.change && std::ranges::none_of(scenario_.levels, [](const TableLevel& level) {
    return level.level == Level::kEventual;
  });
  if (!is_bounded) return;
  if (scenario_.is_adding && (record_.epoch > 1 || scenario_.ranks > scenario_.items)) return;
  const double error = training_->error_of(users, items);
  // Of what many ranks add at once a part is merged, so that a few epochs of sgd teach less than in one process.
  const double share = scenario_.is_adding ? 0.25 : 0.5;
  const double nothing = training_->error_of_nothing();
  if (!(error <= nothing - share * (nothing - training_->error_of_one_process()))) {
    oracle_.fail(fmt::format("the model ends with an error of {:.4f}, where one process has {:.4f} and none {:.4f}",
                             error, training_->error_of_one_process(), training_->error_of_nothing()));
  }
}

SimulationResult Simulation::run() {
  for (Rank r = 0; r < scenario_.ranks; ++r) start_process(r, 1);
  for (Rank r = 0; r < scenario_.ranks; ++r) give_record(living(r), draw(1, 80));
  Ticks faults_end = 0;
  for (const Fault& fault : scenario_.faults) {
    at(fault.at, [this, fault] { begin(fault); });
    faults_end = std::max(faults_end, fault.at + fault.lasts);
  }
  if (scenario_.change) at(scenario_.change->at, [this] { begin_level_change(); });
  const std::uint64_t steps = std::uint64_t{scenario_.epochs + 8} * (scenario_.items + scenario_.users);
  const Ticks limit =
      2 * faults_end + steps * (kPatience + 10 * scenario_.step + 10 * scenario_.delay_most) + 20'000 * scenario_.pace;
  std::optional<Ticks> quiet_from;
  while (!queue_.empty() && !oracle_.violation()) {
    const Event next = queue_.top();
    queue_.pop();
    now_ = next.at;
    if (quiet_from && now_ > *quiet_from + kQuiet * scenario_.pace) break;
    if (now_ > limit) {
      oracle_.fail(fmt::format("no end after {} ticks, faults were over at {}", now_, faults_end));
      for (Rank r = 0; r < scenario_.ranks; ++r) {
        if (const auto process = living(r)) log(describe(*process));
      }
      break;
    }
    next.what();
    ++result_.events;
    if (!quiet_from && now_ > faults_end && is_over()) quiet_from = now_;
  }
  result_.ended_at = now_;
  if (!oracle_.violation()) check_end();
  result_.violation = oracle_.violation();
  result_.hash = hash_;
  return result_;
}

SimulationResult simulate(const Scenario& scenario, bool trace) {
  return Simulation(scenario, trace).run();
}

Scenario shrink(const Scenario& scenario, bool (*is_failing)(const Scenario&)) {
  Scenario best = scenario;
  const auto try_it = [&](const Scenario& smaller) {
    if (!is_failing(smaller)) return false;
    best = smaller;
    return true;
  };
  for (bool is_smaller = true; is_smaller;) {
    is_smaller = false;
    for (std::size_t i = best.faults.size(); i-- > 0;) {
      Scenario less = best;
      less.faults.erase(less.faults.begin() + static_cast<std::ptrdiff_t>(i));
      is_smaller |= try_it(less);
    }
    if (best.change) {
      Scenario less = best;
      less.change.reset();
      is_smaller |= try_it(less);
    }
    const auto reduce = [&](auto member, auto least) {
      Scenario less = best;
      if (less.*member <= least) return;
      --(less.*member);
      const bool is_in_reach =
          std::ranges::all_of(less.faults, [&](const Fault& f) { return f.a < less.ranks && f.b < less.ranks; });
      if (is_in_reach) is_smaller |= try_it(less);
    };
    reduce(&Scenario::ranks, Rank{2});
    reduce(&Scenario::items, 1U);
    reduce(&Scenario::users, 1U);
    reduce(&Scenario::epochs, SweepClock{1});
    reduce(&Scenario::blocks_per_step, 1U);
  }
  return best;
}

}  // namespace concerto::sim
