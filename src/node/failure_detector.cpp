// Judging heartbeats.
#include "concerto/node/failure_detector.hpp"

#include <charconv>
#include <tuple>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

double seconds(Tick time) {
  return static_cast<double>(time.count()) / 1000.0;
}

}  // namespace

std::string to_text(const Heartbeat& heartbeat) {
  return fmt::format("{} {} {} {} {}", heartbeat.incarnation, heartbeat.epoch, heartbeat.operation, heartbeat.progress,
                     heartbeat.owes ? 1 : 0);
}

std::optional<Heartbeat> parse_heartbeat(const std::string& text) {
  Heartbeat heartbeat;
  std::uint64_t owes = 0;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  const auto number = [&](auto& value, bool is_last) {
    const auto [next, status] = std::from_chars(at, end, value);
    if (status != std::errc{} || next == at) return false;
    at = next;
    if (is_last) return at == end;
    return at != end && *at++ == ' ';
  };
  if (!number(heartbeat.incarnation, false) || !number(heartbeat.epoch, false) || !number(heartbeat.operation, false) ||
      !number(heartbeat.progress, false) || !number(owes, true) || owes > 1) {
    return std::nullopt;
  }
  heartbeat.owes = owes == 1;
  return heartbeat;
}

FailureDetector::FailureDetector(Rank ranks, Rank self, const DetectorLimits& limits, Tick now)
    : self_(self), limits_(limits), peers_(ranks) {
  CONCERTO_CHECK(self < ranks, "a rank outside the run");
  for (Peer& peer : peers_) peer.heard = peer.moved = now;
}

void FailureDetector::hear(Rank rank, const Heartbeat& heartbeat, Tick now) {
  CONCERTO_CHECK(rank < peers_.size(), "a heartbeat of a rank outside the run");
  Peer& peer = peers_[rank];
  const bool has_moved = !peer.is_known || heartbeat.incarnation != peer.last.incarnation ||
                         heartbeat.progress != peer.last.progress || heartbeat.operation != peer.last.operation;
  // What it did not owe before it did not owe until now.
  if (has_moved || !heartbeat.owes || !peer.last.owes) peer.moved = now;
  peer.last = heartbeat;
  peer.heard = now;
  peer.is_known = true;
}

void FailureDetector::lose(Rank rank, std::string evidence) {
  CONCERTO_CHECK(rank < peers_.size(), "a rank outside the run");
  peers_[rank].lost = std::move(evidence);
}

void FailureDetector::retire(Rank rank) {
  CONCERTO_CHECK(rank < peers_.size(), "a rank outside the run");
  peers_[rank].is_retired = true;
}

std::optional<Suspicion> FailureDetector::judge(Tick now) const {
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    const Peer& peer = peers_[rank];
    if (rank == self_ || peer.is_retired) continue;
    if (!peer.lost.empty()) return Suspicion{rank, Verdict::kDead, peer.lost};
    if (now - peer.heard > limits_.dead_after) {
      return Suspicion{rank, Verdict::kDead, fmt::format("no heartbeat for {:.1f} s", seconds(now - peer.heard))};
    }
  }
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    const Peer& peer = peers_[rank];
    if (rank == self_ || peer.is_retired || !peer.is_known || !peer.last.owes) continue;
    if (now - peer.moved > limits_.stalled_after) {
      return Suspicion{
          rank, Verdict::kStalled,
          fmt::format("alive, but no row solved and no byte moved for {:.0f} s", seconds(now - peer.moved))};
    }
  }
  return std::nullopt;
}

std::optional<Rank> FailureDetector::furthest_behind() const {
  std::optional<Rank> behind;
  const auto place = [&](Rank rank) { return std::tuple(peers_[rank].last.operation, peers_[rank].last.progress); };
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    if (rank == self_ || !peers_[rank].is_known) continue;
    if (!behind || place(rank) < place(*behind)) behind = rank;
  }
  return behind;
}

}  // namespace concerto
