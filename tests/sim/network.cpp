// Connections of a simulated cluster: ordered and at most once within one; nothing is promised across them.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "simulator_state.hpp"

namespace concerto::sim {

void Simulation::connect_all(Rank rank) {
  for (Rank other = 0; other < scenario_.ranks; ++other) {
    if (other != rank && living(other)) connect(rank, other, draw(1, 30));
  }
}

void Simulation::connect(Rank a, Rank b, Ticks after) {
  Connection& c = connection(a, b);
  if (c.is_opening) return;
  c.is_opening = true;
  at(now_ + after, [this, a, b] {
    connection(a, b).is_opening = false;
    open_connection(a, b);
  });
}

void Simulation::open_connection(Rank a, Rank b) {
  Connection& c = connection(a, b);
  const auto first = living(std::min(a, b));
  const auto second = living(std::max(a, b));
  if (!first || !second || c.is_open || c.is_known[0] || c.is_known[1]) return;
  const Ticks blocked = std::max(directions_[{a, b}].blocked_until, directions_[{b, a}].blocked_until);
  const Ticks awake = std::max(first->paused_until, second->paused_until);
  if (std::max(blocked, awake) > now_) return connect(a, b, std::max(blocked, awake) - now_ + draw(1, 20));
  ++c.number;
  c.is_open = true;
  for (const bool is_second : {false, true}) {
    const auto& mine = is_second ? second : first;
    const auto& other = is_second ? first : second;
    c.is_known[is_second] = true;
    c.ends[is_second] = mine->incarnation;
    directions_[{mine->rank, other->rank}].last_delivery = now_;
    directions_[{mine->rank, other->rank}].recent.clear();
  }
  for (const bool is_second : {false, true}) {
    const auto mine = is_second ? second : first;
    const auto other = is_second ? first : second;
    log(fmt::format("{} connected with {}", mine->name(), other->name()));
    act(mine, nullptr, [&](AsynchronousEffects& out) { mine->node.connected(other->rank, other->incarnation, out); });
  }
  // What was on its way on an earlier one comes late, once or twice.
  for (const auto& wire : std::exchange(c.replays, {})) {
    const Rank to = wire->from == a ? b : a;
    for (std::uint64_t i = random_.below(3); i > 0; --i) {
      at(now_ + draw(1, 100), [this, to, wire] { deliver(to, 0, wire); });
    }
  }
}

void Simulation::cut(Rank a, Rank b, bool replays) {
  Connection& c = connection(a, b);
  if (!c.is_open) return;
  c.is_open = false;
  if (replays) {
    for (const Rank from : {a, b}) {
      for (const auto& [arrives, wire] : directions_[{from, from == a ? b : a}].recent) c.replays.push_back(wire);
    }
  }
  for (const bool is_second : {false, true}) {
    const Rank mine = is_second ? std::max(a, b) : std::min(a, b);
    const Rank other = is_second ? std::min(a, b) : std::max(a, b);
    // Until it notices, an end takes what arrives.
    at(now_ + draw(1, 60), [this, mine, other, is_second] {
      Connection& gone = connection(mine, other);
      const auto process = living(mine);
      const bool is_same = process && process->incarnation == gone.ends[is_second];
      gone.is_known[is_second] = false;
      if (is_same) {
        in_process(now_, process, [this, other, process](Process&) {
          log(fmt::format("{} lost rank {}", process->name(), other));
          process->behind_since.clear();
          process->node.disconnected(other);
        });
      }
      if (!gone.is_known[0] && !gone.is_known[1]) connect(mine, other, draw(1, 60));
    });
  }
}

void Simulation::transmit(Process& from, Rank to, Wire wire) {
  Connection& c = connection(from.rank, to);
  ++result_.messages;
  if (!c.is_open || c.ends[from.rank > to] != from.incarnation) return;
  Direction& d = directions_[{from.rank, to}];
  Ticks when = now_ + draw(scenario_.delay_least, scenario_.delay_most);
  if (d.slow_until > now_) when += d.slow_by;
  when = std::max({when, d.last_delivery, d.blocked_until});
  d.last_delivery = when;
  wire.from = from.rank;
  wire.incarnation = from.incarnation;
  const auto shared = std::make_shared<const Wire>(std::move(wire));
  d.recent.emplace_back(when, shared);
  while (d.recent.size() > 12) d.recent.pop_front();
  at(when, [this, to, number = c.number, shared] { deliver(to, number, shared); });
}

/// `number`: of the connection; 0: a replay.
void Simulation::deliver(Rank to, std::uint64_t number, const std::shared_ptr<const Wire>& wire) {
  const auto process = living(to);
  Connection& c = connection(wire->from, to);
  const bool is_second = to > wire->from;
  const bool is_same = process && c.is_known[is_second] && c.ends[is_second] == process->incarnation &&
                       c.ends[!is_second] == wire->incarnation && (number == c.number || number == 0);
  if (!is_same) return;
  in_process(now_, process, [this, process, wire, c_number = c.number](Process&) {
    const Connection& still = connection(wire->from, process->rank);
    if (!still.is_known[process->rank > wire->from] || still.number != c_number) return;
    act(process, wire.get(), [&](AsynchronousEffects& out) {
      if (wire->run) {
        process->node.received(wire->from, *wire->run, out);
      } else if (!process->node.received(wire->from, wire->message, wire->frontier, out)) {
        oracle_.fail(fmt::format("{} refused a message of rank {} as garbage", process->name(), wire->from));
      }
    });
  });
}

}  // namespace concerto::sim
