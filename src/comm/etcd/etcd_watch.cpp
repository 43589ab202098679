// Listing and watching a range of keys.
#include "etcd_watch.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace concerto::etcd {
namespace {

constexpr std::chrono::milliseconds kShortestPause{30};
constexpr std::chrono::milliseconds kLongestPause{500};
/// How soon a watch that waits learns that its client is closed, or that it is interrupted.
constexpr std::chrono::milliseconds kSlice{100};
/// Of one answer of a listing.
constexpr std::int64_t kPage = 256;
/// What a listing counts for an entry beside its key and value.
constexpr std::size_t kOverhead = 128;

}  // namespace

Result<Store::Listing> list_keys(Cluster& cluster, const std::string& prefix, Clock::time_point deadline) {
  const std::string what = fmt::format("list '{}'", prefix);
  Store::Listing listing;
  Range range{prefix, prefix_end(prefix), kPage};
  std::size_t bytes = 0;
  while (true) {
    const auto body = cluster.call("/v3/kv/range", range_body(range), deadline, Repeat::kSafe, what);
    if (!body && body.failure().kind == FailureKind::kConflict && range.at != 0) {
      // Between two pages their revision was compacted: again, from the first.
      listing = {};
      bytes = 0;
      range.key = prefix;
      range.at = 0;
      continue;
    }
    if (!body) return body.failure();
    auto answer = parse_range(body.value());
    if (!answer) return Failure{FailureKind::kCorrupt, what + ": not an answer of etcd"};
    if (range.at == 0) listing.revision = range.at = answer->revision;
    for (StoreEntry& entry : answer->entries) {
      bytes += entry.key.size() + entry.value.size() + kOverhead;
      listing.entries.push_back(std::move(entry));
    }
    if (bytes > kMaxStoreListing)
      return Failure{FailureKind::kRefused,
                     fmt::format("{}: the keys hold more than {} bytes", what, kMaxStoreListing)};
    if (!answer->has_more || answer->entries.empty()) return listing;
    range.key = listing.entries.back().key + '\0';
  }
}

EtcdWatch::EtcdWatch(std::shared_ptr<Cluster> cluster, std::string prefix, std::size_t hidden, Revision after)
    : cluster_(std::move(cluster)),
      prefix_(std::move(prefix)),
      hidden_(hidden),
      after_(after),
      next_pause_(kShortestPause) {}

Result<StoreWatch::Batch> EtcdWatch::next(std::chrono::milliseconds limit) {
  const auto deadline = deadline_after(limit);
  Batch batch;
  while (true) {
    if (cluster_->is_closed())
      return Failure{FailureKind::kAborted,
                     fmt::format("watch of '{}': the client is closed", prefix_.substr(hidden_))};
    if (is_interrupted_.exchange(false)) return batch;
    Result<void> done;
    if (must_reset_) {
      done = reset(batch, deadline);
    } else if (!stream_) {
      done = open(deadline);
    } else {
      std::string line;
      const auto waited = stream_->next_line(line, std::min(deadline, Clock::now() + kSlice));
      if (waited == HttpStream::Waited::kLine) {
        done = take(line, batch, deadline);
      } else if (waited == HttpStream::Waited::kEnded) {
        const HttpFailure failure = stream_->failure();
        if (cluster_->is_refused(failure.kind, refusals_))
          return Failure{FailureKind::kRefused, "watch: " + failure.message};
        lose_stream(deadline);
      }
    }
    if (!done) return done.failure();
    if (batch.is_reset || !batch.events.empty() || Clock::now() >= deadline) return batch;
  }
}

Result<void> EtcdWatch::open(Clock::time_point deadline) {
  auto opened = cluster_->open_stream("/v3/watch", watch_body(prefix_, prefix_end(prefix_), after_ + 1), deadline);
  if (opened) {
    stream_ = std::move(opened).value();
    return {};
  }
  if (opened.failure().kind == FailureKind::kRefused) return opened.failure();
  lose_stream(deadline);
  return {};
}

void EtcdWatch::lose_stream(Clock::time_point deadline) {
  stream_.reset();
  cluster_->leave_endpoint();
  cluster_->pause(next_pause_, deadline);
  next_pause_ = std::min(2 * next_pause_, kLongestPause);
}

Result<void> EtcdWatch::take(const std::string& line, Batch& batch, Clock::time_point deadline) {
  auto answer = parse_watch(line);
  if (!answer) {
    stream_.reset();
    return Failure{FailureKind::kMismatch, "watch: not an answer of etcd's JSON gateway (v3)"};
  }
  if (answer->error) {
    const ErrorAnswer& error = *answer->error;
    if (error.is(Code::kUnauthenticated) || is_about_a_token(error.message)) return take_refusal(error.message);
    if (error.is(Code::kPermissionDenied)) return Failure{FailureKind::kRefused, "watch: " + error.message};
    lose_stream(deadline);
    return {};
  }
  if (answer->is_cancelled) return take_cancellation(*answer, batch, deadline);
  next_pause_ = kShortestPause;
  was_refused_ = false;
  for (StoreEvent& event : answer->events) {
    if (event.entry.modified <= after_ || event.entry.key.size() < hidden_) continue;
    event.entry.key.erase(0, hidden_);
    batch.events.push_back(std::move(event));
  }
  if (!batch.events.empty()) after_ = batch.events.back().entry.modified;
  return {};
}

Result<void> EtcdWatch::take_cancellation(const WatchAnswer& answer, Batch& batch, Clock::time_point deadline) {
  if (answer.compacted != 0) {
    stream_.reset();
    must_reset_ = true;
    return reset(batch, deadline);
  }
  if (is_about_a_token(answer.reason) || answer.reason.find("permission denied") != std::string::npos)
    return take_refusal(answer.reason);
  lose_stream(deadline);
  return {};
}

Result<void> EtcdWatch::take_refusal(const std::string& reason) {
  // Once with a new token: etcd says "permission denied" too where the token has ended.
  stream_.reset();
  if (!was_refused_ && cluster_->forget_token()) {
    was_refused_ = true;
    return {};
  }
  return Failure{FailureKind::kRefused, "watch: " + reason};
}

Result<void> EtcdWatch::reset(Batch& batch, Clock::time_point deadline) {
  auto listing = list_keys(*cluster_, prefix_, std::max(deadline, deadline_after(std::chrono::milliseconds{1})));
  if (!listing) {
    const FailureKind kind = listing.failure().kind;
    const bool passes =
        kind == FailureKind::kTimeout || kind == FailureKind::kUnreachable || kind == FailureKind::kLost;
    if (passes) return {};  // and again with the next call
    return listing.failure();
  }
  must_reset_ = false;
  batch.is_reset = true;
  for (StoreEntry& entry : listing.value().entries) {
    entry.key.erase(0, hidden_);
    batch.events.push_back({false, std::move(entry)});
  }
  std::ranges::sort(batch.events, {}, [](const StoreEvent& event) { return event.entry.modified; });
  after_ = listing.value().revision;
  return {};
}

}  // namespace concerto::etcd
