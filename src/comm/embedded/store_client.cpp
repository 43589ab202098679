// Calls over a connection that may be lost at any time.
#include "store_client.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "random_token.hpp"

namespace concerto::embedded {
namespace {

/// Between attempts to connect, growing.
constexpr std::chrono::milliseconds kShortestPause{20};
constexpr std::chrono::milliseconds kLongestPause{500};

std::chrono::milliseconds left_until(Clock::time_point deadline) {
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()), std::chrono::milliseconds{0});
}

}  // namespace

StoreClient::StoreClient(Network& network, std::string address, Identity server, const StoreLimits& limits)
    : network_(network),
      address_(std::move(address)),
      server_(std::move(server)),
      limits_(limits),
      nonce_(random_token()) {
  CONCERTO_CHECK(limits_.idle > std::chrono::milliseconds{0}, "a connection needs some time to answer");
}

// ---- Connecting -----------------------------------------------------------------------------------------------------

ChannelEvents StoreClient::events_of(Generation generation) {
  // Weak: callbacks may come after the client is gone.
  return {[client = weak_from_this(), generation](Channel&, const Message& message) {
            if (const auto here = client.lock()) here->receive(generation, message);
          },
          [client = weak_from_this(), generation](Channel&, const Failure&) {
            if (const auto here = client.lock()) here->lose(generation);
          }};
}

Failure StoreClient::unreachable(const Failure& last) const {
  return {FailureKind::kUnreachable, fmt::format("no connection to the embedded store at {} within the time limit{}{}",
                                                 address_, last.message.empty() ? "" : ": ", last.message)};
}

Result<StoreClient::Generation> StoreClient::connected(Lock& lock, Clock::time_point deadline) {
  auto pause = kShortestPause;
  while (true) {
    if (gone_) return *gone_;
    if (channel_) return generation_;
    if (is_connecting_) {
      if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) return unreachable(last_failure_);
      continue;
    }
    is_connecting_ = true;
    Result<Generation> made = connect_once(lock, deadline);
    is_connecting_ = false;
    changed_.notify_all();
    if (made || gone_) continue;
    last_failure_ = made.failure();
    // A certificate that is refused now is refused in a second, and so is a version.
    if (last_failure_.kind == FailureKind::kRefused || last_failure_.kind == FailureKind::kMismatch)
      return last_failure_;
    if (Clock::now() >= deadline) return unreachable(last_failure_);
    changed_.wait_until(lock, std::min(deadline, Clock::now() + pause));
    pause = std::min(2 * pause, kLongestPause);
  }
}

Result<StoreClient::Generation> StoreClient::connect_once(Lock& lock, Clock::time_point deadline) {
  const Generation generation = ++last_generation_;
  lock.unlock();
  auto channel = network_.connect(address_, server_, events_of(generation), left_until(deadline));
  lock.lock();
  if (!channel) return channel.failure();
  const Result<void> greeted = greet(lock, channel.value(), generation, deadline);
  if (!greeted || gone_) {
    lock.unlock();
    channel.value()->close();
    lock.lock();
    return gone_ ? *gone_ : greeted.failure();
  }
  channel_ = channel.value();
  generation_ = generation;
  last_received_ = Clock::now();
  const auto releases = releases_;
  for (const auto& [id, unlock] : releases) {
    if (!channel.value()->send(encode(Request{id, unlock}))) break;  // the connection is lost, or as good as
  }
  return generation;
}

Result<void> StoreClient::greet(Lock& lock, const std::shared_ptr<Channel>& channel, Generation generation,
                                Clock::time_point deadline) {
  const std::uint64_t id = ++last_id_;
  if (!send(lock, channel, generation, id, Hello{})) return Failure{FailureKind::kLost, "the connection was lost"};
  // A server that takes connections and says nothing is left for a new attempt, long before a patient caller gives up.
  const Waited waited = wait_for(lock, id, std::min(deadline, Clock::now() + limits_.idle));
  if (waited != Waited::kAnswered) {
    pending_.erase(id);
    if (waited == Waited::kTimeout) return Failure{FailureKind::kTimeout, "connected, but not greeted"};
    return Failure{FailureKind::kLost, "the connection was lost before the greeting"};
  }
  const AnswerBody body = take(id);
  if (const auto* failed = std::get_if<Failed>(&body)) return Failure{failed->kind, failed->message};
  const auto* welcome = std::get_if<Welcome>(&body);
  if (welcome == nullptr) return Failure{FailureKind::kMismatch, "greeted by something else than a store"};
  if (store_.empty()) store_ = welcome->store;
  if (store_ != welcome->store)
    gone_ = Failure{FailureKind::kLost,
                    fmt::format("the embedded store at {} is another one: what the first held is lost", address_)};
  return {};
}

// ---- Sending and waiting --------------------------------------------------------------------------------------------

bool StoreClient::send(Lock& lock, std::shared_ptr<Channel> channel, Generation generation, std::uint64_t id,
                       const RequestBody& body) {
  pending_[id].generation = generation;
  lock.unlock();
  const Result<void> sent = channel->send(encode(Request{id, body}));
  // The connection may have ended before it was known here as the present one.
  if (!sent && sent.failure().kind == FailureKind::kLost) lose(generation);
  lock.lock();
  if (!sent) pending_.erase(id);
  return sent.ok();
}

StoreClient::Waited StoreClient::wait_for(Lock& lock, std::uint64_t id, Clock::time_point deadline,
                                          const bool* is_interrupted) {
  const auto began = Clock::now();
  while (true) {
    const auto found = pending_.find(id);
    CONCERTO_CHECK(found != pending_.end(), "waiting for an answer that nobody asked for");
    if (found->second.body) return Waited::kAnswered;
    if (found->second.is_lost || gone_) return Waited::kLost;
    const auto now = Clock::now();
    if (now >= deadline || (is_interrupted != nullptr && *is_interrupted)) return Waited::kTimeout;
    changed_.wait_until(lock, std::min(deadline, now + limits_.idle / 4));
    check_connection(lock, began);
  }
}

void StoreClient::check_connection(Lock& lock, Clock::time_point began) {
  if (!channel_) return;
  const auto now = Clock::now();
  const auto silent = now - std::max(last_received_, began);
  if (silent >= limits_.idle) {
    drop(lock, generation_);
  } else if (silent >= limits_.idle / 2 && now - last_ping_ >= limits_.idle / 2) {
    last_ping_ = now;
    const auto channel = channel_;
    const Request ping{++last_id_, Ping{}};  // nobody waits for its answer: that something comes is enough
    lock.unlock();
    if (!channel->send(encode(ping))) channel->close();
    lock.lock();
  }
}

AnswerBody StoreClient::take(std::uint64_t id) {
  auto node = pending_.extract(id);
  return std::move(*node.mapped().body);
}

Result<AnswerBody> StoreClient::call(const RequestBody& body, Clock::time_point deadline, Repeat repeat,
                                     const std::string& what, bool is_awaited) {
  Lock lock(mutex_);
  while (true) {
    const Result<Generation> generation = connected(lock, deadline);
    if (!generation)
      return Failure{generation.failure().kind, fmt::format("{}: {}", what, generation.failure().message)};
    const std::uint64_t id = ++last_id_;
    const auto began = Clock::now();
    if (!send(lock, channel_, generation.value(), id, body)) {
      // Lost, or its queue is full: the latter passes, or the time does.
      if (Clock::now() >= deadline)
        return Failure{FailureKind::kTimeout, fmt::format("{}: could not be sent to {}", what, address_)};
      changed_.wait_until(lock, std::min(deadline, Clock::now() + kShortestPause));
      continue;
    }
    const Waited waited = wait_for(lock, id, deadline);
    if (waited == Waited::kAnswered) {
      AnswerBody answer = take(id);
      const auto* failed = std::get_if<Failed>(&answer);
      if (failed != nullptr) return Failure{failed->kind, fmt::format("{}: {}", what, failed->message)};
      return answer;
    }
    pending_.erase(id);
    if (gone_) return Failure{gone_->kind, fmt::format("{}: {}", what, gone_->message)};
    if (waited == Waited::kTimeout) {
      // The next call had better not wait for the same silence.
      if (!is_awaited && last_received_ < began) drop(lock, generation.value());
      return Failure{FailureKind::kTimeout,
                     fmt::format("{}: no answer of the embedded store at {} within the time limit", what, address_)};
    }
    if (repeat == Repeat::kNever)
      return Failure{
          FailureKind::kLost,
          fmt::format("{}: the connection to the embedded store at {} was lost before the answer", what, address_)};
  }
}

Result<std::optional<Changed>> StoreClient::poll(Cursor& cursor, Clock::time_point deadline) {
  Lock lock(mutex_);
  while (true) {
    if (gone_) return *gone_;
    if (std::exchange(cursor.is_interrupted, false)) return std::optional<Changed>{};
    if (cursor.request == 0) {
      const Result<Generation> generation = connected(lock, deadline);
      if (!generation) {
        if (generation.failure().kind == FailureKind::kUnreachable) return std::optional<Changed>{};
        return generation.failure();
      }
      const std::uint64_t id = ++last_id_;
      if (send(lock, channel_, generation.value(), id, Poll{cursor.prefix, cursor.after})) {
        cursor.request = id;
      } else if (Clock::now() >= deadline) {
        return std::optional<Changed>{};
      } else {
        changed_.wait_until(lock, std::min(deadline, Clock::now() + kShortestPause));
        continue;
      }
    }
    const Waited waited = wait_for(lock, cursor.request, deadline, &cursor.is_interrupted);
    if (waited == Waited::kTimeout) {
      cursor.is_interrupted = false;
      return std::optional<Changed>{};  // asked for still
    }
    const std::uint64_t id = std::exchange(cursor.request, 0);
    if (waited == Waited::kLost) {
      pending_.erase(id);
      continue;
    }
    AnswerBody body = take(id);
    if (const auto* failed = std::get_if<Failed>(&body)) return Failure{failed->kind, failed->message};
    auto* changed = std::get_if<Changed>(&body);
    if (changed == nullptr) return Failure{FailureKind::kCorrupt, "the store answered something else"};
    cursor.after = changed->through;
    if (changed->is_reset || !changed->events.empty()) return std::optional<Changed>(std::move(*changed));
  }
}

void StoreClient::interrupt(Cursor& cursor) noexcept {
  const Lock lock(mutex_);
  cursor.is_interrupted = true;
  changed_.notify_all();
}

void StoreClient::cancel(const Cursor& cursor) noexcept {
  Lock lock(mutex_);
  const auto found = pending_.find(cursor.request);
  if (found == pending_.end()) return;
  const bool is_under_way = !found->second.is_lost && !found->second.body && channel_;
  pending_.erase(found);
  if (!is_under_way) return;
  const auto channel = channel_;
  const Request request{++last_id_, Cancel{cursor.request}};
  lock.unlock();
  (void)channel->send(encode(request)).ok();  // if it is lost, so is what it cancels
}

void StoreClient::release(const Unlock& unlock) {
  Lock lock(mutex_);
  if (gone_) return;
  const std::uint64_t id = ++last_id_;
  releases_.emplace(id, unlock);
  const auto channel = channel_;
  lock.unlock();
  if (channel && !channel->send(encode(Request{id, unlock}))) channel->close();  // then it goes with the next one
}

std::string StoreClient::next_token() {
  const std::lock_guard guard(mutex_);
  return fmt::format("{}-{}", nonce_, ++tokens_);
}

// ---- What the network tells -----------------------------------------------------------------------------------------

void StoreClient::receive(Generation generation, const Message& message) {
  std::optional<Answer> answer = parse_answer(message);
  Lock lock(mutex_);
  if (!answer) {
    drop(lock, generation);
    return;
  }
  if (generation == generation_) last_received_ = Clock::now();
  releases_.erase(answer->id);
  const auto found = pending_.find(answer->id);
  if (found == pending_.end() || found->second.generation != generation) return;
  found->second.body = std::move(answer->body);
  changed_.notify_all();
}

void StoreClient::lose(Generation generation) {
  std::shared_ptr<Channel> ended;  // destroyed after the lock
  const std::lock_guard guard(mutex_);
  for (auto& [id, pending] : pending_) pending.is_lost |= pending.generation == generation && !pending.body;
  if (generation_ == generation) ended = std::move(channel_);
  channel_ = generation_ == generation ? nullptr : channel_;
  changed_.notify_all();
}

void StoreClient::drop(Lock& lock, Generation generation) {
  const auto channel = generation_ == generation ? channel_ : nullptr;
  lock.unlock();
  if (channel) channel->close();
  lose(generation);
  lock.lock();
}

void StoreClient::close() {
  std::shared_ptr<Channel> channel;
  {
    const std::lock_guard guard(mutex_);
    if (!gone_) gone_ = Failure{FailureKind::kAborted, fmt::format("the client of {} is closed", address_)};
    channel = std::move(channel_);
    channel_ = nullptr;
    changed_.notify_all();
  }
  if (channel) channel->close();
}

}  // namespace concerto::embedded
