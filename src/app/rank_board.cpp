// Heartbeats and failures as keys of the store.
#include "rank_board.hpp"

#include <charconv>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

constexpr std::string_view kPrefix = "ranks/";
constexpr std::string_view kFinished = "finished";

/// "ranks/3/heartbeat" as (3, "heartbeat"); nothing for other keys.
std::optional<std::pair<Rank, std::string_view>> parse_key(std::string_view key) {
  if (!key.starts_with(kPrefix)) return std::nullopt;
  key.remove_prefix(kPrefix.size());
  Rank rank = 0;
  const auto [end, status] = std::from_chars(key.data(), key.data() + key.size(), rank);
  if (status != std::errc{} || end == key.data() + key.size() || *end != '/') return std::nullopt;
  return std::pair(rank, key.substr(static_cast<std::size_t>(end - key.data()) + 1));
}

/// The connection was lost or the store did not answer: the write may be in the store or not, and can be made again.
bool may_be_repeated(const Failure& failure) {
  return failure.kind == FailureKind::kLost || failure.kind == FailureKind::kTimeout ||
         failure.kind == FailureKind::kUnreachable;
}

/// Writes without a lease, a few times where it is not known whether the store has it.
void put_surely(Store& store, const std::string& key, std::string_view value) {
  constexpr int kAttempts = 3;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto written = store.put(key, value);
    if (written || !may_be_repeated(written.failure())) return;
  }
}

[[noreturn]] void refuse(const Failure& failure, const std::string& doing) {
  throw Error(ErrorCode::kIo, failure.message, "the store, " + doing);
}

}  // namespace

std::string failure_key(Rank rank) {
  return fmt::format("ranks/{}/failure", rank);
}

std::optional<RankFailure> parse_failure(const std::string& value) {
  RankFailure failure;
  const auto [end, status] = std::from_chars(value.data(), value.data() + value.size(), failure.blamed);
  const auto begin = static_cast<std::size_t>(end - value.data());
  if (status != std::errc{} || begin >= value.size()) return std::nullopt;
  failure.message = value.substr(begin + 1);
  return failure;
}

void publish_failure(Store& store, Rank rank, const RankFailure& failure) {
  constexpr std::size_t kMostText = 4000;
  put_surely(store, failure_key(rank),
             fmt::format("{} {}", failure.blamed, std::string_view(failure.message).substr(0, kMostText)));
}

RankBoard::RankBoard(Store& store, Rank rank, Rank ranks, std::chrono::milliseconds lease_time, BoardEvents events)
    : store_(store), rank_(rank), ranks_(ranks), lease_time_(lease_time), events_(std::move(events)) {
  auto lease = store_.grant_lease(lease_time);
  if (!lease) refuse(lease.failure(), "asking for a lease");
  lease_ = lease.value();
  auto listing = store_.list(kPrefix);
  if (!listing) refuse(listing.failure(), "listing ranks");
  auto watch = store_.watch(kPrefix, listing.value().revision);
  if (!watch) refuse(watch.failure(), "watching ranks");
  watch_ = std::move(watch).value();
  for (const StoreEntry& entry : listing.value().entries) take({false, entry});
  publisher_ = std::jthread([this](const std::stop_token& stop) { publish_loop(stop); });
  watcher_ = std::jthread([this](const std::stop_token& stop) { watch_loop(stop); });
}

RankBoard::~RankBoard() {
  end_threads();
  (void)store_.revoke(lease_);
}

void RankBoard::end_threads() {
  publisher_.request_stop();
  watcher_.request_stop();
  watch_->interrupt();
  if (publisher_.joinable()) publisher_.join();
  if (watcher_.joinable()) watcher_.join();
}

std::string RankBoard::key(const char* name) const {
  return fmt::format("ranks/{}/{}", rank_, name);
}

void RankBoard::publish(const Heartbeat& heartbeat) {
  const std::scoped_lock lock(mutex_);
  next_ = heartbeat;
  changed_.notify_all();
}

void RankBoard::finish() {
  end_threads();
  put_surely(store_, key("heartbeat"), kFinished);  // without the lease: it may end now
}

void RankBoard::publish_loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::optional<Heartbeat> now;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, lease_time_ / 3, [this] { return next_.has_value(); });
      now = std::exchange(next_, std::nullopt);
    }
    if (stop.stop_requested()) return;
    const auto left = store_.keep_alive(lease_);
    if (!left) {
      events_.store_lost(left.failure().message);
      return;
    }
    if (!now) continue;
    const auto written = store_.put(key("heartbeat"), to_text(*now), lease_);
    // One that is lost is followed by another; whether the store is there, and the lease, the next keep_alive tells.
    if (!written && !may_be_repeated(written.failure())) {
      events_.store_lost(written.failure().message);
      return;
    }
  }
}

void RankBoard::watch_loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto batch = watch_->next(std::chrono::minutes(1));
    if (stop.stop_requested()) return;
    if (!batch) {
      events_.store_lost(batch.failure().message);
      return;
    }
    for (const StoreEvent& event : batch.value().events) take(event);
  }
}

void RankBoard::take(const StoreEvent& event) {
  const auto parsed = parse_key(event.entry.key);
  if (!parsed || parsed->first >= ranks_ || parsed->first == rank_) return;
  const auto [rank, name] = *parsed;
  if (name == "heartbeat") {
    if (event.is_deletion) {
      events_.lost(rank, "its lease in the store has ended");
    } else if (event.entry.value == kFinished) {
      events_.finished(rank);
    } else if (const auto heartbeat = parse_heartbeat(event.entry.value)) {
      events_.heard(rank, *heartbeat);
    }
    return;
  }
  if (name != "failure" || event.is_deletion) return;
  if (const auto failure = parse_failure(event.entry.value)) events_.failed(rank, failure->blamed, failure->message);
}

}  // namespace concerto
