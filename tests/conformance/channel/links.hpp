// What the suite of channels and meshes runs on: networks of this process over memory, over TLS and over plain TCP.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/networks.hpp"
#include "concerto/comm/trust.hpp"

#include "support/inproc_network.hpp"

namespace concerto {

using std::chrono::milliseconds;

/// Long enough for whatever happens at all.
inline constexpr milliseconds kPatience{60'000};

enum class Kind { kInproc, kTls, kPlain };
inline void PrintTo(Kind kind, std::ostream* out) {
  *out << (kind == Kind::kInproc ? "inproc" : kind == Kind::kTls ? "tls" : "plain");
}
inline std::string name_of(const ::testing::TestParamInfo<Kind>& info) {
  return ::testing::PrintToString(info.param);
}

inline Identity rank_identity(Rank rank, Incarnation incarnation = 1, const std::string& job = "job") {
  return {job, Role::kRank, rank, incarnation};
}

/// Networks that can reach each other.
class World {
 public:
  explicit World(Kind kind) : kind_(kind) {}
  [[nodiscard]] std::unique_ptr<Network> network(const Identity& self, const NetworkLimits& limits = {}) {
    switch (kind_) {
      case Kind::kInproc:
        return hub_.network(self, limits);
      case Kind::kTls:
        return make_tls_network((self.job == "job" ? authority_ : other_).issue(self), limits);
      case Kind::kPlain:
        return make_plain_network(self, limits);
    }
    return nullptr;
  }

 private:
  Kind kind_;
  test::InprocHub hub_;
  JobAuthority authority_{"job"};
  JobAuthority other_{"other"};
};

/// Things that come from another thread, for a test to wait for.
template <class Thing>
class Arrivals {
 public:
  void add(Thing thing) {
    const std::lock_guard lock(mutex_);
    things_.push_back(std::move(thing));
    changed_.notify_all();
  }
  /// Nothing after kPatience.
  [[nodiscard]] std::optional<Thing> next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [&] { return !things_.empty(); })) return std::nullopt;
    Thing first = std::move(things_.front());
    things_.pop_front();
    return first;
  }
  [[nodiscard]] std::size_t size() {
    const std::lock_guard lock(mutex_);
    return things_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Thing> things_;
};

/// A door that callbacks can be held at.
class Door {
 public:
  void shut() { set(true); }
  void open() { set(false); }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !is_shut_; });
  }

 private:
  void set(bool is_shut) {
    const std::lock_guard lock(mutex_);
    is_shut_ = is_shut;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_shut_ = false;
};

/// A message that says its number in each of its bytes.
inline Message numbered(std::uint32_t number, std::size_t size) {
  Message message{static_cast<std::uint16_t>(number % 1000), number, std::vector<std::byte>(size)};
  for (std::size_t i = 0; i < size; ++i) message.payload[i] = static_cast<std::byte>(i * 31 + number + i / 257);
  return message;
}
inline bool is_numbered(const Message& message, std::uint32_t number, std::size_t size) {
  const Message expected = numbered(number, size);
  return message.type == expected.type && message.epoch == number && message.payload == expected.payload;
}

}  // namespace concerto
