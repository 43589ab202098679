// The connection of an embedded store's client: made with the first call and anew whenever it is lost, shared by all
// threads that call. The Store on top of it is embedded_store.cpp.
//
// It has no thread: whoever waits for an answer connects, and asks whether the server is still there. What a call may
// do again by itself (Repeat) is decided by what it asks.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/stores.hpp"

#include "wire.hpp"

namespace concerto::embedded {

using Clock = std::chrono::steady_clock;

/// Whether a request whose answer was lost with its connection is sent again, or fails with kLost.
enum class Repeat : std::uint8_t { kNever, kSafe };

class StoreClient : public std::enable_shared_from_this<StoreClient> {
 public:
  StoreClient(Network& network, std::string address, Identity server, const StoreLimits& limits);

  /// What the server answers, other than a Failure. Waits until `deadline`; `what` is for messages ("put 'a'"). An
  /// answer that the server gives only when something happens `is_awaited`: its absence says nothing of the connection.
  [[nodiscard]] Result<AnswerBody> call(const RequestBody& body, Clock::time_point deadline, Repeat repeat,
                                        const std::string& what, bool is_awaited = false);

  /// A watch's place, and its request that is under way.
  struct Cursor {
    std::string prefix;
    Revision after = 0;
    std::uint64_t request = 0;  ///< 0: none
    bool is_interrupted = false;
  };
  /// Nothing: the time passed, or it was interrupted.
  [[nodiscard]] Result<std::optional<Changed>> poll(Cursor& cursor, Clock::time_point deadline);
  void interrupt(Cursor& cursor) noexcept;
  void cancel(const Cursor& cursor) noexcept;

  /// Sends the Unlock now, if there is a connection, and on each new one until it is answered. Never blocks.
  void release(const Unlock& unlock);
  /// A token for a lock.
  [[nodiscard]] std::string next_token();
  /// Every call, also those that wait, fails from now on.
  void close();

  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  [[nodiscard]] const StoreLimits& limits() const noexcept { return limits_; }

 private:
  using Lock = std::unique_lock<std::mutex>;
  /// Which connection, counted from 1.
  using Generation = std::uint64_t;
  struct Pending {
    Generation generation = 0;
    bool is_lost = false;
    std::optional<AnswerBody> body;
  };
  enum class Waited : std::uint8_t { kAnswered, kLost, kTimeout };

  [[nodiscard]] Result<Generation> connected(Lock& lock, Clock::time_point deadline);
  [[nodiscard]] Result<Generation> connect_once(Lock& lock, Clock::time_point deadline);
  [[nodiscard]] Result<void> greet(Lock& lock, const std::shared_ptr<Channel>& channel, Generation generation,
                                   Clock::time_point deadline);
  [[nodiscard]] Failure unreachable(const Failure& last) const;
  /// Registers and sends; false: it was not sent, and is not registered.
  [[nodiscard]] bool send(Lock& lock, std::shared_ptr<Channel> channel, Generation generation, std::uint64_t id,
                          const RequestBody& body);
  /// Interrupted by `*is_interrupted`, where given, it is over in time.
  [[nodiscard]] Waited wait_for(Lock& lock, std::uint64_t id, Clock::time_point deadline,
                                const bool* is_interrupted = nullptr);
  void check_connection(Lock& lock, Clock::time_point began);
  [[nodiscard]] AnswerBody take(std::uint64_t id);
  void drop(Lock& lock, Generation generation);
  void receive(Generation generation, const Message& message);
  void lose(Generation generation);
  [[nodiscard]] ChannelEvents events_of(Generation generation);

  Network& network_;
  const std::string address_;
  const Identity server_;
  const StoreLimits limits_;
  const std::string nonce_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Channel> channel_;  ///< greeted
  Generation generation_ = 0;         ///< of channel_
  Generation last_generation_ = 0;
  bool is_connecting_ = false;
  std::string store_;            ///< which contents; empty: never connected
  std::optional<Failure> gone_;  ///< for good
  Failure last_failure_;         ///< of connecting
  std::uint64_t last_id_ = 0;
  std::uint64_t tokens_ = 0;
  std::map<std::uint64_t, Pending> pending_;
  std::map<std::uint64_t, Unlock> releases_;
  Clock::time_point last_received_{};
  Clock::time_point last_ping_{};
};

}  // namespace concerto::embedded
