// Replicators that are connected directly, without bytes, delays or faults: for tests and benchmarks of one machine.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "concerto/replication/replicator.hpp"

namespace concerto::test {

class ReplicatorGroup {
 public:
  struct Sent {
    Rank from = 0;
    Rank to = 0;
    ReplicaMessage message;
    std::vector<FrontierEntry> frontier;
  };

  ReplicatorGroup(Rank ranks, std::span<const ReplicatedBlock> blocks, std::uint64_t window_bytes) : ranks_(ranks) {
    for (std::uint32_t b = 0; b < blocks.size(); ++b) placed_.push_back({b + 1, 1.0});
    record_ = first_membership(placed_, std::vector<Incarnation>(ranks, 1));
    for (Rank r = 0; r < ranks; ++r) {
      members_.emplace_back(ReplicatorOptions{r, ranks, 1, window_bytes}, blocks);
      queues_.emplace_back();
    }
    for (Rank r = 0; r < ranks; ++r) {
      act(r, [&](Replicator& m, ReplicaEffects& out) { m.membership(record_, out); });
    }
    for (Rank r = 0; r < ranks; ++r) {
      for (Rank s = 0; s < ranks; ++s) {
        if (s != r) act(r, [&](Replicator& m, ReplicaEffects& out) { m.connected(s, 1, out); });
      }
    }
    deliver_all();
  }

  [[nodiscard]] Replicator& at(Rank rank) { return members_[rank]; }
  [[nodiscard]] const Membership& record() const { return record_; }
  [[nodiscard]] std::span<const PlacedBlock> placed() const { return placed_; }
  [[nodiscard]] std::uint64_t delivered() const { return delivered_; }
  /// What a rank was told to do since the last look, but for sending.
  [[nodiscard]] std::vector<ReplicaEffect>& effects(Rank rank) { return queues_[rank].effects; }
  void keep_effects(bool keeps) { keeps_effects_ = keeps; }
  /// Nothing reaches the rank until it is heard again; what was sent waits.
  void deafen(Rank rank, bool is_deaf) { queues_[rank].is_deaf = is_deaf; }

  template <class Event>
  void act(Rank rank, Event&& event) {
    out_.clear();
    event(members_[rank], out_);
    for (const ReplicaEffect& effect : out_.list) {
      if (effect.kind == ReplicaEffectKind::kSend) {
        post(rank, effect);
      } else if (keeps_effects_) {
        queues_[rank].effects.push_back(effect);
      }
    }
  }

  /// One message to each rank that has one; whether there was any.
  bool deliver_some() {
    bool is_any = false;
    for (Rank r = 0; r < ranks_; ++r) {
      Queue& queue = queues_[r];
      if (queue.is_deaf || queue.head == queue.tail) continue;
      is_any = true;
      // Swapped out rather than copied: its memory is used again.
      std::swap(current_, queue.ring[queue.head++ % queue.ring.size()]);
      ++delivered_;
      act(r, [&](Replicator& m, ReplicaEffects& out) {
        is_sound_ = m.received(current_.from, current_.message, current_.frontier, out) && is_sound_;
      });
    }
    return is_any;
  }
  void deliver_all() {
    while (deliver_some()) {
    }
  }
  [[nodiscard]] bool is_sound() const { return is_sound_; }

 private:
  struct Queue {
    std::vector<Sent> ring = std::vector<Sent>(64);
    std::size_t head = 0;
    std::size_t tail = 0;
    bool is_deaf = false;
    std::vector<ReplicaEffect> effects;
  };

  void post(Rank from, const ReplicaEffect& effect) {
    Queue& queue = queues_[effect.peer];
    if (queue.tail - queue.head == queue.ring.size()) grow(queue);
    Sent& sent = queue.ring[queue.tail++ % queue.ring.size()];
    sent.from = from;
    sent.to = effect.peer;
    sent.message = effect.message;
    const bool has_frontier =
        effect.message.kind == ReplicaMessageKind::kPut || effect.message.kind == ReplicaMessageKind::kState;
    const auto* first = out_.frontiers.data() + effect.frontier;
    sent.frontier.assign(first, first + (has_frontier ? ranks_ : 0));
  }
  static void grow(Queue& queue) {
    std::vector<Sent> larger(2 * queue.ring.size());
    std::size_t count = 0;
    while (queue.head != queue.tail) std::swap(larger[count++], queue.ring[queue.head++ % queue.ring.size()]);
    queue.ring = std::move(larger);
    queue.head = 0;
    queue.tail = count;
  }

  Rank ranks_;
  std::vector<PlacedBlock> placed_;
  Membership record_;
  std::vector<Replicator> members_;
  std::vector<Queue> queues_;
  ReplicaEffects out_;
  Sent current_;
  std::uint64_t delivered_ = 0;
  bool keeps_effects_ = false;
  bool is_sound_ = true;
};

}  // namespace concerto::test
