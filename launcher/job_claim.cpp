// A lease, two keys, and a thread that keeps them.
#include "job_claim.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kHolder = "job/holder";
constexpr const char* kOpen = "job/open";

template <class T>
T required(Result<T> result, const char* doing) {
  if (!result.ok()) throw Error(ErrorCode::kIo, result.failure().message, std::string("the store, ") + doing);
  return std::move(result).value();
}

std::string shape_of(const Assignment& assignment) {
  return fmt::format("{} launchers and {} ranks", assignment.nodes, assignment.world_size());
}

std::string this_process() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) return fmt::format("process {}", ::getpid());
  return fmt::format("process {} on {}", ::getpid(), host);
}

double seconds(std::chrono::milliseconds time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

JobClaim::JobClaim(Store& store, const Assignment& assignment, const ClaimLimits& limits)
    : store_(store), limits_(limits), shape_(shape_of(assignment)), holder_(this_process()) {
  lease_ = required(store_.grant_lease(limits_.time_to_live), "granting a lease");
  take_name(assignment);
  for (const StoreEntry& entry : required(store_.list(""), "listing what an earlier run has left").entries) {
    if (entry.key != kHolder) (void)required(store_.erase(entry.key), "erasing what an earlier run has left");
  }
  is_announcing_ = assignment.nodes > 1;
  if (is_announcing_) (void)required(store_.put(kOpen, shape_, lease_), "announcing the job");
  keeper_ = std::jthread([this](const std::stop_token& stop) { keep(stop); });
}

JobClaim::~JobClaim() {
  keeper_.request_stop();
  keeper_.join();
  const auto present = store_.get(kHolder);
  // Whoever slept through the end of its lease has nothing to clear away any more.
  if (present.ok() && present.value() && present.value()->lease == lease_) erase_all();
  (void)store_.revoke(lease_);
}

void JobClaim::take_name(const Assignment& assignment) {
  const Clock::time_point end = Clock::now() + limits_.patience;
  for (;;) {
    const SwapOutcome outcome = required(store_.compare_and_swap(kHolder, 0, holder_, lease_), "taking the job's name");
    if (outcome.swapped) return;
    if (Clock::now() >= end) {
      throw Error(ErrorCode::kBadInput,
                  fmt::format("job {} is running already: {} has the name; give this run another one", assignment.job,
                              outcome.present ? outcome.present->value : "another process"),
                  "--job");
    }
    limits_.pause();
    (void)required(store_.keep_alive(lease_), "keeping a lease alive");
  }
}

void JobClaim::erase_all() {
  const auto left = store_.list("");
  if (!left.ok()) return;
  for (const StoreEntry& entry : left.value().entries) {
    if (entry.key != kHolder && !store_.erase(entry.key).ok()) return;  // the next run of this name clears it
  }
}

void JobClaim::stop_announcing() {
  const std::lock_guard lock(mutex_);
  is_announcing_ = false;
}

bool JobClaim::is_announcing() {
  const std::lock_guard lock(mutex_);
  return is_announcing_;
}

void JobClaim::keep(const std::stop_token& stop) {
  for (;;) {
    const auto pause =
        is_announcing() ? std::min(limits_.announce_every, limits_.time_to_live / 3) : limits_.time_to_live / 3;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, pause, [] { return false; });
    }
    if (stop.stop_requested()) return;
    // What the store does not take is not repeated here: ranks and launchers notice for themselves that it is gone.
    (void)store_.keep_alive(lease_);
    if (is_announcing()) (void)store_.put(kOpen, shape_, lease_);
  }
}

void await_claim(Store& store, const Assignment& assignment, std::chrono::milliseconds limit,
                 const std::function<void()>& pause) {
  const Clock::time_point end = Clock::now() + limit;
  std::optional<Revision> first_seen;
  for (;;) {
    const auto found = store.get(kOpen);
    std::string reason = fmt::format("nobody holds job {}", assignment.job);
    if (!found.ok()) {
      reason = found.failure().message;
    } else {
      const Revision written = found.value() ? found.value()->modified : 0;
      if (!first_seen) first_seen = written;
      if (written != 0 && written != *first_seen) {
        if (found.value()->value == shape_of(assignment)) return;
        throw Error(ErrorCode::kBadInput,
                    fmt::format("launcher 0 was told of {}, launcher {} of {}", found.value()->value,
                                assignment.node_rank, shape_of(assignment)),
                    "--nnodes");
      }
      if (written != 0) reason = fmt::format("what is there of job {} may be left over", assignment.job);
    }
    if (Clock::now() >= end) {
      throw Error(ErrorCode::kIo, fmt::format("launcher 0 was not found within {} s: {}", seconds(limit), reason),
                  "--rendezvous");
    }
    pause();
  }
}

}  // namespace concerto
