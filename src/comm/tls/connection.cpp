// Handshakes, frames and goodbyes.
#include "connection.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

namespace concerto::tls {
namespace {

/// How long a closing side waits for the other to say goodbye too.
constexpr std::chrono::milliseconds kGoodbye{1'000};

/// Why a handshake failed, in words, and of what kind that is.
Failure handshake_failure(SSL* session, const Code& error, const std::string& address) {
  const long verdict = SSL_get_verify_result(session);
  if (verdict == X509_V_ERR_APPLICATION_VERIFICATION) {
    return {FailureKind::kMismatch,
            fmt::format("{} is not of the job of the join token: its authority has another fingerprint", address)};
  }
  if (verdict != X509_V_OK) {
    return {FailureKind::kRefused,
            fmt::format("the certificate of {} is refused: {}", address, X509_verify_cert_error_string(verdict))};
  }
  if (error.category() == asio::error::get_ssl_category()) {
    const char* reason = ERR_reason_error_string(static_cast<unsigned long>(error.value()));
    return {FailureKind::kRefused,
            fmt::format("no TLS session with {}: {}", address, reason != nullptr ? reason : "?")};
  }
  return {FailureKind::kLost,
          fmt::format("{} ended the connection before it was a session: {}", address, error.message())};
}

/// Whether the two sides have agreed on the protocol for joining.
bool asks_to_join(SSL* session) {
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(session, &chosen, &size);
  return kJoinProtocol.substr(1) == std::string_view(reinterpret_cast<const char*>(chosen), size);
}

}  // namespace

std::string text_of(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
}

/// Who a certificate says it is; nothing without exactly one URI that is an identity.
std::optional<Identity> identity_of(const X509* certificate) {
  if (certificate == nullptr) return std::nullopt;
  const NamesOwner names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!names || sk_GENERAL_NAME_num(names.get()) != 1) return std::nullopt;
  const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_URI) return std::nullopt;
  const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
  return parse_identity(
      {reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)), static_cast<std::size_t>(ASN1_STRING_length(uri))});
}

void Connection::handshake(asio::ssl::stream_base::handshake_type type, const std::string& job,
                           std::chrono::milliseconds limit, std::function<void(std::optional<Failure>)> done) {
  Code ignored;
  address_ = text_of(socket().remote_endpoint(ignored));
  socket().set_option(tcp::no_delay(true), ignored);
  socket().set_option(asio::socket_base::keep_alive(true), ignored);
  const auto self = shared_from_this();
  const auto is_late = std::make_shared<bool>(false);
  timer_.expires_after(limit);
  timer_.async_wait([self, is_late](const Code& error) {
    if (error) return;
    *is_late = true;
    Code closing;
    self->socket().close(closing);
  });
  stream_.async_handshake(type, [self, job, is_late, done = std::move(done)](const Code& error) {
    self->timer_.cancel();
    if (*is_late) {
      done(Failure{FailureKind::kTimeout, fmt::format("{} did not complete its handshake in time", self->address_)});
      return;
    }
    if (error) {
      done(handshake_failure(self->stream_.native_handle(), error, self->address_));
      return;
    }
    SSL* const session = self->stream_.native_handle();
    if (SSL_is_server(session) == 1 && asks_to_join(session)) {
      self->is_stranger_ = true;
      done(std::nullopt);
      return;
    }
    const CertificateOwner certificate(SSL_get1_peer_certificate(session));
    const auto peer = identity_of(certificate.get());
    if (!peer || peer->job != job) {
      done(Failure{FailureKind::kRefused,
                   fmt::format("{} shows a certificate of no process of job {}", self->address_, job)});
      return;
    }
    self->peer_ = *peer;
    done(std::nullopt);
  });
}

void Connection::start(std::weak_ptr<TlsChannel> channel, ChannelEvents events) {
  channel_ = std::move(channel);
  events_ = std::move(events);
  read();
}

void Connection::start_stranger(std::weak_ptr<TlsChannel> channel, ChannelEvents events,
                                std::chrono::milliseconds limit) {
  parser_ = FrameParser(kMostOfAStranger);
  timer_.expires_after(limit);
  timer_.async_wait([self = shared_from_this()](const Code& error) {
    if (!error) self->end({FailureKind::kTimeout, fmt::format("{} asked for nothing in time", self->address_)});
  });
  start(std::move(channel), std::move(events));
}

Failure Connection::ending(const Code& error) const {
  const std::scoped_lock lock(mutex_);
  if (is_closing_) return {FailureKind::kAborted, "closed from this side"};
  return {FailureKind::kLost,
          fmt::format("the connection to {} at {} ended: {}", to_string(peer_), address_, error.message())};
}

void Connection::read() {
  stream_.async_read_some(
      asio::buffer(read_buffer_), [self = shared_from_this()](const Code& error, std::size_t bytes) {
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

Result<void> Connection::send(const Message& message) {
  if (message.payload.size() > kMaxPayload) {
    return Failure{FailureKind::kConflict, fmt::format("a message of {} bytes is too long", message.payload.size())};
  }
  std::vector<std::byte> frame = encode_frame(message);
  {
    const std::scoped_lock lock(mutex_);
    if (is_closing_) return Failure{FailureKind::kLost, fmt::format("the connection to {} has ended", address_)};
    if (counters_.queued_bytes > 0 && counters_.queued_bytes + frame.size() > limits_.queue_bytes) {
      return Failure{FailureKind::kConflict, fmt::format("the queue to {} is full", address_)};
    }
    counters_.queued_bytes += frame.size();
    queue_.push_back(std::move(frame));
  }
  asio::post(core_->io, [self = shared_from_this()] { self->write(); });
  return {};
}

void Connection::write() {
  if (is_writing_ || has_ended_) return;
  std::shared_ptr<std::vector<std::byte>> frame;
  bool is_closing = false;
  {
    const std::scoped_lock lock(mutex_);
    is_closing = is_closing_;
    if (!queue_.empty()) {
      frame = std::make_shared<std::vector<std::byte>>(std::move(queue_.front()));
      queue_.pop_front();
    }
  }
  if (!frame) {
    if (is_closing) goodbye();
    return;
  }
  is_writing_ = true;
  asio::async_write(stream_, asio::buffer(*frame), [self = shared_from_this(), frame](const Code& error, std::size_t) {
    self->is_writing_ = false;
    if (self->has_ended_) return;
    if (error) {
      self->end(self->ending(error));
      return;
    }
    {
      const std::scoped_lock lock(self->mutex_);
      self->counters_.queued_bytes -= frame->size();
      self->counters_.bytes_sent += frame->size();
      ++self->counters_.messages_sent;
    }
    self->write();
  });
}

void Connection::close() {
  {
    const std::scoped_lock lock(mutex_);
    if (is_closing_) return;
    is_closing_ = true;
  }
  asio::post(core_->io, [self = shared_from_this()] { self->write(); });
}

/// Everything is written: says so to the other side, and ends.
void Connection::goodbye() {
  const auto self = shared_from_this();
  timer_.expires_after(kGoodbye);
  timer_.async_wait([self](const Code& error) {
    if (!error) self->end({FailureKind::kAborted, "closed from this side"});
  });
  is_writing_ = true;
  stream_.async_shutdown([self](const Code&) { self->end({FailureKind::kAborted, "closed from this side"}); });
}

void Connection::end(const Failure& failure) {
  if (has_ended_) return;
  has_ended_ = true;
  timer_.cancel();
  Code ignored;
  socket().shutdown(tcp::socket::shutdown_both, ignored);
  socket().close(ignored);
  {
    const std::scoped_lock lock(mutex_);
    is_closing_ = true;
    queue_.clear();
    counters_.queued_bytes = 0;
  }
  const ChannelEvents events = std::exchange(events_, {});
  const auto channel = channel_.lock();
  if (channel && events.on_closed) events.on_closed(*channel, failure);
}

ChannelCounters Connection::counters() const {
  const std::scoped_lock lock(mutex_);
  return counters_;
}

}  // namespace concerto::tls
