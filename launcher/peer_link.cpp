// A lease, a watch, and a queue of things to write.
#include "peer_link.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/eventfd.h>
#include <unistd.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"

#include "variables.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kPrefix = "launchers/";
constexpr const char* kFailureKey = "launchers/failure";
/// How soon a watching thread notices that it is to end.
constexpr std::chrono::milliseconds kWatchStep{200};

std::string key_of(std::uint32_t node, std::string_view what) {
  return fmt::format("{}{}/{}", kPrefix, node, what);
}

template <class T>
T required(Result<T> result, const char* doing) {
  if (!result.ok()) throw Error(ErrorCode::kIo, result.failure().message, std::string("the store, ") + doing);
  return std::move(result).value();
}

}  // namespace

std::string to_json(const JobFailure& failure) {
  return nlohmann::json{{"node", failure.node},
                        {"rank", failure.rank},
                        {"status", failure.status},
                        {"message", failure.message},
                        {"last_lines", failure.last_lines}}
      // Lines are bytes that ranks wrote: what is not UTF-8 is replaced.
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

JobFailure parse_job_failure(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text);
    return {json.at("node").get<std::uint32_t>(), json.at("rank").get<Rank>(), json.at("status").get<int>(),
            json.at("message").get<std::string>(), json.at("last_lines").get<std::vector<std::string>>()};
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::kCorrupt, "not what a launcher says of a failure", kFailureKey, error.what());
  }
}

class PeerLink::Impl {
 public:
  Impl(Store& store, const PeerLinkOptions& options)
      : store_(store), options_(options), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    CONCERTO_CHECK(static_cast<bool>(wake_), "no descriptor for events");
    lease_ = required(store_.grant_lease(options_.lost_after), "granting a lease");
    const auto written = required(store_.compare_and_swap(key_of(options_.node, "alive"), 0, "1", lease_),
                                  "saying that this launcher is there");
    if (!written.swapped) {
      throw Error(ErrorCode::kBadInput, fmt::format("another process is launcher {} of this job", options_.node),
                  "--node-rank");
    }
    const Store::Listing listing = required(store_.list(kPrefix), "listing launchers");
    for (const StoreEntry& entry : listing.entries) take(entry.key, &entry.value);
    watch_ = required(store_.watch(kPrefix, listing.revision), "watching launchers");
    renewed_ = Clock::now();
    writer_ = std::thread([this] { write(); });
    watcher_ = std::thread([this] { watch(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      is_ending_ = true;
    }
    changed_.notify_all();
    writer_.join();
    watcher_.join();
    if (!is_gone_) (void)store_.revoke(lease_);  // else it ends by itself
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void enqueue(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_all();
  }

  void publish(std::string key, std::string value, bool is_first_only) {
    enqueue([this, key = std::move(key), value = std::move(value), is_first_only] {
      // What the store does not take here is not repeated: then it is gone, and the watch says so.
      if (is_first_only) {
        (void)store_.compare_and_swap(key, 0, value);
      } else {
        (void)store_.put(key, value);
      }
    });
  }

  [[nodiscard]] const PeerLinkOptions& options() const noexcept { return options_; }
  [[nodiscard]] int wake_descriptor() const noexcept { return wake_.get(); }
  [[nodiscard]] bool have_all_joined() const noexcept { return have_all_joined_.load(); }

  std::vector<PeerEvent> take_events() {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t bytes = ::read(wake_.get(), &count, sizeof count);
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  void tell(PeerEvent event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t bytes = ::write(wake_.get(), &one, sizeof one);
  }

  void store_is_gone(const std::string& evidence) {
    if (is_gone_.exchange(true)) return;
    tell(JobFailed{{0, kNoRank, 1, fmt::format("the job's store, {}, is lost: {}", options_.store, evidence), {}}});
  }

  /// A key that has this value now, or (null) is gone.
  void take(const std::string& key, const std::string* value) {
    if (key == kFailureKey) {
      if (value != nullptr) tell(JobFailed{parse_job_failure(*value)});
      return;
    }
    const std::string_view rest = std::string_view(key).substr(kPrefix.size());
    const std::size_t slash = rest.find('/');
    const auto node = whole_number(rest.substr(0, slash));
    if (slash == std::string_view::npos || !node || *node >= options_.nodes) return;
    const std::string_view what = rest.substr(slash + 1);
    if (what == "ended" && value != nullptr) tell(PeerEnded{*node});
    if (what == "left" && value != nullptr) tell(PeerLeft{*node});
    if (what != "alive") return;
    if (value == nullptr) {
      tell(PeerLost{*node, fmt::format("nothing was heard of it for {} s",
                                       std::chrono::duration<double>(options_.lost_after).count())});
    } else {
      joined_.insert(*node);
      have_all_joined_ = joined_.size() == options_.nodes;
    }
  }

  /// The writing thread: tasks as they come, and the lease in time.
  void write() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, options_.lost_after / 3, [this] { return is_ending_ || !tasks_.empty(); });
        if (tasks_.empty() && is_ending_) return;
        if (!tasks_.empty()) {
          task = std::move(tasks_.front());
          tasks_.pop_front();
        }
      }
      if (is_gone_) continue;  // each call would take its time limit to say so again
      if (task) task();
      renew();
    }
  }

  void renew() {
    const auto left = store_.keep_alive(lease_);
    if (left.ok()) {
      renewed_ = Clock::now();
    } else if (left.failure().kind == FailureKind::kLost || Clock::now() - renewed_ > options_.lost_after) {
      store_is_gone(left.failure().message);
    }
  }

  /// The watching thread.
  void watch() {
    const Clock::time_point begun = Clock::now();
    while (!is_over()) {
      const auto batch = watch_->next(kWatchStep);
      if (!batch.ok()) {
        store_is_gone(batch.failure().message);
        return;
      }
      for (const StoreEvent& event : batch.value().events) {
        take(event.entry.key, event.is_deletion ? nullptr : &event.entry.value);
      }
      if (!have_all_joined_ && !is_late_ && Clock::now() - begun > options_.join_limit) report_late();
    }
  }

  void report_late() {
    is_late_ = true;
    for (std::uint32_t node = 0; node < options_.nodes; ++node) {
      if (joined_.contains(node)) continue;
      tell(PeerLost{node, fmt::format("it has not joined within {} s",
                                      std::chrono::duration<double>(options_.join_limit).count())});
    }
  }

  bool is_over() {
    const std::lock_guard lock(mutex_);
    return is_ending_ || is_gone_;
  }

  Store& store_;
  PeerLinkOptions options_;
  Descriptor wake_;
  LeaseId lease_ = 0;
  std::unique_ptr<StoreWatch> watch_;
  std::set<std::uint32_t> joined_;  ///< the watching thread's
  std::atomic<bool> have_all_joined_{false};
  std::atomic<bool> is_gone_{false};
  bool is_late_ = false;       ///< the watching thread's
  Clock::time_point renewed_;  ///< the writing thread's

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::vector<PeerEvent> events_;
  bool is_ending_ = false;

  std::thread writer_;
  std::thread watcher_;
};

PeerLink::PeerLink(Store& store, const PeerLinkOptions& options) : impl_(std::make_unique<Impl>(store, options)) {}
PeerLink::~PeerLink() = default;

void PeerLink::publish_failure(const JobFailure& failure) {
  impl_->publish(kFailureKey, to_json(failure), true);
}

void PeerLink::publish_ended() {
  impl_->publish(key_of(impl_->options().node, "ended"), "1", false);
}

void PeerLink::publish_left() {
  impl_->publish(key_of(impl_->options().node, "left"), "1", false);
}

int PeerLink::wake_descriptor() const noexcept {
  return impl_->wake_descriptor();
}

std::vector<PeerEvent> PeerLink::take_events() {
  return impl_->take_events();
}

bool PeerLink::have_all_joined() const noexcept {
  return impl_->have_all_joined();
}

}  // namespace concerto
