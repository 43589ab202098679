// The communicator of devices: a few NCCL communicators, and one thread in which all that NCCL is asked happens.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "concerto/comm/communicators.hpp"

#include "nccl_device.hpp"
#include "nccl_lane.hpp"
#include "nccl_library.hpp"
#include "operation_book.hpp"
#include "rendezvous.hpp"
#include "schedule.hpp"

namespace concerto {

// A device works through one NCCL communicator in order, so that what must not wait needs one of its own. Lane 0 is for
// operations among all ranks. A transfer's lane is named by the highest bit in which the two ranks differ, and by which
// of them has it: so in any lane a rank either sends or receives, and nothing that it sends waits for what it receives.

/// 1 + 2 ceil(log2(size)).
[[nodiscard]] std::size_t nccl_lanes(Rank size) noexcept;
[[nodiscard]] std::size_t nccl_transfer_lane(Rank from, Rank to) noexcept;

class NcclCommunicator final : public Communicator {
 public:
  /// One a lane.
  using Ids = std::vector<nccl::UniqueId>;

  /// Connects in its thread: see await_connected().
  NcclCommunicator(NcclLibrary library, std::unique_ptr<NcclDevice> device, Rank rank, Rank size, std::uint64_t group,
                   const Ids& ids, const NcclOptions& options, const CommLimits& limits);
  ~NcclCommunicator() override;
  /// A failure is final.
  [[nodiscard]] Result<void> await_connected(Deadline deadline);

  [[nodiscard]] std::string_view name() const noexcept override { return "nccl"; }
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
  struct Arrival {
    std::size_t lane;
    NcclWork work;
  };
  OperationHandle start(std::size_t lane, OperationKind kind, NcclWork work, const Schedule& schedule);
  void run();
  [[nodiscard]] bool take_arrivals();
  void connect_lanes();
  void advance();
  void finish_lanes();
  void fail(const NcclLane& lane, NcclTrouble trouble);
  void give_up() noexcept;
  [[nodiscard]] bool abort_all(std::vector<nccl::Comm> comms) const;
  [[nodiscard]] bool is_busy() const;

  const NcclLibrary library_;
  const std::unique_ptr<NcclDevice> device_;
  const Rank rank_;
  const Rank size_;
  const std::uint64_t group_;
  const Ids ids_;
  const NcclOptions options_;
  OperationBook book_;

  // Of the thread.
  std::vector<std::unique_ptr<NcclLane>> lanes_;
  std::size_t connected_lanes_ = 0;
  bool is_connecting_ = false;
  bool is_finishing_ = false;
  Deadline finish_deadline_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Arrival> arrivals_;
  bool is_connected_ = false;
  bool is_stopping_ = false;
  bool is_ended_ = false;  ///< NCCL has nothing of ours any more
  std::thread thread_;
};

}  // namespace concerto
