// The embedded store's server: connections and a timer around the service, which does the work.
//
// Requests are answered on the network's thread, under one mutex: every one of them is short, and sending never waits.
// A client that does not take its answers until its queue is full is cut off; it comes back and asks again.
#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "concerto/comm/stores.hpp"

#include "random_token.hpp"
#include "store_service.hpp"

namespace concerto {
namespace {

using embedded::Answer;
using embedded::ClientId;
using embedded::Outgoing;
using embedded::Request;
using embedded::StoreTime;
using Clock = std::chrono::steady_clock;

/// Time goes on in the service at least this often, and a gap of more than kLongestGap means that the process stood
/// still. On a machine that is merely busy the mistake costs a lease that lives longer.
constexpr StoreTime kLongestTick{500};
constexpr StoreTime kLongestGap{2'000};

embedded::MachineLimits machine_limits(const StoreServerLimits& limits) {
  embedded::MachineLimits result;
  result.stored_bytes = limits.stored_bytes;
  result.history_events = limits.history_events;
  result.history_bytes = limits.history_bytes;
  result.longest_gap = kLongestGap;
  return result;
}

/// Shared by the server, its timer and the callbacks of its channels, which may come late.
class ServerState {
 public:
  ServerState(const std::string& job, const StoreServerLimits& limits)
      : service_(job, embedded::random_token(), machine_limits(limits)) {}

  ClientId accept(const std::shared_ptr<Channel>& channel) {
    const std::lock_guard guard(mutex_);
    const ClientId client = ++last_client_;
    channels_.emplace(client, channel);
    service_.connect(client, channel->peer());
    return client;
  }

  void receive(ClientId client, const Message& message) {
    std::optional<Request> request = embedded::parse_request(message);
    act([&] {
      if (request) return service_.handle(client, std::move(*request), now());
      to_close_.push_back(client);  // it does not speak our language
      return std::vector<Outgoing>{};
    });
  }

  void forget(ClientId client) {
    const std::lock_guard guard(mutex_);
    service_.disconnect(client);
    channels_.erase(client);
  }

  /// The timer's thread: returns after stop().
  void run_timer() {
    std::unique_lock lock(mutex_);
    while (!is_stopping_) {
      StoreTime wake = now() + kLongestTick;
      if (const auto end = service_.next_end()) wake = std::min(wake, *end);
      changed_.wait_until(lock, Clock::time_point(wake));  // woken early where the next end has changed
      lock.unlock();
      act([&] { return service_.tick(now()); });
      lock.lock();
    }
  }

  void stop() {
    std::map<ClientId, std::shared_ptr<Channel>> channels;
    {
      const std::lock_guard guard(mutex_);
      is_stopping_ = true;
      channels.swap(channels_);
    }
    changed_.notify_all();
    for (const auto& [client, channel] : channels) channel->close();
  }

 private:
  static StoreTime now() { return std::chrono::duration_cast<StoreTime>(Clock::now().time_since_epoch()); }

  /// Runs `body` under the mutex, sends the answers that it returns and closes, outside, the channels that it names.
  template <class Body>
  void act(const Body& body) {
    std::vector<std::shared_ptr<Channel>> closing;
    {
      const std::lock_guard guard(mutex_);
      if (is_stopping_) return;
      const std::optional<StoreTime> end_before = service_.next_end();
      for (const Outgoing& out : body()) send(out);
      for (const ClientId client : to_close_) {
        const auto found = channels_.find(client);
        if (found != channels_.end()) closing.push_back(found->second);
      }
      to_close_.clear();
      if (service_.next_end() != end_before) changed_.notify_all();
    }
    for (const auto& channel : closing) channel->close();
  }

  void send(const Outgoing& out) {
    const auto found = channels_.find(out.to);
    if (found != channels_.end() && !found->second->send(embedded::encode(out.answer))) to_close_.push_back(out.to);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  embedded::StoreService service_;
  std::map<ClientId, std::shared_ptr<Channel>> channels_;
  std::vector<ClientId> to_close_;
  ClientId last_client_ = 0;
  bool is_stopping_ = false;
};

class EmbeddedStoreServer final : public StoreServer {
 public:
  EmbeddedStoreServer(Network& network, const std::string& address, const std::string& job,
                      const StoreServerLimits& limits)
      : state_(std::make_shared<ServerState>(job, limits)),
        listener_(network.listen(address, acceptor(state_))),
        timer_([state = state_] { state->run_timer(); }) {}
  ~EmbeddedStoreServer() override {
    listener_.reset();
    state_->stop();
    timer_.join();
  }
  EmbeddedStoreServer(const EmbeddedStoreServer&) = delete;
  EmbeddedStoreServer& operator=(const EmbeddedStoreServer&) = delete;

  [[nodiscard]] std::string address() const override { return listener_->address(); }

 private:
  static std::function<ChannelEvents(std::shared_ptr<Channel>)> acceptor(const std::weak_ptr<ServerState>& server) {
    return [server](const std::shared_ptr<Channel>& channel) {
      ChannelEvents events;
      const auto state = server.lock();
      const ClientId client = state ? state->accept(channel) : 0;
      events.on_message = [server, client](Channel&, const Message& message) {
        if (const auto here = server.lock()) here->receive(client, message);
      };
      events.on_closed = [server, client](Channel&, const Failure&) {
        if (const auto here = server.lock()) here->forget(client);
      };
      return events;
    };
  }

  std::shared_ptr<ServerState> state_;
  std::unique_ptr<Listener> listener_;
  std::thread timer_;
};

}  // namespace

std::unique_ptr<StoreServer> make_embedded_store_server(Network& network, const std::string& address,
                                                        const std::string& job, const StoreServerLimits& limits) {
  return std::make_unique<EmbeddedStoreServer>(network, address, job, limits);
}

}  // namespace concerto
