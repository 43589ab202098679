// The Store that processes of a job see, over a StoreClient.
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "concerto/comm/store_keys.hpp"
#include "concerto/comm/stores.hpp"

#include "store_client.hpp"

namespace concerto {
namespace {

using namespace embedded;  // NOLINT: requests and answers by their names

Clock::time_point after(std::chrono::milliseconds limit) {
  // Far enough, and no overflow for "for ever".
  return Clock::now() + std::min<std::chrono::milliseconds>(limit, std::chrono::hours{24 * 365});
}

class EmbeddedWatch final : public StoreWatch {
 public:
  EmbeddedWatch(std::shared_ptr<StoreClient> client, std::string_view prefix, Revision from)
      : client_(std::move(client)), cursor_{std::string(prefix), from, 0, false} {}
  ~EmbeddedWatch() override { client_->cancel(cursor_); }
  EmbeddedWatch(const EmbeddedWatch&) = delete;
  EmbeddedWatch& operator=(const EmbeddedWatch&) = delete;

  [[nodiscard]] Result<Batch> next(std::chrono::milliseconds limit) override {
    auto changed = client_->poll(cursor_, after(limit));
    if (!changed)
      return Failure{changed.failure().kind,
                     fmt::format("watch of '{}': {}", cursor_.prefix, changed.failure().message)};
    if (!changed.value()) return Batch{};
    return Batch{changed.value()->is_reset, std::move(changed.value()->events)};
  }
  void interrupt() noexcept override { client_->interrupt(cursor_); }

 private:
  std::shared_ptr<StoreClient> client_;
  StoreClient::Cursor cursor_;
};

class EmbeddedLock final : public StoreLock {
 public:
  EmbeddedLock(std::shared_ptr<StoreClient> client, Unlock unlock, Revision fencing)
      : client_(std::move(client)), unlock_(std::move(unlock)), fencing_(fencing) {}
  ~EmbeddedLock() override {
    const auto gone = client_->call(unlock_, after(client_->limits().call), Repeat::kSafe, "unlock");
    if (!gone) client_->release(unlock_);
  }
  EmbeddedLock(const EmbeddedLock&) = delete;
  EmbeddedLock& operator=(const EmbeddedLock&) = delete;
  [[nodiscard]] Revision fencing() const noexcept override { return fencing_; }

 private:
  std::shared_ptr<StoreClient> client_;
  Unlock unlock_;
  Revision fencing_;
};

class EmbeddedStore final : public Store {
 public:
  EmbeddedStore(Network& network, const std::string& address, const Identity& server, const StoreLimits& limits)
      : client_(std::make_shared<StoreClient>(network, address, server, limits)) {}
  ~EmbeddedStore() override { client_->close(); }
  EmbeddedStore(const EmbeddedStore&) = delete;
  EmbeddedStore& operator=(const EmbeddedStore&) = delete;

  [[nodiscard]] std::string description() const override { return "embedded at " + client_->address(); }

  [[nodiscard]] Result<Revision> put(std::string_view key, std::string_view value, LeaseId lease) override {
    if (auto refusal = refused_entry(key, value)) return *refusal;
    const auto answer = ask<Written>(Put{std::string(key), std::string(value), lease}, Repeat::kNever, "put", key);
    if (!answer) return answer.failure();
    return answer.value().revision;
  }

  [[nodiscard]] Result<std::optional<StoreEntry>> get(std::string_view key) override {
    if (auto refusal = refused_key(key)) return *refusal;
    auto answer = ask<Found>(Get{std::string(key)}, Repeat::kSafe, "get", key);
    if (!answer) return answer.failure();
    return std::move(answer.value().entry);
  }

  [[nodiscard]] Result<Listing> list(std::string_view prefix) override {
    if (auto refusal = refused_prefix(prefix)) return *refusal;
    auto answer = ask<Listed>(List{std::string(prefix)}, Repeat::kSafe, "list", prefix);
    if (!answer) return answer.failure();
    return Listing{answer.value().revision, std::move(answer.value().entries)};
  }

  [[nodiscard]] Result<SwapOutcome> compare_and_swap(std::string_view key, Revision expected, std::string_view value,
                                                     LeaseId lease) override {
    if (auto refusal = refused_entry(key, value)) return *refusal;
    auto answer = ask<Swapped>(Swap{std::string(key), expected, std::string(value), lease}, Repeat::kNever,
                               "compare and swap", key);
    if (!answer) return answer.failure();
    Swapped& swapped = answer.value();
    return SwapOutcome{swapped.swapped, swapped.revision, std::move(swapped.present)};
  }

  [[nodiscard]] Result<bool> erase(std::string_view key) override {
    if (auto refusal = refused_key(key)) return *refusal;
    const auto answer = ask<Erased>(Erase{std::string(key)}, Repeat::kNever, "erase", key);
    if (!answer) return answer.failure();
    return answer.value().erased;
  }

  [[nodiscard]] Result<LeaseId> grant_lease(std::chrono::milliseconds time_to_live) override {
    // Asked twice it leaves a lease that nobody keeps alive.
    const auto milliseconds = static_cast<std::uint64_t>(std::max<std::int64_t>(time_to_live.count(), 0));
    const auto answer = ask<Granted>(Grant{milliseconds}, Repeat::kSafe, "grant a lease", {});
    if (!answer) return answer.failure();
    return answer.value().lease;
  }

  [[nodiscard]] Result<std::chrono::milliseconds> keep_alive(LeaseId lease) override {
    const auto answer = ask<Kept>(KeepAlive{lease}, Repeat::kSafe, "keep a lease alive", {});
    if (!answer) return answer.failure();
    return std::chrono::milliseconds(answer.value().remaining_ms);
  }

  [[nodiscard]] Result<void> revoke(LeaseId lease) override {
    const auto answer = ask<Done>(Revoke{lease}, Repeat::kSafe, "revoke a lease", {});
    if (!answer) return answer.failure();
    return {};
  }

  [[nodiscard]] Result<std::unique_ptr<StoreWatch>> watch(std::string_view prefix, Revision from) override {
    if (auto refusal = refused_prefix(prefix)) return *refusal;
    return std::unique_ptr<StoreWatch>(std::make_unique<EmbeddedWatch>(client_, prefix, from));
  }

  [[nodiscard]] Result<std::unique_ptr<StoreLock>> lock(std::string_view name, LeaseId lease,
                                                        std::chrono::milliseconds limit) override {
    if (auto refusal = refused_key(name)) return *refusal;
    Unlock unlock{std::string(name), client_->next_token()};
    const auto what = fmt::format("lock '{}'", name);
    const auto answer = client_->call(Lock{unlock.name, unlock.token, lease}, after(limit), Repeat::kSafe, what, true);
    if (!answer) {
      client_->release(unlock);  // it may be in the queue
      return answer.failure();
    }
    const auto* locked = std::get_if<Locked>(&answer.value());
    if (locked == nullptr) return Failure{FailureKind::kCorrupt, what + ": the store answered something else"};
    return std::unique_ptr<StoreLock>(std::make_unique<EmbeddedLock>(client_, std::move(unlock), locked->fencing));
  }

 private:
  /// A call whose answer is an `Answered`.
  template <class Answered>
  Result<Answered> ask(const RequestBody& body, Repeat repeat, const char* what, std::string_view key) {
    const auto name = key.empty() ? std::string(what) : fmt::format("{} '{}'", what, key);
    Result<AnswerBody> answer = client_->call(body, after(client_->limits().call), repeat, name);
    if (!answer) return answer.failure();
    auto* answered = std::get_if<Answered>(&answer.value());
    if (answered == nullptr) return Failure{FailureKind::kCorrupt, name + ": the store answered something else"};
    return std::move(*answered);
  }

  std::shared_ptr<StoreClient> client_;
};

}  // namespace

std::unique_ptr<Store> make_embedded_store(Network& network, const std::string& address, const Identity& server,
                                           const StoreLimits& limits) {
  return std::make_unique<EmbeddedStore>(network, address, server, limits);
}

}  // namespace concerto
