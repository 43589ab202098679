// Greetings, one connection a pair, and connecting anew.
//
// A connection begins with a greeting of each side: the one that connected sends it first, the other answers. Only then
// is it told of; so all of a connection's events come from the network's thread, in their order.
#include "concerto/comm/mesh.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"

#include "mesh_directory.hpp"
#include "threads.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kForever = std::chrono::hours(1);

enum class Phase : std::uint8_t { kGreeting, kOpen, kOver };

/// A connection of a pair, from its first attempt to its end. Guarded by the mesh's mutex.
struct Link {
  Rank peer = 0;
  bool is_dialed = false;
  Phase phase = Phase::kGreeting;
  ConnectionNumber number = 0;
  Clock::time_point since;  ///< of the phase
  std::shared_ptr<Channel> channel;
  std::optional<Failure> verdict;  ///< why this side has ended it
};
using LinkOwner = std::shared_ptr<Link>;

struct Peer {
  MeshPlace place;  ///< as published; of lower ranks only
  LinkOwner current;
  bool is_dialing = false;
  Clock::time_point next_attempt;
  std::uint32_t failures = 0;   ///< since a connection lasted
  Incarnation incarnation = 0;  ///< the highest that was met
  ConnectionNumber number = 0;
  MeshCounters counters;  ///< of what is over
  Random random{0};       ///< of pauses
};

/// Lets callbacks in until it is shut.
class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) {
      const std::lock_guard lock(gate_.mutex_);
      is_in_ = !gate_.is_shut_;
      if (is_in_) ++gate_.inside_;
    }
    ~Pass() {
      if (!is_in_) return;
      const std::lock_guard lock(gate_.mutex_);
      if (--gate_.inside_ == 0) gate_.empty_.notify_all();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    explicit operator bool() const noexcept { return is_in_; }

   private:
    Gate& gate_;
    bool is_in_ = false;
  };
  /// Waits for those inside.
  void shut() {
    std::unique_lock lock(mutex_);
    is_shut_ = true;
    empty_.wait(lock, [&] { return inside_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  int inside_ = 0;
  bool is_shut_ = false;
};

class MeshState : public std::enable_shared_from_this<MeshState> {
 public:
  MeshState(Network& network, Store& store, const MeshOptions& options, MeshEvents events)
      : network_(network),
        options_(options),
        events_(std::move(events)),
        directory_(store, options.prefix),
        peers_(options.size) {
    const std::string name = fmt::format("{}\n{}\n{}", options.self.job, options.prefix, options.size);
    for (Rank rank = 0; rank < options.size; ++rank) {
      peers_[rank].random = Random(options.seed, (std::uint64_t{options.self.index} << 32) | rank);
    }
    group_ = checksum(std::as_bytes(std::span(name)));
  }

  void start(Store& store) {
    listener_ = network_.listen(options_.listen_address, [weak = weak_from_this()](std::shared_ptr<Channel> channel) {
      const auto self = weak.lock();
      return self ? self->accept(std::move(channel)) : ChannelEvents{};
    });
    address_ = listener_->address();
    publish_place(store, options_.self.index, options_.prefix,
                  {options_.self.incarnation, options_.reached_at.empty() ? address_ : options_.reached_at});
    thread_ = start_thread([this] { run(); });
  }
  void stop() {
    is_stopping_ = true;
    directory_.wake();
    if (thread_.joinable()) thread_.join();
    gate_.shut();
    listener_.reset();
    std::vector<std::shared_ptr<Channel>> channels;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& weak : links_) {
        const auto link = weak.lock();
        if (link && link->channel) channels.push_back(link->channel);
      }
      for (Peer& peer : peers_) peer.current.reset();
    }
    for (const auto& channel : channels) channel->close();
  }

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::optional<ConnectionNumber> connection(Rank peer) const {
    const std::lock_guard lock(mutex_);
    const LinkOwner& current = peers_.at(peer).current;
    return current ? std::optional(current->number) : std::nullopt;
  }
  [[nodiscard]] Result<void> send(Rank rank, ConnectionNumber number, Outgoing message) {
    CONCERTO_CHECK(message.type != kMeshMessage, "a type of message that is the mesh's own");
    const std::shared_ptr<Channel> channel = channel_of(rank, number);
    if (!channel) {
      return Failure{FailureKind::kLost, fmt::format("connection {} with rank {} is gone", number, rank)};
    }
    Result<void> sent = channel->send(std::move(message));
    if (!sent && sent.failure().kind == FailureKind::kConflict) {
      const std::lock_guard lock(mutex_);
      ++peers_.at(rank).counters.refused_sends;
    }
    return sent;
  }
  void reject(Rank rank, ConnectionNumber number, const std::string& why) {
    Failure verdict{FailureKind::kCorrupt, fmt::format("rank {} sent {}; it is cut off", rank, why)};
    std::shared_ptr<Channel> channel;
    {
      const std::lock_guard lock(mutex_);
      const LinkOwner& current = peers_.at(rank).current;
      if (!current || current->number != number) return;
      current->verdict = verdict;
      channel = current->channel;
    }
    channel->cut(verdict);
  }
  [[nodiscard]] MeshCounters counters(Rank rank) const {
    MeshCounters all;
    std::shared_ptr<Channel> channel;
    {
      const std::lock_guard lock(mutex_);
      const Peer& peer = peers_.at(rank);
      all = peer.counters;
      if (peer.current) channel = peer.current->channel;
    }
    if (channel) add(all.channel, channel->counters());
    return all;
  }

 private:
  static void add(ChannelCounters& sum, const ChannelCounters& more) {
    sum.messages_sent += more.messages_sent;
    sum.messages_received += more.messages_received;
    sum.bytes_sent += more.bytes_sent;
    sum.bytes_received += more.bytes_received;
    sum.queued_bytes += more.queued_bytes;
  }
  [[nodiscard]] std::shared_ptr<Channel> channel_of(Rank rank, ConnectionNumber number) const {
    const std::lock_guard lock(mutex_);
    const LinkOwner& current = peers_.at(rank).current;
    return current && current->number == number ? current->channel : nullptr;
  }
  [[nodiscard]] Message greeting() const {
    Message message{kMeshMessage, 0, std::vector<std::byte>(sizeof group_)};
    std::memcpy(message.payload.data(), &group_, sizeof group_);
    return message;
  }
  void refused(const Failure& failure) const {
    if (events_.on_refused) events_.on_refused(failure);
  }

  [[nodiscard]] LinkOwner new_link(Rank peer, bool is_dialed) {  // with the mutex held
    std::erase_if(links_, [](const auto& weak) { return weak.expired(); });
    auto link = std::make_shared<Link>();
    link->peer = peer;
    link->is_dialed = is_dialed;
    link->since = Clock::now();
    links_.push_back(link);
    return link;
  }
  [[nodiscard]] ChannelEvents events_of(const LinkOwner& link) {
    const auto weak = weak_from_this();
    ChannelEvents events;
    events.on_message = [weak, link](Channel&, Message message) {
      if (const auto self = weak.lock()) self->receive(link, std::move(message));
    };
    events.on_closed = [weak, link](Channel&, const Failure& failure) {
      if (const auto self = weak.lock()) self->close(link, failure);
    };
    events.on_room = [weak, link](Channel&) {
      if (const auto self = weak.lock()) self->tell_room(link);
    };
    return events;
  }

  [[nodiscard]] ChannelEvents accept(std::shared_ptr<Channel> channel);
  void receive(const LinkOwner& link, Message message);
  void greet(const LinkOwner& link, const Message& message);
  /// Why a greeting is refused; with the mutex held.
  [[nodiscard]] std::optional<Failure> objection(const Link& link, const Message& message) const;
  void close(const LinkOwner& link, const Failure& failure);
  void tell_room(const LinkOwner& link);

  void run();
  [[nodiscard]] bool has_met_all() const;
  void learn(Rank rank, const MeshPlace& place);
  /// Ends greetings that take too long; when the next one would.
  [[nodiscard]] Clock::time_point end_slow_greetings();
  /// Connects to whom it is time to; when it next will be.
  [[nodiscard]] Clock::time_point dial_those_due();
  void dial(Rank rank);
  void dialed(const LinkOwner& link, Result<std::shared_ptr<Channel>> result);
  /// With the mutex held: the next attempt comes after a pause.
  void schedule_attempt(Rank rank, bool has_lasted);

  Network& network_;
  const MeshOptions options_;
  const MeshEvents events_;
  std::uint64_t group_ = 0;
  std::string address_;
  MeshDirectory directory_;
  Gate gate_;
  std::atomic<bool> is_stopping_{false};
  std::unique_ptr<Listener> listener_;
  std::thread thread_;

  mutable std::mutex mutex_;  // of what follows
  std::vector<Peer> peers_;
  std::vector<std::weak_ptr<Link>> links_;
};

ChannelEvents MeshState::accept(std::shared_ptr<Channel> channel) {
  const Gate::Pass pass(gate_);
  const Identity peer = channel->peer();
  const bool is_expected = peer.role == Role::kRank && peer.index > options_.self.index && peer.index < options_.size;
  if (!pass || !is_expected) {
    const Failure failure{FailureKind::kRefused, fmt::format("{} at {} does not connect to rank {}", to_string(peer),
                                                             channel->peer_address(), options_.self.index)};
    channel->cut(failure);
    if (pass) refused(failure);
    return {};
  }
  LinkOwner link;
  {
    const std::lock_guard lock(mutex_);
    link = new_link(peer.index, false);
    link->channel = std::move(channel);
  }
  directory_.wake();  // its greeting has a deadline now
  return events_of(link);
}

void MeshState::receive(const LinkOwner& link, Message message) {
  const Gate::Pass pass(gate_);
  if (!pass) return;
  Phase phase{};
  {
    const std::lock_guard lock(mutex_);
    phase = link->phase;
  }
  if (phase == Phase::kOver) return;
  if (phase == Phase::kGreeting) return greet(link, message);
  if (message.type == kMeshMessage) return reject(link->peer, link->number, "a second greeting");
  if (events_.on_message) events_.on_message(link->peer, link->number, std::move(message));
}

std::optional<Failure> MeshState::objection(const Link& link, const Message& message) const {
  const Identity& peer = link.channel->peer();
  const std::string who = fmt::format("rank {} at {}", link.peer, link.channel->peer_address());
  if (message.type != kMeshMessage || message.payload.size() != sizeof group_) {
    return Failure{FailureKind::kCorrupt, who + " did not greet; it is cut off"};
  }
  if (std::memcmp(message.payload.data(), &group_, sizeof group_) != 0) {
    return Failure{FailureKind::kMismatch,
                   fmt::format("{} is of another mesh than \"{}\" of {} ranks", who, options_.prefix, options_.size)};
  }
  const Incarnation known = peers_.at(link.peer).incarnation;
  if (peer.incarnation < known) {
    return Failure{FailureKind::kRefused,
                   fmt::format("{} is of life {}, and has been met in life {}", who, peer.incarnation, known)};
  }
  return std::nullopt;
}

void MeshState::greet(const LinkOwner& link, const Message& message) {
  LinkOwner before;
  std::optional<Failure> refusal;
  const std::shared_ptr<Channel> channel = link->channel;
  const Incarnation incarnation = channel->peer().incarnation;
  {
    const std::lock_guard lock(mutex_);
    Peer& peer = peers_.at(link->peer);
    refusal = objection(*link, message);
    if (refusal) {
      link->phase = Phase::kOver;
      if (link->is_dialed) schedule_attempt(link->peer, false);
    } else {
      before = std::exchange(peer.current, link);
      if (before) {
        before->phase = Phase::kOver;
        add(peer.counters.channel, before->channel->counters());
      }
      peer.incarnation = incarnation;
      link->phase = Phase::kOpen;
      link->since = Clock::now();
      link->number = ++peer.number;
      ++peer.counters.connections;
    }
  }
  if (refusal) {
    channel->cut(*refusal);
    directory_.wake();
    return refused(*refusal);
  }
  if (!link->is_dialed) (void)channel->send(greeting());  // if it is lost by now, its end follows
  if (!options_.connects_anew) directory_.wake();         // it may be the last
  if (before) {
    const Failure lost{FailureKind::kLost, fmt::format("rank {} has connected anew", link->peer)};
    before->channel->cut(lost);
    if (events_.on_disconnected) events_.on_disconnected(link->peer, before->number, lost);
  }
  if (events_.on_connected) events_.on_connected(link->peer, incarnation, link->number);
}

void MeshState::close(const LinkOwner& link, const Failure& failure) {
  const Gate::Pass pass(gate_);
  if (!pass) return;
  Phase was{};
  Failure told = failure;
  {
    const std::lock_guard lock(mutex_);
    was = std::exchange(link->phase, Phase::kOver);
    if (was == Phase::kOver) return;
    if (link->verdict) told = *link->verdict;
    Peer& peer = peers_.at(link->peer);
    if (peer.current == link) {
      add(peer.counters.channel, link->channel->counters());
      peer.current.reset();
    }
    if (link->is_dialed) {
      schedule_attempt(link->peer, was == Phase::kOpen && Clock::now() - link->since >= options_.longest_pause);
    }
  }
  if (link->is_dialed) directory_.wake();
  if (was != Phase::kOpen) return refused(told);
  if (events_.on_disconnected) events_.on_disconnected(link->peer, link->number, told);
}

void MeshState::tell_room(const LinkOwner& link) {
  const Gate::Pass pass(gate_);
  if (!pass || !events_.on_room) return;
  {
    const std::lock_guard lock(mutex_);
    if (link->phase != Phase::kOpen) return;
  }
  events_.on_room(link->peer, link->number);
}

void MeshState::run() {
  while (!is_stopping_ && (options_.connects_anew || !has_met_all())) {
    const Clock::time_point due = std::min(end_slow_greetings(), dial_those_due());
    const auto left = std::chrono::ceil<milliseconds>(due - Clock::now());
    if (left.count() <= 0) continue;
    directory_.follow(std::min(left, kForever), [this](Rank rank, const MeshPlace& place) { learn(rank, place); });
  }
}

bool MeshState::has_met_all() const {
  const std::lock_guard lock(mutex_);
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    if (rank != options_.self.index && peers_[rank].number == 0) return false;
  }
  return true;
}

void MeshState::learn(Rank rank, const MeshPlace& place) {
  if (rank >= options_.self.index) return;
  std::shared_ptr<Channel> outlived;
  {
    const std::lock_guard lock(mutex_);
    Peer& peer = peers_.at(rank);
    if (place == peer.place || place.incarnation < peer.place.incarnation) return;
    peer.place = place;
    peer.failures = 0;
    peer.next_attempt = Clock::now();
    if (peer.current && place.incarnation > peer.incarnation) {
      outlived = peer.current->channel;
      peer.current->verdict =
          Failure{FailureKind::kLost, fmt::format("rank {} has begun life {}", rank, place.incarnation)};
    }
  }
  if (outlived) outlived->cut({FailureKind::kLost, "the rank has begun another life"});
}

Clock::time_point MeshState::end_slow_greetings() {
  std::vector<std::shared_ptr<Channel>> slow;
  const Clock::time_point now = Clock::now();
  Clock::time_point next = now + kForever;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& weak : links_) {
      const LinkOwner link = weak.lock();
      if (!link || link->phase != Phase::kGreeting || !link->channel || link->verdict) continue;
      const Clock::time_point end = link->since + options_.connect_limit;
      if (end > now) {
        next = std::min(next, end);
        continue;
      }
      link->verdict = Failure{FailureKind::kTimeout, fmt::format("rank {} did not greet in time", link->peer)};
      slow.push_back(link->channel);
    }
  }
  for (const auto& channel : slow) channel->cut({FailureKind::kTimeout, "no greeting came in time"});
  return next;
}

Clock::time_point MeshState::dial_those_due() {
  const Clock::time_point now = Clock::now();
  Clock::time_point next = now + kForever;
  std::vector<Rank> due;
  {
    const std::lock_guard lock(mutex_);
    for (Rank rank = 0; rank < options_.self.index; ++rank) {
      Peer& peer = peers_[rank];
      if (peer.place.address.empty() || peer.current || peer.is_dialing) continue;
      if (!options_.connects_anew && peer.number > 0) continue;
      if (peer.next_attempt > now) {
        next = std::min(next, peer.next_attempt);
        continue;
      }
      peer.is_dialing = true;
      due.push_back(rank);
    }
  }
  for (const Rank rank : due) dial(rank);
  return next;
}

void MeshState::dial(Rank rank) {
  LinkOwner link;
  MeshPlace place;
  {
    const std::lock_guard lock(mutex_);
    link = new_link(rank, true);
    place = peers_[rank].place;
  }
  const Identity expected{options_.self.job, Role::kRank, rank, place.incarnation};
  try {
    network_.start_connect(place.address, expected, events_of(link), options_.connect_limit,
                           [weak = weak_from_this(), link](Result<std::shared_ptr<Channel>> result) {
                             const auto self = weak.lock();
                             if (self) return self->dialed(link, std::move(result));
                             if (result) result.value()->close();
                           });
  } catch (const Error& error) {  // what was published is no address
    dialed(link, Failure{FailureKind::kCorrupt, error.what()});
  }
}

void MeshState::dialed(const LinkOwner& link, Result<std::shared_ptr<Channel>> result) {
  const Gate::Pass pass(gate_);
  if (!pass) {
    if (result) result.value()->close();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (link->phase == Phase::kOver) return;  // has ended at once
    if (result) {
      link->channel = result.value();
      link->since = Clock::now();
    } else {
      link->phase = Phase::kOver;
      ++peers_[link->peer].counters.failed_attempts;
      schedule_attempt(link->peer, false);
    }
  }
  directory_.wake();
  if (!result) {
    const Failure& failure = result.failure();
    return refused({failure.kind, fmt::format("no connection with rank {}: {}", link->peer, failure.message)});
  }
  (void)result.value()->send(greeting());  // if it is lost by now, its end follows
}

void MeshState::schedule_attempt(Rank rank, bool has_lasted) {
  Peer& peer = peers_[rank];
  peer.is_dialing = false;
  peer.failures = has_lasted ? 0 : std::min(peer.failures + 1, 20U);
  const auto longest =
      std::min(options_.longest_pause, options_.first_pause * (std::int64_t{1} << std::max(peer.failures, 1U)) / 2);
  peer.next_attempt =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(longest * (0.5 + 0.5 * peer.random.uniform()));
}

class NetworkMesh final : public Mesh {
 public:
  NetworkMesh(Network& network, Store& store, const MeshOptions& options, MeshEvents events)
      : state_(std::make_shared<MeshState>(network, store, options, std::move(events))) {
    CONCERTO_CHECK(options.self.role == Role::kRank && options.self.index < options.size, "a rank outside its mesh");
    state_->start(store);
  }
  ~NetworkMesh() override { state_->stop(); }
  NetworkMesh(const NetworkMesh&) = delete;
  NetworkMesh& operator=(const NetworkMesh&) = delete;
  [[nodiscard]] std::string address() const override { return state_->address(); }
  [[nodiscard]] std::optional<ConnectionNumber> connection(Rank peer) const override {
    return state_->connection(peer);
  }
  [[nodiscard]] Result<void> send(Rank peer, ConnectionNumber connection, Outgoing message) override {
    return state_->send(peer, connection, std::move(message));
  }
  void reject(Rank peer, ConnectionNumber connection, const std::string& why) override {
    state_->reject(peer, connection, why);
  }
  [[nodiscard]] MeshCounters counters(Rank peer) const override { return state_->counters(peer); }

 private:
  std::shared_ptr<MeshState> state_;
};

}  // namespace

std::unique_ptr<Mesh> make_mesh(Network& network, Store& store, const MeshOptions& options, MeshEvents events) {
  return std::make_unique<NetworkMesh>(network, store, options, std::move(events));
}

}  // namespace concerto
