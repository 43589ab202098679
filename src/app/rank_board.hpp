// How ranks tell each other where they are and why they gave up, through the store: threads that turn heartbeats into
// keys and keys into events, so that a node's driver never waits for the store.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "concerto/comm/store.hpp"
#include "concerto/node/failure_detector.hpp"

namespace concerto {

/// What the board has heard. Called from the board's threads.
struct BoardEvents {
  std::function<void(Rank, const Heartbeat&)> heard;
  std::function<void(Rank, const std::string& evidence)> lost;
  std::function<void(Rank)> finished;
  std::function<void(Rank, Rank blamed, const std::string& message)> failed;
  std::function<void(const std::string& message)> store_lost;
};

/// A rank's failure in the store: why it gave up, and whom it blames (itself, another, kNoRank).
struct RankFailure {
  Rank blamed = kNoRank;
  std::string message;
};
[[nodiscard]] std::string failure_key(Rank rank);
/// Nothing for what publish_failure did not write.
[[nodiscard]] std::optional<RankFailure> parse_failure(const std::string& value);
/// Tells the others; returns when the store has it or will not take it. Also for a rank that has no board yet.
void publish_failure(Store& store, Rank rank, const RankFailure& failure);

/// Keys: ranks/R/heartbeat (with a lease that ends with the rank) and ranks/R/failure.
class RankBoard {
 public:
  /// Begins to watch, and holds a lease of `lease_time` that it keeps alive. Error{kIo} where the store does not
  /// answer.
  RankBoard(Store& store, Rank rank, Rank ranks, std::chrono::milliseconds lease_time, BoardEvents events);
  ~RankBoard();
  RankBoard(const RankBoard&) = delete;

  /// Publishes; a heartbeat that is not out yet is replaced by a newer one. Does not wait.
  void publish(const Heartbeat& heartbeat);
  /// Tells the others why this rank gives up and whom it blames.
  void publish_failure(Rank blamed, const std::string& message) {
    concerto::publish_failure(store_, rank_, {blamed, message});
  }
  /// A finished rank's silence is no failure: tells so, and stops watching.
  void finish();

 private:
  void publish_loop(const std::stop_token& stop);
  void watch_loop(const std::stop_token& stop);
  void end_threads();
  void take(const StoreEvent& event);
  [[nodiscard]] std::string key(const char* name) const;

  Store& store_;
  Rank rank_;
  Rank ranks_;
  std::chrono::milliseconds lease_time_;
  BoardEvents events_;
  LeaseId lease_ = 0;
  std::unique_ptr<StoreWatch> watch_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<Heartbeat> next_;
  std::jthread publisher_;
  std::jthread watcher_;
};

}  // namespace concerto
