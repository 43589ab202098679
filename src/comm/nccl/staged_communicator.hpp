// A communicator of devices for buffers in host memory: it carries what a rank gives to the device, has the operation
// done there, and carries what came back.
//
// One thread carries up and starts the operations below, in their order; another carries down and ends them. What is
// carried of one operation thus overlaps what the device does of others.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "concerto/comm/communicator.hpp"

#include "operation_book.hpp"
#include "staging.hpp"

namespace concerto {

class StagedCommunicator final : public Communicator {
 public:
  /// `below` takes what is in device memory once `staging`'s stream of uploads is there. Limits are counted here.
  StagedCommunicator(std::unique_ptr<Staging> staging, std::unique_ptr<Communicator> below, const CommLimits& limits);
  ~StagedCommunicator() override;

  [[nodiscard]] std::string_view name() const noexcept override { return below_->name(); }
  [[nodiscard]] Rank rank() const noexcept override { return below_->rank(); }
  [[nodiscard]] Rank size() const noexcept override { return below_->size(); }
  [[nodiscard]] OperationHandle all_gather(const OperationTag& tag, std::span<std::byte> buffer,
                                           std::span<const GatherBlock> blocks) override;
  [[nodiscard]] OperationHandle gather(const OperationTag& tag, Rank root, std::span<const std::byte> mine,
                                       std::span<std::byte> received, std::span<const std::size_t> sizes) override;
  [[nodiscard]] OperationHandle broadcast(const OperationTag& tag, Rank root, std::span<std::byte> buffer) override;
  [[nodiscard]] OperationHandle barrier(const OperationTag& tag) override;
  [[nodiscard]] OperationHandle send(const OperationTag& tag, Rank to, std::span<const std::byte> buffer) override;
  [[nodiscard]] OperationHandle receive(const OperationTag& tag, Rank from, std::span<std::byte> buffer) override;
  [[nodiscard]] Result<void> wait(const OperationHandle& operation) override { return book_.wait(operation); }
  void on_change(std::function<void()> notify) override { book_.set_notify(std::move(notify)); }
  void abort(std::string_view reason) noexcept override;
  [[nodiscard]] std::optional<CommFailure> failure() const override { return book_.failure(); }
  [[nodiscard]] CommCounters counters() const noexcept override;

 private:
  struct Up {
    std::span<const std::byte> from;
    std::size_t place = 0;  ///< in the operation's memory on the device
  };
  struct Down {
    std::span<std::byte> to;
    std::size_t place = 0;
  };
  struct Work {
    Record record;
    Rank partner = kNoRank;
    std::size_t bytes = 0;  ///< on the device
    std::vector<Up> ups;
    std::vector<Down> downs;
    std::function<OperationHandle(Communicator& below, std::byte* device)> start;
    std::span<std::byte> memory;  ///< on the device
    OperationHandle below;        ///< null: not started
  };

  OperationHandle open(OperationKind kind, const OperationTag& tag, Work work);
  void carry_up();
  void begin(Work& work);
  void carry_down();
  [[nodiscard]] bool take_begun();
  void end_operations();
  [[nodiscard]] bool end(Work& work);
  void give_up() noexcept;
  /// A failure of the device in this operation.
  void fail(const Work& work, const std::exception& error);

  const std::unique_ptr<Staging> staging_;
  OperationBook book_;
  const GivenUp given_up_ = [this] { return book_.failed(); };

  std::deque<Work> under_way_;  ///< of the thread that carries down

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> asked_;
  std::deque<Work> begun_;
  bool is_carrying_up_ = false;
  bool is_rung_ = false;  ///< an operation below, or anything else, has changed
  bool is_stopping_ = false;
  bool has_stopped_up_ = false;
  bool is_ended_ = false;                      ///< given up; no buffer of a caller is touched any more
  const std::unique_ptr<Communicator> below_;  ///< ends first: it rings, and uses the memory of staging
  std::thread up_;
  std::thread down_;
};

}  // namespace concerto
