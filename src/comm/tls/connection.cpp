// Handshakes, frames and goodbyes.
#include "connection.hpp"

#include <algorithm>

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <netinet/tcp.h>

namespace concerto::tls {
namespace {

/// How long a closing side waits for the other to say goodbye too.
constexpr std::chrono::milliseconds kGoodbye{1'000};
/// Small frames go together in one write, up to so much.
constexpr std::size_t kBatchBytes = std::size_t{512} << 10;
constexpr std::size_t kBatchFrames = 64;

template <int level, int name>
using IntegerOption = asio::detail::socket_option::integer<level, name>;

/// So that the kernel finds a machine that is gone: by probes where nothing is under way, else by what is not
/// confirmed.
void watch_for_silence(tcp::socket& socket, std::chrono::milliseconds silence) {
  const auto probes = std::max(1, static_cast<int>(silence.count() / 4'000));
  Code ignored;
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  socket.set_option(IntegerOption<IPPROTO_TCP, TCP_KEEPIDLE>(probes), ignored);
  socket.set_option(IntegerOption<IPPROTO_TCP, TCP_KEEPINTVL>(probes), ignored);
  socket.set_option(IntegerOption<IPPROTO_TCP, TCP_USER_TIMEOUT>(static_cast<int>(silence.count())), ignored);
}

}  // namespace

std::string text_of(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
}

void Connection::handshake(bool is_server, const std::string& job, std::chrono::milliseconds limit,
                           std::function<void(std::optional<Failure>)> done) {
  Code ignored;
  address_ = text_of(socket().remote_endpoint(ignored));
  socket().set_option(tcp::no_delay(true), ignored);
  watch_for_silence(socket(), limits_.silence);
  const auto self = shared_from_this();
  const auto is_late = std::make_shared<bool>(false);
  timer_.expires_after(limit);
  timer_.async_wait([self, is_late](const Code& error) {
    if (error) return;
    *is_late = true;
    Code closing;
    self->socket().close(closing);
  });
  wire_->handshake(is_server, address_,
                   [self, job, is_late, done = std::move(done)](const Result<std::optional<Identity>>& greeted) {
                     self->timer_.cancel();
                     if (*is_late) {
                       done(Failure{FailureKind::kTimeout,
                                    fmt::format("{} did not complete its handshake in time", self->address_)});
                       return;
                     }
                     if (!greeted) {
                       done(greeted.failure());
                       return;
                     }
                     const std::optional<Identity>& peer = greeted.value();
                     self->is_stranger_ = !peer;
                     if (peer && peer->job != job) {
                       done(Failure{FailureKind::kRefused,
                                    fmt::format("{} is of job {}, not of {}", self->address_, peer->job, job)});
                       return;
                     }
                     if (peer) self->peer_ = *peer;
                     done(std::nullopt);
                   });
}

void Connection::start(std::weak_ptr<StreamChannel> channel, ChannelEvents events) {
  channel_ = std::move(channel);
  events_ = std::move(events);
  read();
}

void Connection::start_stranger(std::weak_ptr<StreamChannel> channel, ChannelEvents events,
                                std::chrono::milliseconds limit) {
  parser_ = FrameParser(kMostOfAStranger);
  timer_.expires_after(limit);
  timer_.async_wait([self = shared_from_this()](const Code& error) {
    if (!error) self->end({FailureKind::kTimeout, fmt::format("{} asked for nothing in time", self->address_)});
  });
  start(std::move(channel), std::move(events));
}

Failure Connection::ending(const Code& error) const {
  if (is_closing()) return {FailureKind::kAborted, "closed from this side"};
  return {FailureKind::kLost,
          fmt::format("the connection to {} at {} ended: {}", to_string(peer_), address_, error.message())};
}

void Connection::read() {
  wire_->read_some(asio::buffer(read_buffer_), [self = shared_from_this()](const Code& error, std::size_t bytes) {
    if (self->has_ended_) return;
    if (error) {
      self->end(self->ending(error));
      return;
    }
    {
      const std::scoped_lock lock(self->mutex_);
      self->counters_.bytes_received += bytes;
    }
    const auto parsed = self->parser_.feed(std::span(self->read_buffer_).first(bytes), [&](Message message) {
      const auto channel = self->channel_.lock();
      if (!channel || self->has_ended_) return;
      {
        const std::scoped_lock lock(self->mutex_);
        ++self->counters_.messages_received;
      }
      if (self->events_.on_message) self->events_.on_message(*channel, std::move(message));
    });
    if (!parsed) {
      self->end({FailureKind::kCorrupt, fmt::format("{} at {} sent {}; it is cut off", to_string(self->peer_),
                                                    self->address_, parsed.failure().message)});
      return;
    }
    if (!self->has_ended_) self->read();
  });
}

Result<void> Connection::send(Outgoing message) {
  const std::size_t payload = message.payload_bytes();
  if (payload > kMaxPayload) {
    return Failure{FailureKind::kConflict, fmt::format("a message of {} bytes is too long", payload)};
  }
  const auto refusal = [&]() -> std::optional<Failure> {  // with the mutex held
    if (is_closing_) return Failure{FailureKind::kLost, fmt::format("the connection to {} has ended", address_)};
    if (counters_.queued_bytes > 0 && counters_.queued_bytes + payload + kFrameHeaderBytes > limits_.queue_bytes) {
      is_room_wanted_ = true;
      return Failure{FailureKind::kConflict, fmt::format("the queue to {} is full", address_)};
    }
    return std::nullopt;
  };
  {
    const std::scoped_lock lock(mutex_);
    if (auto refused = refusal()) return *std::move(refused);
    // The place in the queue is taken now; the checksum is made without the lock, and two who send at once may pass
    // each other as they may before the call.
    counters_.queued_bytes += payload + kFrameHeaderBytes;
  }
  const FrameHeader header = encode_header(message.type, message.epoch, message.head, message.body);
  const std::scoped_lock lock(mutex_);
  if (is_closing_) return Failure{FailureKind::kLost, fmt::format("the connection to {} has ended", address_)};
  queue_.push_back({header, std::move(message)});
  schedule_write();
  return {};
}

void Connection::schedule_write() {
  if (std::exchange(is_scheduled_, true)) return;
  asio::post(core_->io, [self = shared_from_this()] { self->write(); });
}

bool Connection::take_batch() {
  const std::scoped_lock lock(mutex_);
  for (std::size_t bytes = 0; !queue_.empty() && batch_.size() < kBatchFrames && bytes < kBatchBytes;) {
    bytes += queue_.front().bytes();
    batch_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  is_scheduled_ = !batch_.empty();
  return is_scheduled_;
}

void Connection::write() {
  if (is_writing_ || has_ended_) return;
  if (!take_batch()) {
    if (is_closing()) goodbye();
    return;
  }
  is_writing_ = true;
  std::vector<asio::const_buffer> buffers;
  buffers.reserve(3 * batch_.size());
  for (const Frame& frame : batch_) {
    buffers.emplace_back(frame.header.data(), frame.header.size());
    if (!frame.message.head.empty()) buffers.emplace_back(frame.message.head.data(), frame.message.head.size());
    if (!frame.message.body.empty()) buffers.emplace_back(frame.message.body.data(), frame.message.body.size());
  }
  wire_->write(std::move(buffers), [self = shared_from_this()](const Code& error, std::size_t) {
    self->is_writing_ = false;
    if (self->has_ended_) {
      self->batch_.clear();  // until now it was being read from
      return;
    }
    if (error) {
      self->end(self->ending(error));
      return;
    }
    self->written();
    self->write();
  });
}

void Connection::written() {
  std::size_t bytes = 0;
  for (const Frame& frame : batch_) bytes += frame.bytes();
  bool has_room = false;
  {
    const std::scoped_lock lock(mutex_);
    counters_.queued_bytes -= bytes;
    counters_.bytes_sent += bytes;
    counters_.messages_sent += batch_.size();
    has_room = is_room_wanted_ && counters_.queued_bytes <= limits_.queue_bytes / 2;
    if (has_room) is_room_wanted_ = false;
  }
  batch_.clear();
  const auto channel = channel_.lock();
  if (has_room && channel && events_.on_room) events_.on_room(*channel);
}

bool Connection::is_closing() const {
  const std::scoped_lock lock(mutex_);
  return is_closing_;
}

void Connection::close() {
  {
    const std::scoped_lock lock(mutex_);
    if (is_closing_) return;
    is_closing_ = true;
    schedule_write();
  }
  asio::post(core_->io, [self = shared_from_this()] {
    if (self->has_ended_ || self->batch_.empty()) return;  // goodbye() has set the timer
    self->timer_.expires_after(self->limits_.linger);
    self->timer_.async_wait([self](const Code& error) {
      if (!error) self->end({FailureKind::kAborted, "closed from this side, before all that was queued was sent"});
    });
  });
}

void Connection::cut(const Failure& why) {
  {
    const std::scoped_lock lock(mutex_);
    is_closing_ = true;
  }
  asio::post(core_->io, [self = shared_from_this(), why] { self->end(why); });
}

/// Everything is written: says so to the other side, and ends.
void Connection::goodbye() {
  const auto self = shared_from_this();
  timer_.expires_after(kGoodbye);
  timer_.async_wait([self](const Code& error) {
    if (!error) self->end({FailureKind::kAborted, "closed from this side"});
  });
  is_writing_ = true;
  wire_->goodbye();
}

void Connection::end(const Failure& failure) {
  if (has_ended_) return;
  has_ended_ = true;
  timer_.cancel();
  Code ignored;
  socket().shutdown(tcp::socket::shutdown_both, ignored);
  socket().close(ignored);
  std::deque<Frame> unsent;
  {
    const std::scoped_lock lock(mutex_);
    is_closing_ = true;
    unsent.swap(queue_);
    counters_.queued_bytes = 0;
  }
  unsent.clear();
  if (!is_writing_) batch_.clear();
  const ChannelEvents events = std::exchange(events_, {});
  const auto channel = channel_.lock();
  if (channel && events.on_closed) events.on_closed(*channel, failure);
}

ChannelCounters Connection::counters() const {
  const std::scoped_lock lock(mutex_);
  return counters_;
}

}  // namespace concerto::tls
