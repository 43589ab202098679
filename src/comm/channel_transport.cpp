// Matching of messages with the places that were posted for them.
//
// A message may come before there is a place for it: it is kept, and so that what is kept has a bound, each stream has
// a window. A sender may have so many bytes on their way that the receiver has not put into places, or one message that
// is larger; the receiver gives back what it has put. A link that waits for nothing therefore costs no round trip, and
// a receiver that is late costs its window and no more.
#include "channel_transport.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

/// Of a stream: more than a segment of a schedule, and what a link of 1 Gbit/s holds in 30 ms.
constexpr std::size_t kWindowBytes = std::size_t{4} << 20;
constexpr std::uint8_t kStreams = static_cast<std::uint8_t>(group_data(kGroupLanes - 1)) + 1;

/// Types of messages: a stream's number in the low bits.
constexpr std::uint16_t kData = 0x100;
constexpr std::uint16_t kGiveBack = 0x200;  ///< payload: how many bytes, 8 bytes little-endian

class ChannelLink;

class MeshTransport final : public ChannelTransport {
 public:
  MeshTransport(Network& network, Store& store, const MeshOptions& options)
      : self_(options.self.index), peers_(options.size) {
    MeshEvents events;
    events.on_connected = [this](Rank peer, Incarnation, ConnectionNumber connection) { begin(peer, connection); };
    events.on_message = [this](Rank peer, ConnectionNumber connection, Message message) {
      take(peer, connection, std::move(message));
    };
    events.on_disconnected = [this](Rank peer, ConnectionNumber connection, const Failure& failure) {
      lose(peer, connection, failure);
    };
    events.on_room = [this](Rank peer, ConnectionNumber) { push_all(peer); };
    events.on_refused = [this](const Failure& failure) {
      const std::lock_guard lock(mutex_);
      last_refusal_ = failure.message;
    };
    std::unique_ptr<Mesh> mesh = make_mesh(network, store, options, std::move(events));
    const std::lock_guard lock(mutex_);
    mesh_ = std::move(mesh);
  }
  ~MeshTransport() override { close(); }
  MeshTransport(const MeshTransport&) = delete;
  MeshTransport& operator=(const MeshTransport&) = delete;

  [[nodiscard]] Result<void> await_all(Deadline deadline) override;
  [[nodiscard]] std::unique_ptr<Link> link(Rank peer) override;
  [[nodiscard]] std::vector<Rank> lost_peers() override;
  void close() noexcept override;

  [[nodiscard]] LinkStatus post_send(ChannelLink& link, Stream stream, std::span<const std::byte> bytes);
  [[nodiscard]] LinkStatus post_receive(ChannelLink& link, Stream stream, std::span<std::byte> bytes);
  [[nodiscard]] LinkStatus wait(ChannelLink& link, std::size_t& complete);
  void interrupt(ChannelLink& link);
  void remove(ChannelLink& link);
  [[nodiscard]] std::string loss(Rank peer);

 private:
  struct Sent {
    ChannelLink* link;
    std::span<const std::byte> bytes;
  };
  struct Place {
    ChannelLink* link;
    std::span<std::byte> bytes;
  };
  /// Of one peer and stream.
  struct Lane {
    std::deque<Sent> sent;         ///< posted, and not yet handed to the mesh
    std::size_t on_their_way = 0;  ///< bytes that the peer has not given back
    std::deque<Place> places;      ///< posted, and not yet filled
    std::deque<std::vector<std::byte>> early;
  };
  struct Peer {
    ConnectionNumber connection = 0;
    bool is_lost = false;
    std::string why;
    std::map<Stream, Lane> lanes;
  };

  // From the mesh.
  void begin(Rank peer, ConnectionNumber connection);
  void take(Rank peer, ConnectionNumber connection, Message message);
  void lose(Rank peer, ConnectionNumber connection, const Failure& failure);
  void push_all(Rank peer);

  // With the mutex held.
  void push(Rank rank, Stream stream, Lane& lane);
  void match(Rank rank, Stream stream, Lane& lane);
  [[nodiscard]] Failure missing() const;
  void end_peer(Rank rank, const std::string& why);
  void reject(Rank rank, const std::string& what);

  const Rank self_;
  std::mutex mutex_;
  std::condition_variable changed_;  ///< a peer has come or gone
  std::vector<Peer> peers_;
  std::vector<ChannelLink*> links_;
  std::string last_refusal_;
  std::unique_ptr<Mesh> mesh_;  ///< null before and after: of events that come then, none needs it
};

class ChannelLink final : public Link {
 public:
  ChannelLink(MeshTransport& transport, Rank peer) : peer_(peer), transport_(transport) {}
  ~ChannelLink() override { transport_.remove(*this); }
  ChannelLink(const ChannelLink&) = delete;
  ChannelLink& operator=(const ChannelLink&) = delete;

  [[nodiscard]] LinkStatus post_send(Stream stream, std::span<const std::byte> bytes) override {
    return transport_.post_send(*this, stream, bytes);
  }
  [[nodiscard]] LinkStatus post_receive(Stream stream, std::span<std::byte> bytes) override {
    return transport_.post_receive(*this, stream, bytes);
  }
  [[nodiscard]] LinkStatus wait_send() override { return transport_.wait(*this, sent_); }
  [[nodiscard]] LinkStatus wait_receive() override { return transport_.wait(*this, received_); }
  void interrupt() noexcept override { transport_.interrupt(*this); }
  [[nodiscard]] std::string loss() const override { return transport_.loss(peer_); }

 private:
  friend class MeshTransport;
  const Rank peer_;
  MeshTransport& transport_;
  // Below: guarded by the transport's lock.
  std::size_t sent_ = 0;      ///< complete, not waited for
  std::size_t received_ = 0;  ///< complete, not waited for
  bool is_interrupted_ = false;
  std::condition_variable changed_;
};

void MeshTransport::begin(Rank rank, ConnectionNumber connection) {
  const std::lock_guard lock(mutex_);
  Peer& peer = peers_.at(rank);
  if (peer.connection == 0) peer.connection = connection;
  changed_.notify_all();
}

void MeshTransport::end_peer(Rank rank, const std::string& why) {
  Peer& peer = peers_.at(rank);
  if (std::exchange(peer.is_lost, true)) return;
  peer.why = why;
  changed_.notify_all();
  for (ChannelLink* link : links_) {
    if (link->peer_ == rank) link->changed_.notify_all();
  }
}

void MeshTransport::reject(Rank rank, const std::string& what) {
  if (mesh_) mesh_->reject(rank, peers_[rank].connection, what);
  end_peer(rank, fmt::format("rank {} sent {}", rank, what));
}

void MeshTransport::lose(Rank rank, ConnectionNumber connection, const Failure& failure) {
  const std::lock_guard lock(mutex_);
  if (peers_.at(rank).connection == connection) end_peer(rank, failure.message);
}

void MeshTransport::take(Rank rank, ConnectionNumber connection, Message message) {
  const std::lock_guard lock(mutex_);
  Peer& peer = peers_.at(rank);
  if (peer.connection != connection || peer.is_lost) return;
  const auto number = static_cast<std::uint8_t>(message.type & 0xff);
  const auto stream = static_cast<Stream>(number);
  const auto reject = [&](const std::string& what) { this->reject(rank, what); };
  if (number >= kStreams) return reject(fmt::format("a message of the unknown stream {}", number));
  Lane& lane = peer.lanes[stream];
  if ((message.type & 0xff00) == kData) {
    std::size_t kept = 0;
    for (const auto& early : lane.early) kept += early.size();
    if (kept > 0 && kept + message.payload.size() > kWindowBytes) return reject("more than its window");
    lane.early.push_back(std::move(message.payload));
    return match(rank, stream, lane);
  }
  std::uint64_t bytes = 0;
  if ((message.type & 0xff00) != kGiveBack || message.payload.size() != sizeof bytes) {
    return reject(fmt::format("a message of the unknown type {}", message.type));
  }
  std::memcpy(&bytes, message.payload.data(), sizeof bytes);
  if (bytes > lane.on_their_way) return reject("more room than it has taken");
  lane.on_their_way -= bytes;
  push(rank, stream, lane);
}

/// What has come goes into the places that there are, and its room is given back.
void MeshTransport::match(Rank rank, Stream stream, Lane& lane) {
  std::uint64_t put = 0;
  for (; !lane.early.empty() && !lane.places.empty(); lane.early.pop_front(), lane.places.pop_front()) {
    const std::vector<std::byte>& bytes = lane.early.front();
    const Place& place = lane.places.front();
    if (bytes.size() != place.bytes.size()) {
      return reject(rank, fmt::format("{} bytes where {} were to come", bytes.size(), place.bytes.size()));
    }
    if (!bytes.empty()) std::memcpy(place.bytes.data(), bytes.data(), bytes.size());
    put += bytes.size();
    ++place.link->received_;
    place.link->changed_.notify_all();
  }
  if (put == 0 || peers_[rank].is_lost) return;
  Message give_back{static_cast<std::uint16_t>(kGiveBack | static_cast<std::uint8_t>(stream)), 0,
                    std::vector<std::byte>(sizeof put)};
  std::memcpy(give_back.payload.data(), &put, sizeof put);
  const auto sent = mesh_->send(rank, peers_[rank].connection, std::move(give_back));
  // The windows together are less than the queue; it is full only of a peer that breaks their rule.
  if (!sent && sent.failure().kind != FailureKind::kLost) end_peer(rank, sent.failure().message);
}

/// Hands to the mesh what the window allows. A message is copied once: from then on its memory is the caller's again.
void MeshTransport::push(Rank rank, Stream stream, Lane& lane) {
  for (; !lane.sent.empty(); lane.sent.pop_front()) {
    const Sent& next = lane.sent.front();
    if (lane.on_their_way > 0 && lane.on_their_way + next.bytes.size() > kWindowBytes) return;
    Message message{static_cast<std::uint16_t>(kData | static_cast<std::uint8_t>(stream)),
                    0,
                    {next.bytes.begin(), next.bytes.end()}};
    const auto sent = mesh_->send(rank, peers_[rank].connection, std::move(message));
    if (!sent && sent.failure().kind == FailureKind::kConflict) return;  // on_room follows
    if (!sent) return;                                                   // its end is on the way
    lane.on_their_way += next.bytes.size();
    ++next.link->sent_;
    next.link->changed_.notify_all();
  }
}

void MeshTransport::push_all(Rank rank) {
  const std::lock_guard lock(mutex_);
  if (peers_.at(rank).is_lost) return;
  for (auto& [stream, lane] : peers_[rank].lanes) push(rank, stream, lane);
}

LinkStatus MeshTransport::post_send(ChannelLink& link, Stream stream, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  Peer& peer = peers_[link.peer_];
  if (peer.is_lost) return LinkStatus::kLost;
  Lane& lane = peer.lanes[stream];
  lane.sent.push_back({&link, bytes});
  if (lane.sent.size() == 1) push(link.peer_, stream, lane);
  return LinkStatus::kDone;
}

LinkStatus MeshTransport::post_receive(ChannelLink& link, Stream stream, std::span<std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  Peer& peer = peers_[link.peer_];
  Lane& lane = peer.lanes[stream];
  if (peer.is_lost && lane.early.empty()) return LinkStatus::kLost;
  lane.places.push_back({&link, bytes});
  match(link.peer_, stream, lane);
  return LinkStatus::kDone;
}

LinkStatus MeshTransport::wait(ChannelLink& link, std::size_t& complete) {
  std::unique_lock lock(mutex_);
  link.changed_.wait(lock, [&] { return complete > 0 || link.is_interrupted_ || peers_[link.peer_].is_lost; });
  if (link.is_interrupted_) {
    link.is_interrupted_ = false;
    return LinkStatus::kInterrupted;
  }
  if (complete == 0) return LinkStatus::kLost;
  --complete;
  return LinkStatus::kDone;
}

void MeshTransport::interrupt(ChannelLink& link) {
  const std::lock_guard lock(mutex_);
  link.is_interrupted_ = true;
  link.changed_.notify_all();
}

std::unique_ptr<Link> MeshTransport::link(Rank peer) {
  auto made = std::make_unique<ChannelLink>(*this, peer);
  const std::lock_guard lock(mutex_);
  links_.push_back(made.get());
  return made;
}

void MeshTransport::remove(ChannelLink& link) {
  const std::lock_guard lock(mutex_);
  std::erase(links_, &link);
  for (auto& [stream, lane] : peers_[link.peer_].lanes) {
    std::erase_if(lane.sent, [&](const Sent& sent) { return sent.link == &link; });
    std::erase_if(lane.places, [&](const Place& place) { return place.link == &link; });
  }
}

std::string MeshTransport::loss(Rank peer) {
  const std::lock_guard lock(mutex_);
  return peers_[peer].why;
}

std::vector<Rank> MeshTransport::lost_peers() {
  // Of connections that ended together the network tells one after another, and who fell first may be told last.
  constexpr std::chrono::milliseconds kTogether{50};
  const auto is_gone = [this](const Peer& peer) { return &peer == &peers_[self_] || peer.is_lost; };
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kTogether, [&] { return std::ranges::all_of(peers_, is_gone); });
  std::vector<Rank> lost;
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    if (rank != self_ && peers_[rank].is_lost) lost.push_back(rank);
  }
  return lost;
}

Failure MeshTransport::missing() const {
  std::vector<Rank> ranks;
  for (Rank rank = 0; rank < peers_.size(); ++rank) {
    if (rank != self_ && peers_[rank].connection == 0) ranks.push_back(rank);
  }
  return {FailureKind::kTimeout,
          fmt::format("no connection with {} {} in time{}", ranks.size() == 1 ? "rank" : "ranks",
                      fmt::join(ranks, ", "), last_refusal_.empty() ? "" : "; " + last_refusal_)};
}

Result<void> MeshTransport::await_all(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const auto all_here = [&] {
    for (Rank rank = 0; rank < peers_.size(); ++rank) {
      if (rank != self_ && peers_[rank].connection == 0) return false;
    }
    return true;
  };
  if (changed_.wait_until(lock, deadline, all_here)) return {};
  return missing();
}

void MeshTransport::close() noexcept {
  std::unique_ptr<Mesh> mesh;
  {
    const std::lock_guard lock(mutex_);
    for (Rank rank = 0; rank < peers_.size(); ++rank) {
      if (rank != self_) end_peer(rank, "given up by this rank");
    }
    mesh = std::move(mesh_);
  }
  mesh.reset();  // without the lock: it waits for events
}

}  // namespace

std::unique_ptr<ChannelTransport> ChannelTransport::open(Network& network, Store& store, const MeshOptions& options) {
  MeshOptions once = options;
  once.connects_anew = false;
  return std::make_unique<MeshTransport>(network, store, once);
}

}  // namespace concerto
