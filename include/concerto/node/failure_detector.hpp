// Who of a run is dead or stalled: a pure judgement of heartbeats, with time as an argument.
//
// Every rank publishes a heartbeat: how far it is, a progress counter that rises with each row solved and byte moved,
// and whether it owes progress, that is, whether others wait for something that it has not yet done. Dead: its
// heartbeats have stopped. Stalled: it owes progress and its counter has not changed for long. Slow is neither.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto {

/// Time since an arbitrary origin of this process.
using Tick = std::chrono::milliseconds;

/// Where a rank is. Ordered: who is behind in (epoch, operation) is waited for.
struct Heartbeat {
  Incarnation incarnation = 0;
  std::uint32_t epoch = 0;      ///< of training
  std::uint64_t operation = 0;  ///< how many collectives it has done its part for, since the start of the run
  std::uint64_t progress = 0;   ///< never falls within an incarnation
  bool owes = false;
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};
/// One line of text for the store, and back; nothing where the text is none.
[[nodiscard]] std::string to_text(const Heartbeat& heartbeat);
[[nodiscard]] std::optional<Heartbeat> parse_heartbeat(const std::string& text);

struct DetectorLimits {
  Tick heartbeat_every{1'000};
  Tick dead_after{5'000};
  Tick stalled_after{30'000};
};

enum class Verdict : std::uint8_t { kDead, kStalled };

/// A judgement: which rank, of what, and the evidence in words ("no heartbeat for 5.2 s").
struct Suspicion {
  Rank rank = kNoRank;
  Verdict verdict = Verdict::kDead;
  std::string evidence;
};

class FailureDetector {
 public:
  /// `self` is not judged. Ranks count as heard of at `now`.
  FailureDetector(Rank ranks, Rank self, const DetectorLimits& limits, Tick now);
  /// A heartbeat of `rank` has arrived at `now`.
  void hear(Rank rank, const Heartbeat& heartbeat, Tick now);
  /// The lease of `rank` has ended, or its connection, at `now`.
  void lose(Rank rank, std::string evidence);
  /// `rank` has finished: its silence is no sign any more.
  void retire(Rank rank);
  /// The first rank, if any, that is dead or stalled at `now`.
  [[nodiscard]] std::optional<Suspicion> judge(Tick now) const;
  /// The rank that is furthest behind among those heard of, other than `self`; its last heartbeat.
  [[nodiscard]] std::optional<Rank> furthest_behind() const;
  [[nodiscard]] const Heartbeat& last(Rank rank) const { return peers_[rank].last; }

 private:
  struct Peer {
    Heartbeat last;
    Tick heard{0};
    Tick moved{0};  ///< when it last made progress, or owed none
    bool is_known = false;
    bool is_retired = false;
    std::string lost;
  };
  Rank self_;
  DetectorLimits limits_;
  std::vector<Peer> peers_;
};

}  // namespace concerto
