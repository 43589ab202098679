// The communicator of inproc and gloo: schedules, headers, lanes, deadlines and failure over a transport.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "concerto/comm/communicator.hpp"

#include "lane.hpp"
#include "operation_book.hpp"
#include "transport.hpp"

namespace concerto {

/// Thread-safe but for starting operations, which is for one thread at a time. One thread a lane, and one that watches
/// deadlines. The destructor ends connections softly where nothing is pending, so that peers still get what was sent;
/// else it aborts.
class ScheduledCommunicator final : public Communicator {
 public:
  /// `group`: a digest of the group's name, which all ranks share. `name` is a literal.
  ScheduledCommunicator(std::string_view name, Rank rank, Rank size, std::uint64_t group,
                        std::unique_ptr<Transport> transport, const CommLimits& limits);
  ~ScheduledCommunicator() override;

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] Rank rank() const noexcept override { return rank_; }
  [[nodiscard]] Rank size() const noexcept override { return size_; }
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
  [[nodiscard]] CommCounters counters() const noexcept override { return book_.counters(); }

 private:
  /// Whom a lane serves: everybody (kNoRank), as one of kGroupLanes, or one peer, as sender to it or as receiver.
  struct LaneKey {
    Rank peer = kNoRank;
    bool is_sender = false;
    std::uint8_t group_lane = 0;
    friend auto operator<=>(const LaneKey&, const LaneKey&) = default;
  };
  OperationHandle start(LaneKey key, OperationKind kind, const OperationTag& tag, Work work);
  /// The lane of the next operation among all ranks.
  [[nodiscard]] LaneKey next_group_lane() noexcept;
  void fail(const OperationRecord& record, FailureKind kind, const std::string& what, Rank suspect);
  void interrupt_lanes() noexcept;
  void end_connections() noexcept;
  void watch();
  [[nodiscard]] OperationHeader header(OperationKind kind, const OperationTag& tag, Rank root, std::size_t bytes,
                                       std::uint64_t layout) const;

  const std::string_view name_;
  const Rank rank_;
  const Rank size_;
  const std::uint64_t group_;
  OperationBook book_;
  std::unique_ptr<Transport> transport_;
  std::mutex lanes_mutex_;
  std::uint64_t group_operations_ = 0;              ///< started
  std::map<LaneKey, std::unique_ptr<Lane>> lanes_;  ///< lanes are added, and removed only by the destructor
  std::once_flag connections_ended_;
  std::thread watcher_;
};

}  // namespace concerto
