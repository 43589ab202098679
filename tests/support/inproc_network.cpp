// Queues, and a thread for each network that delivers what is in them.
#include "support/inproc_network.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "concerto/base/error.hpp"

namespace concerto::test {
namespace {

using Clock = std::chrono::steady_clock;

class End;
class InprocNetwork;

/// Something that a network's thread has to tell the user of a channel.
struct Delivery {
  Clock::time_point due;
  std::shared_ptr<End> to;
  std::optional<Message> message;  ///< none: the end of the connection
  Failure failure;
  bool is_room = false;  ///< neither: there is room in the queue again
};

}  // namespace

struct InprocHub::State {
  std::mutex mutex;
  std::condition_variable changed;
  int last_port = 0;
  std::chrono::milliseconds delay{0};
  struct Place {
    InprocNetwork* network = nullptr;
    std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept;
  };
  std::map<std::string, Place> places;
  std::set<std::string> unreachable;
  std::set<std::string> silent;
  std::vector<std::weak_ptr<End>> ends;
};

namespace {

using State = InprocHub::State;

/// One side of a connection. All but the callbacks is guarded by the hub's mutex.
class End final : public Channel, public std::enable_shared_from_this<End> {
 public:
  End(std::shared_ptr<State> hub, InprocNetwork* network, Identity peer, std::string address)
      : hub_(std::move(hub)), network_(network), peer_identity_(std::move(peer)), address_(std::move(address)) {}

  [[nodiscard]] const Identity& peer() const noexcept override { return peer_identity_; }
  [[nodiscard]] std::string peer_address() const override { return address_; }
  [[nodiscard]] Result<void> send(Outgoing message) override;
  void close() noexcept override;
  void cut(const Failure& why) noexcept override;
  [[nodiscard]] ChannelCounters counters() const noexcept override {
    const std::lock_guard guard(hub_->mutex);
    return counters_;
  }

  /// With the mutex held: nothing is delivered after the failure.
  void end(const Failure& failure);

  std::shared_ptr<State> hub_;
  InprocNetwork* network_;  ///< null once it is gone
  Identity peer_identity_;
  std::string address_;  ///< of the listener
  std::weak_ptr<End> other_;
  bool is_ended_ = false;
  bool is_deaf_ = false;  ///< what is still under way to here is lost
  /// With the mutex held: a message has left the queue. True: there is room again, and it was asked for.
  [[nodiscard]] bool has_made_room(std::size_t bytes);

  ChannelEvents events_;
  ChannelCounters counters_;
  bool is_room_wanted_ = false;
};

class InprocNetwork final : public Network {
 public:
  InprocNetwork(std::shared_ptr<State> hub, Identity self, const NetworkLimits& limits)
      : hub_(std::move(hub)), self_(std::move(self)), limits_(limits), thread_([this] { deliver(); }) {}
  ~InprocNetwork() override;
  InprocNetwork(const InprocNetwork&) = delete;
  InprocNetwork& operator=(const InprocNetwork&) = delete;

  [[nodiscard]] std::unique_ptr<Listener> listen(
      const std::string& address, std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept) override;
  void start_connect(const std::string& address, const Identity& expected, ChannelEvents events,
                     std::chrono::milliseconds /*limit*/, Connected done) override {
    done(connect_now(address, expected, std::move(events)));
  }

  /// With the mutex held.
  void enqueue(Delivery delivery);

  std::shared_ptr<State> hub_;
  Identity self_;
  NetworkLimits limits_;

 private:
  void deliver();
  void deliver_one(std::unique_lock<std::mutex>& lock, Delivery delivery);
  [[nodiscard]] Result<std::shared_ptr<Channel>> connect_now(const std::string& address, const Identity& expected,
                                                             ChannelEvents events);
  std::deque<Delivery> queue_;
  bool is_stopping_ = false;
  std::thread thread_;
};

class InprocListener final : public Listener {
 public:
  InprocListener(std::shared_ptr<State> hub, std::string address)
      : hub_(std::move(hub)), address_(std::move(address)) {}
  ~InprocListener() override {
    const std::lock_guard guard(hub_->mutex);
    hub_->places.erase(address_);
  }
  InprocListener(const InprocListener&) = delete;
  InprocListener& operator=(const InprocListener&) = delete;
  [[nodiscard]] std::string address() const override { return address_; }

 private:
  std::shared_ptr<State> hub_;
  std::string address_;
};

Result<void> End::send(Outgoing message) {
  Message whole{message.type, message.epoch, std::move(message.head)};
  whole.payload.insert(whole.payload.end(), message.body.begin(), message.body.end());
  const std::size_t bytes = whole.payload.size();
  const std::lock_guard guard(hub_->mutex);
  if (bytes > kMaxPayload) return Failure{FailureKind::kConflict, "a message that is too long"};
  if (is_ended_) return Failure{FailureKind::kLost, "the connection to " + address_ + " has ended"};
  if (network_ != nullptr && counters_.queued_bytes > 0 &&
      counters_.queued_bytes + bytes > network_->limits_.queue_bytes) {
    is_room_wanted_ = true;
    return Failure{FailureKind::kConflict, "the queue to " + address_ + " is full"};
  }
  ++counters_.messages_sent;
  counters_.bytes_sent += bytes;
  const auto other = other_.lock();
  if (hub_->silent.contains(address_) || !other || other->network_ == nullptr) return {};
  counters_.queued_bytes += bytes;
  other->network_->enqueue({Clock::now() + hub_->delay, other, std::move(whole), {}});
  return {};
}

bool End::has_made_room(std::size_t bytes) {
  counters_.queued_bytes -= std::min<std::uint64_t>(bytes, counters_.queued_bytes);
  if (!is_room_wanted_ || network_ == nullptr || counters_.queued_bytes > network_->limits_.queue_bytes / 2) {
    return false;
  }
  is_room_wanted_ = false;
  return true;
}

/// What is under way still arrives: the other side's end stands behind it in its queue.
void End::close() noexcept {
  const std::lock_guard guard(hub_->mutex);
  if (is_ended_) return;
  is_deaf_ = true;
  const auto other = other_.lock();
  end({FailureKind::kAborted, "closed from this side"});
  if (other && !hub_->silent.contains(address_)) other->end({FailureKind::kLost, "closed by the other side"});
}

void End::cut(const Failure& why) noexcept {
  const std::lock_guard guard(hub_->mutex);
  if (is_ended_) return;
  is_deaf_ = true;
  const auto other = other_.lock();
  end(why);
  if (!other || hub_->silent.contains(address_)) return;
  other->is_deaf_ = true;
  other->end({FailureKind::kLost, "cut off by the other side"});
}

void End::end(const Failure& failure) {
  if (is_ended_) return;
  is_ended_ = true;
  counters_.queued_bytes = 0;
  if (network_ != nullptr) network_->enqueue({Clock::now() + hub_->delay, shared_from_this(), std::nullopt, failure});
}

InprocNetwork::~InprocNetwork() {
  {
    const std::lock_guard guard(hub_->mutex);
    is_stopping_ = true;
    std::erase_if(hub_->places, [&](const auto& place) { return place.second.network == this; });
    for (const auto& weak : hub_->ends) {
      const auto end = weak.lock();
      if (!end || end->network_ != this) continue;
      if (const auto other = end->other_.lock()) other->end({FailureKind::kLost, "the other side is gone"});
      end->is_deaf_ = true;
      end->end({FailureKind::kAborted, "the network has ended"});
      end->network_ = nullptr;
    }
    hub_->changed.notify_all();
  }
  thread_.join();
}

void InprocNetwork::enqueue(Delivery delivery) {
  if (!queue_.empty()) delivery.due = std::max(delivery.due, queue_.back().due);  // a change of delay keeps the order
  queue_.push_back(std::move(delivery));
  hub_->changed.notify_all();
}

void InprocNetwork::deliver() {
  std::unique_lock lock(hub_->mutex);
  while (true) {
    if (queue_.empty()) {
      if (is_stopping_) return;
      hub_->changed.wait(lock);
      continue;
    }
    if (queue_.front().due > Clock::now() && !is_stopping_) {
      const auto due = queue_.front().due;
      hub_->changed.wait_until(lock, due);
      continue;
    }
    Delivery delivery = std::move(queue_.front());
    queue_.pop_front();
    deliver_one(lock, std::move(delivery));
  }
}

void InprocNetwork::deliver_one(std::unique_lock<std::mutex>& lock, Delivery delivery) {
  const auto sender = delivery.message ? delivery.to->other_.lock() : nullptr;
  if (sender && sender->has_made_room(delivery.message->payload.size())) {
    // Told by the sender's own network, as everything is.
    sender->network_->enqueue({Clock::now(), sender, std::nullopt, {}, true});
  }
  if (delivery.is_room && delivery.to->is_ended_) return;
  if (delivery.message && delivery.to->is_deaf_) return;
  if (delivery.message) {
    ++delivery.to->counters_.messages_received;
    delivery.to->counters_.bytes_received += delivery.message->payload.size();
  }
  ChannelEvents events = delivery.to->events_;
  const bool is_end = !delivery.message && !delivery.is_room;
  if (is_end) delivery.to->events_ = {};
  lock.unlock();
  if (delivery.message && events.on_message) events.on_message(*delivery.to, std::move(*delivery.message));
  if (delivery.is_room && events.on_room) events.on_room(*delivery.to);
  if (is_end && events.on_closed) events.on_closed(*delivery.to, delivery.failure);
  delivery.to.reset();
  events = {};
  lock.lock();
}

std::unique_ptr<Listener> InprocNetwork::listen(const std::string& address,
                                                std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept) {
  const std::lock_guard guard(hub_->mutex);
  const auto colon = address.rfind(':');
  const bool is_any = address.substr(colon + 1) == "0";
  const std::string taken =
      is_any ? address.substr(0, colon + 1) + std::to_string(10'000 + ++hub_->last_port) : address;
  if (hub_->places.contains(taken)) throw Error(ErrorCode::kIo, "is listened at already", taken);
  hub_->places[taken] = {this, std::move(on_accept)};
  return std::make_unique<InprocListener>(hub_, taken);
}

Result<std::shared_ptr<Channel>> InprocNetwork::connect_now(const std::string& address, const Identity& expected,
                                                            ChannelEvents events) {
  std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept;
  std::shared_ptr<End> mine;
  std::shared_ptr<End> theirs;
  {
    const std::lock_guard guard(hub_->mutex);
    const auto place = hub_->places.find(address);
    if (place == hub_->places.end() || hub_->unreachable.contains(address))
      return Failure{FailureKind::kUnreachable, address + ": connection refused"};
    const Identity& there = place->second.network->self_;
    Identity wanted = expected;
    if (wanted.incarnation == 0) wanted.incarnation = there.incarnation;
    if (!(wanted == there) || self_.job != there.job)
      return Failure{FailureKind::kRefused, address + " is somebody else"};
    mine = std::make_shared<End>(hub_, this, there, address);
    theirs = std::make_shared<End>(hub_, place->second.network, self_, address);
    mine->other_ = theirs;
    theirs->other_ = mine;
    mine->events_ = std::move(events);
    on_accept = place->second.on_accept;
  }
  // On the connecting thread, before anything can be sent over it.
  ChannelEvents accepted = on_accept(theirs);
  const std::lock_guard guard(hub_->mutex);
  theirs->events_ = std::move(accepted);
  hub_->ends.push_back(mine);
  hub_->ends.push_back(theirs);
  return std::shared_ptr<Channel>(mine);
}

}  // namespace

InprocHub::InprocHub() : state_(std::make_shared<State>()) {}
InprocHub::~InprocHub() = default;

std::unique_ptr<Network> InprocHub::network(const Identity& self, const NetworkLimits& limits) {
  return std::make_unique<InprocNetwork>(state_, self, limits);
}

void InprocHub::cut(const std::string& address) {
  const std::lock_guard guard(state_->mutex);
  for (const auto& weak : state_->ends) {
    const auto end = weak.lock();
    if (!end || end->address_ != address) continue;
    end->is_deaf_ = true;
    end->end({FailureKind::kLost, "the connection was cut"});
  }
}

void InprocHub::set_reachable(const std::string& address, bool reachable) {
  const std::lock_guard guard(state_->mutex);
  reachable ? (void)state_->unreachable.erase(address) : (void)state_->unreachable.insert(address);
}

void InprocHub::set_silent(const std::string& address, bool silent) {
  const std::lock_guard guard(state_->mutex);
  silent ? (void)state_->silent.insert(address) : (void)state_->silent.erase(address);
}

void InprocHub::set_delay(std::chrono::milliseconds delay) {
  const std::lock_guard guard(state_->mutex);
  state_->delay = delay;
}

}  // namespace concerto::test
